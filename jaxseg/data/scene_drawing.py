"""Street scenes drawn from random numbers: the scene, what the camera makes of it, and its labels."""

import cv2
import numpy as np
from jaxtyping import UInt8

from jaxseg.data.scene_canvas import SUPERSAMPLE
from jaxseg.data.scene_cars import CAR
from jaxseg.data.scene_layout import Layout, draw_surroundings
from jaxseg.data.scene_persons import PERSON
from jaxseg.data.scene_posters import POSTER, draw_posters
from jaxseg.data.scene_street import draw_road, draw_sky
from jaxseg.data.scene_view import View, random_view
from jaxseg.errors import InputError
from jaxseg.types import VOID

CLASS_NAMES = ("sky", "road", "building", "tree", "car", "person")


def class_names(posters: bool = False) -> tuple[str, ...]:
    """Return the names of the classes, with or without posters."""
    return (*CLASS_NAMES, "poster") if posters else CLASS_NAMES


#: Images smaller than this have no room for a person.
MIN_SIZE = 32


def draw_scene(
    rng: np.random.Generator, size: tuple[int, int], *, posters: bool = False
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Draw a street scene and its labels.

    Args:
        rng: the only source of randomness; the same state gives the same scene.
        size: height and width of the scene, each at least 32. All that is drawn scales with the height.
        posters: also hangs posters, of the class :data:`POSTER`: cut-outs of the street with a car, above it.

    Returns:
        The RGB image, and the labels: indices of :data:`CLASS_NAMES` at the exact pixel centres, VOID along the contours of
        cars, persons and posters (one pixel wide, and wider in proportion from 128 rows on).

    Raises:
        InputError: if the size is too small.
    """
    if min(size) < MIN_SIZE:
        raise InputError(f"A scene of {size[0]}x{size[1]} pixels is too small: give a size of at least {MIN_SIZE} on both sides.")
    view = random_view(rng, size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE)
    layout = Layout(view)
    draw_sky(view)
    draw_road(view, layout.shadows)
    draw_surroundings(view)
    layout.draw()
    if posters:
        draw_posters(view)
    return _photograph(view), _label(view)


def _photograph(view: View) -> UInt8[np.ndarray, "h w 3"]:
    # The light's colour, then the camera: exposure and contrast, blur, noise.
    rng = view.rng
    height, width = (side // SUPERSAMPLE for side in view.canvas.shape)
    image = cv2.resize(view.canvas.pixels, (width, height), interpolation=cv2.INTER_AREA)[..., :3]
    levels = np.arange(256)[:, None] / 255 * view.weather.cast
    pivot, contrast = 0.45, rng.uniform(0.8, 1.2)
    levels = (pivot + (levels - pivot) * contrast).clip(0, 1) ** rng.uniform(0.85, 1.2)
    image = cv2.LUT(np.ascontiguousarray(image), (255 * levels).astype(np.uint8)[:, None, :])
    sigma = float(rng.uniform(0, 0.6)) * height / 96
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    grain = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(rng.uniform(2, 8))
    return (image + grain + np.float32(0.5)).clip(0, 255).astype(np.uint8)


def _label(view: View) -> UInt8[np.ndarray, "h w"]:
    # The gradient of a window of n + 1 canvas pixels is a contour n wide, half of it inside the object.
    labels = np.ascontiguousarray(view.canvas.pixels[..., 3])
    contour = max(SUPERSAMPLE, round(len(labels) / 96))
    window = np.ones((contour + 1, contour + 1), np.uint8)
    centres = (slice(SUPERSAMPLE // 2, None, SUPERSAMPLE),) * 2
    sampled = labels[centres].copy()
    for thing in (CAR, PERSON, POSTER):
        edge = cv2.morphologyEx(cv2.inRange(labels, thing, thing), cv2.MORPH_GRADIENT, window)
        sampled[edge[centres] > 0] = VOID
    return sampled
