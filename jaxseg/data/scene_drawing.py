"""Street scenes drawn from random numbers: where things stand, the camera's faults, and the labels."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jaxseg.data.scene_canvas import SUPERSAMPLE, Camera, Canvas
from jaxseg.data.scene_houses import draw_house
from jaxseg.data.scene_objects import CAR, PERSON, draw_car, draw_person
from jaxseg.data.scene_street import Street, Weather, draw_road, draw_sky, draw_weather
from jaxseg.data.scene_trees import draw_tree
from jaxseg.errors import InputError
from jaxseg.types import VOID

CLASS_NAMES = ("sky", "road", "building", "tree", "car", "person")

#: Images smaller than this have no room for a person.
MIN_SIZE = 32

_Item = tuple[float, Callable[[], None]]


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Draw a street scene and its labels.

    Args:
        rng: the only source of randomness; the same state gives the same scene.
        size: height and width of the scene, each at least 32. All that is drawn scales with the height.

    Returns:
        The RGB image, and the labels: indices of :data:`CLASS_NAMES` at the exact pixel centres, VOID along the contours
        of cars and persons.

    Raises:
        InputError: if the size is too small.
    """
    if min(size) < MIN_SIZE:
        raise InputError(f"a scene of {size[0]} x {size[1]} pixels is too small: both sides must be at least {MIN_SIZE}")
    height, width = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    canvas = Canvas(height, width)
    camera = Camera(
        focal=float(height * rng.uniform(0.82, 1.05)),
        horizon=float(height * rng.uniform(0.36, 0.5)),
        vanishing=float(width * rng.uniform(0.3, 0.7)),
        height=float(rng.uniform(1.5, 2.5)),
    )
    road = float(rng.uniform(3.2, 4.8))
    street = Street(road, road + float(rng.uniform(1.6, 3.0)), float(rng.uniform(-1.8, 1.8)))
    weather = draw_weather(rng)
    shadows: list[np.ndarray] = []
    items = _place(canvas, camera, street, weather, rng, shadows)
    draw_sky(canvas, camera, weather, rng)
    draw_road(canvas, camera, street, weather, rng, shadows)
    _draw_surroundings(canvas, camera, street, weather, rng)
    for _, draw in sorted(items, key=lambda item: -item[0]):
        draw()
    return _photograph(canvas, size, weather, rng), _label(canvas)


def _draw_surroundings(canvas: Canvas, camera: Camera, street: Street, weather: Weather, rng: np.random.Generator) -> None:
    # Far to near: a skyline beyond the end of the street, then the houses of both sides, or a park instead of one side.
    if rng.random() < 0.8:
        for _ in range(int(rng.integers(2, 6))):
            x, z = float(rng.uniform(-70, 70)), float(rng.uniform(75, 110))
            draw_house(canvas, camera, weather, rng, x, (z, z + 12.0))
    for _ in range(int(rng.integers(0, 5))):
        draw_tree(canvas, camera, weather, rng, float(rng.uniform(-60, 60)), float(rng.uniform(55, 80)))
    park = int(rng.choice(3, p=[0.66, 0.17, 0.17]))
    for side, index in ((-1, 1), (1, 2)):
        x = street.offset + side * street.side
        lots, z, free = [], float(rng.uniform(1.6, 7)), True
        while z < 45:
            length = float(rng.uniform(6, 14))
            if park != index or z > 30:
                lots.append(((z, z + length), free))
            free = park == index or rng.random() < 0.35
            z += length + (float(rng.uniform(2, 7)) if free else 0.0)
        for lot, free in reversed(lots):
            draw_house(canvas, camera, weather, rng, x, lot, free)
        if park == index:
            for z in np.sort(rng.uniform(7, 36, int(rng.integers(5, 9))))[::-1]:
                draw_tree(canvas, camera, weather, rng, x + side * float(rng.uniform(0, 7)), float(z))


def _place(
    canvas: Canvas, camera: Camera, street: Street, weather: Weather, rng: np.random.Generator, shadows: list[np.ndarray]
) -> list[_Item]:
    # What stands where; the ground polygons of its shadows are appended to `shadows`.
    items: list[_Item] = []
    taken: list[tuple[float, float, float]] = []
    height, width = canvas.shape

    def free(x: float, z: float, long: float) -> bool:
        column = camera.project(np.array([[x, 0.0, z]]))[0, 0]
        inside = 0.02 * width < column < 0.98 * width
        return inside and all(abs(x - a) > 1.5 or abs(z - b) > long + c for a, b, c in taken)

    for _ in range(int(rng.choice(5, p=[0.04, 0.26, 0.36, 0.24, 0.1]))):
        for _attempt in range(6):
            z, lane, yaw = float(rng.uniform(6.2, 14)), rng.choice([-1.0, 1.0]), float(rng.normal(0, 0.05))
            parked = rng.random() < 0.5
            x = street.offset + lane * (street.road - 1.05 if parked else street.road * float(rng.uniform(0.25, 0.6)))
            if rng.random() < (0.5 if parked else float(lane < 0)):
                yaw += np.pi
            if rng.random() < 0.16:
                x, yaw = street.offset + float(rng.uniform(-3, 3)), float(lane * np.pi / 2 + rng.normal(0, 0.15))
                z = max(z, 7.0)
            if free(x, z, 2.4):
                taken.append((x, z, 2.4))
                items.append((z, partial(draw_car, canvas, camera, weather, rng, x, z, yaw)))
                shadows += _car_shadow(x, z, yaw, weather)
                break
    for _ in range(int(rng.choice(5, p=[0.08, 0.32, 0.32, 0.18, 0.1]))):
        for _attempt in range(8):
            tall = float(rng.uniform(1.5, 1.9))
            z = tall * camera.focal / (height * float(rng.uniform(0.22, 0.42)))
            x = (float(rng.uniform(0.04, 0.96)) * width - camera.vanishing) * z / camera.focal
            if abs(x - street.offset) < street.side - 0.4 and free(x, z, 0.5):
                taken.append((x, z, 0.5))
                items.append((z, partial(draw_person, canvas, camera, weather, rng, x, z, tall)))
                shadows.append(_streak(x, z, 0.28, 1.6 * weather.sun, 0.9))
                break
    avenue = rng.random() < 0.35
    for side in (-1, 1):
        spots = np.arange(rng.uniform(6, 12), 34, rng.uniform(6, 10)) if avenue else rng.uniform(6.5, 24, int(rng.integers(0, 3)))
        for z in map(float, spots):
            x = street.offset + side * (street.side - 0.7)
            items.append((z, partial(draw_tree, canvas, camera, weather, rng, x, z)))
            shadows += [_blob(x - 3 * weather.sun, z + 0.5, 2.0), _streak(x, z, 0.2, -3 * weather.sun, 0.5)]
    if abs(weather.sun) > 0.3:
        side = np.sign(weather.sun)
        edge, reach = street.offset + side * street.side, 6 * abs(weather.sun)
        start = float(rng.uniform(2, 20))
        shadows.append(
            np.array([(edge, 0, start), (edge, 0, 60.0), (edge - side * reach, 0, 60.0), (edge - side * reach, 0, start)])
        )
    return items


def _blob(x: float, z: float, reach: float) -> Float[np.ndarray, "n 3"]:
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    return np.stack([x + reach * np.cos(angle), 0 * angle, z + reach * np.sin(angle)], -1)


def _streak(x: float, z: float, half: float, along: float, back: float) -> Float[np.ndarray, "4 3"]:
    return np.array([(x - half, 0, z), (x + half, 0, z), (x + half - along, 0, z + back), (x - half - along, 0, z + back)])


def _car_shadow(x: float, z: float, yaw: float, weather: Weather) -> list[np.ndarray]:
    turn = np.array([(np.cos(yaw), 0, -np.sin(yaw)), (0, 1, 0), (np.sin(yaw), 0, np.cos(yaw))])
    below = np.array([(-1.0, 0, -2.3), (1.0, 0, -2.3), (1.0, 0, 2.3), (-1.0, 0, 2.3)]) @ turn + [x, 0, z]
    cast = below - [weather.sun * 0.9, 0, 0]
    return [below, below * [1, 0, 1], cast]


def _photograph(canvas: Canvas, size: tuple[int, int], weather: Weather, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    # Light, then the camera: exposure and contrast, blur, vignette, noise.
    height, width = size
    image = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA)[..., :3]
    levels = np.arange(256)[:, None] / 255 * weather.cast
    pivot, contrast = 0.45, rng.uniform(0.8, 1.2)
    levels = (pivot + (levels - pivot) * contrast).clip(0, 1) ** rng.uniform(0.85, 1.2)
    image = cv2.LUT(np.ascontiguousarray(image), (255 * levels).astype(np.uint8)[:, None, :])
    sigma = float(rng.uniform(0, 0.6)) * height / 96
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    grain = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(rng.uniform(2, 8))
    return (image + grain + 0.5).clip(0, 255).astype(np.uint8)


def _label(canvas: Canvas) -> UInt8[np.ndarray, "h w"]:
    # A contour one pixel wide up to 96 rows and wider in proportion beyond, half of it inside the object.
    labels = np.ascontiguousarray(canvas.pixels[..., 3])
    reach = max(SUPERSAMPLE, round(canvas.shape[0] / 96)) + 1
    kernel = np.ones((reach, reach), np.uint8)
    void = np.zeros(labels.shape, bool)
    for index in (CAR, PERSON):
        mask = (labels == index).astype(np.uint8)
        void |= cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel).astype(bool)
    labels[void] = VOID
    start = SUPERSAMPLE // 2
    return np.ascontiguousarray(labels[start::SUPERSAMPLE, start::SUPERSAMPLE])
