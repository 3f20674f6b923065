"""The empty street of the drawn scenes: weather, sky, road."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import NEAR, Camera, Canvas, Colour, fixed_point, jitter, noise, paint, pick, rgb, shade

SKY, ROAD = 0, 1

ASPHALT = (rgb(70, 72, 76), rgb(105, 105, 105), rgb(140, 138, 132), rgb(90, 84, 80), rgb(118, 122, 130), rgb(160, 156, 148))
PAVING = (rgb(165, 160, 150), rgb(120, 118, 118), rgb(150, 120, 105), rgb(190, 186, 176), rgb(100, 104, 110))


@dataclass(frozen=True)
class Weather:
    """Light and air of a scene.

    Attributes:
        zenith: colour of the sky at the top.
        haze: colour of the sky at the horizon, which far things fade to.
        clouds: cover, 0 to 1.
        cloud: colour of the clouds.
        visibility: metres after which 63% of a thing is haze.
        sun: -1 (from the left) to 1 (from the right).
        shadow: darkness of cast shadows, 0 to 1.
        lamps: share of lit windows.
        cast: factor per channel for everything.
    """

    zenith: Colour
    haze: Colour
    clouds: float
    cloud: Colour
    visibility: float
    sun: float
    shadow: float
    lamps: float
    cast: Colour

    def through_air(self, colour: Colour, distance: float) -> Colour:
        """Return the colour as seen from a distance in metres."""
        haze = 1 - math.exp(-max(distance, 0.0) / self.visibility)
        return colour + (self.haze - colour) * haze


@dataclass(frozen=True)
class Street:
    """A straight street; widths in metres from its middle, at ``offset`` from the camera.

    Attributes:
        road: half of the carriageway's width.
        side: where the houses begin.
        offset: x of the street's middle.
    """

    road: float
    side: float
    offset: float


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather of a scene: clear, overcast, sunset, dusk, hazy or stormy."""
    kind = rng.choice(6, p=[0.32, 0.24, 0.14, 0.1, 0.12, 0.08])
    zenith, haze, cloud, clouds, visibility, shadow, lamps, cast = (
        (rgb(62, 118, 196), rgb(186, 212, 236), rgb(244, 244, 246), 0.45, 160.0, 0.55, 0.03, rgb(1.04, 1.0, 0.95)),
        (rgb(158, 166, 176), rgb(204, 206, 208), rgb(128, 134, 144), 0.8, 110.0, 0.12, 0.08, rgb(0.94, 0.97, 1.0)),
        (rgb(96, 108, 160), rgb(246, 178, 116), rgb(232, 132, 110), 0.6, 100.0, 0.5, 0.2, rgb(1.1, 0.94, 0.8)),
        (rgb(34, 42, 84), rgb(148, 116, 132), rgb(64, 60, 92), 0.6, 90.0, 0.1, 0.5, rgb(0.66, 0.68, 0.86)),
        (rgb(184, 190, 190), rgb(214, 212, 202), rgb(224, 222, 216), 0.5, 38.0, 0.15, 0.06, rgb(1.0, 0.99, 0.95)),
        (rgb(74, 80, 92), rgb(150, 152, 152), rgb(52, 56, 66), 0.9, 80.0, 0.1, 0.25, rgb(0.82, 0.86, 0.92)),
    )[int(kind)]
    return Weather(
        zenith=jitter(rng, zenith, 5, 0.12),
        haze=jitter(rng, haze, 4, 0.08),
        clouds=float(clouds * rng.uniform(0.3, 1.3)),
        cloud=jitter(rng, cloud, 4, 0.08),
        visibility=float(visibility * rng.uniform(0.7, 1.4)),
        sun=float(rng.uniform(-1, 1)),
        shadow=float(shadow * rng.uniform(0.7, 1.2)),
        lamps=float(lamps * rng.uniform(0.3, 1.5)),
        cast=cast * rng.uniform(0.93, 1.07, 3) * rng.uniform(0.78, 1.2),
    )


def draw_sky(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator) -> None:
    """Paint the sky from the top to the horizon: a gradient, and clouds that flatten towards the horizon."""
    rows, columns = 36, 56
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 0.8
    sky = weather.zenith + (weather.haze - weather.zenith) * fall[..., None]
    cover = noise(rng, rows, columns, (4, 3), 4) * 0.8 + (weather.clouds - 0.5) * 2.4
    alpha = (cover.clip(0, 1) * (1 - 0.5 * fall))[..., None]
    lit = weather.cloud * (1 + 0.06 * noise(rng, rows, columns, (5, 5), 2)[..., None])
    sky = (sky + (lit - sky) * alpha).clip(0, 255).astype(np.uint8)
    height, width = canvas.shape
    band = min(int(np.ceil(camera.horizon)) + 1, height)
    canvas.pixels[:band, :, :3] = cv2.resize(sky, (width, band), interpolation=cv2.INTER_LINEAR)
    canvas.pixels[:band, :, 3] = SKY


def _ground(*corners: tuple[float, float]) -> Float[np.ndarray, "n 3"]:
    return np.array([(x, 0.0, z) for x, z in corners])


def _strip(left: float, right: float, near: float, far: float) -> Float[np.ndarray, "4 3"]:
    return _ground((left, near), (right, near), (right, far), (left, far))


def draw_road(
    canvas: Canvas, camera: Camera, street: Street, weather: Weather, rng: np.random.Generator, shadows: list[np.ndarray]
) -> None:
    """Paint the ground: carriageway, pavements, markings, repairs, puddles, grain, and shadows given as ground polygons."""
    height, width = canvas.shape
    top = min(max(int(camera.horizon), 0), height - 1)
    asphalt, middle = pick(rng, ASPHALT, 7, 0.25), street.offset

    strokes: list[tuple[np.ndarray, Colour]] = []

    def patch(points: np.ndarray, colour: Colour, distance: float) -> None:
        strokes.append((points, weather.through_air(colour, distance)))

    cv2.rectangle(canvas.pixels, (0, top), (width, height), paint(asphalt, ROAD), cv2.FILLED)
    paving, kerb = pick(rng, PAVING, 7, 0.2), rng.uniform(0.75, 1.35)
    for side in (-1, 1):
        inner, outer = middle + side * street.road, middle + side * 40.0
        patch(_strip(inner, outer, NEAR, 400.0), paving, 8.0)
        patch(_strip(inner, inner + side * 0.18, NEAR, 400.0), paving * kerb, 8.0)
    for _ in range(rng.integers(0, 4)):
        x, z = middle + rng.uniform(-street.road, street.road * 0.6), rng.uniform(3, 16)
        patch(_strip(x, x + rng.uniform(0.6, 2), z, z + rng.uniform(1, 5)), asphalt * rng.uniform(0.7, 1.25), z)
    _draw_markings(patch, street, rng)
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            x, z = middle + rng.uniform(-1, 1) * street.side, rng.uniform(3.5, 14)
            angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            reach = rng.uniform(0.4, 1.5) * rng.uniform(0.75, 1.2, 12)
            blob = np.stack([x + reach * np.cos(angle), 0 * angle, z + 0.8 * reach * np.sin(angle)], -1)
            patch(blob, weather.haze * 0.55 + weather.zenith * 0.35, z)
    canvas.polygons(camera, strokes, ROAD)
    _shade_ground(canvas, camera, weather, rng, shadows, top)


def _draw_markings(patch: Callable[[np.ndarray, Colour, float], None], street: Street, rng: np.random.Generator) -> None:
    paint_colour = pick(rng, (rgb(225, 225, 220), rgb(235, 235, 235), rgb(220, 180, 70)), 6, 0.1)
    middle = street.offset
    if rng.random() < 0.8:
        start, dash = rng.uniform(1.5, 5), rng.uniform(1.5, 3.5)
        for z in np.arange(start, 45, 2 * dash):
            patch(_strip(middle - 0.08, middle + 0.08, z, z + dash), paint_colour, z)
    if rng.random() < 0.5:
        for side in (-1, 1):
            edge = middle + side * (street.road - 0.35)
            patch(_strip(edge - 0.06, edge + 0.06, NEAR, 60.0), paint_colour, 8.0)
    if rng.random() < 0.3:
        z, depth = rng.uniform(5.5, 14), rng.uniform(2.0, 3.2)
        for x in np.arange(-street.road + 0.3, street.road - 0.5, 1.0):
            patch(_strip(middle + x, middle + x + 0.5, z, z + depth), paint_colour, z)


def _shade_ground(
    canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator, shadows: list[np.ndarray], top: int
) -> None:
    height, width = canvas.shape
    light = np.full((height - top, width), 255, np.uint8)
    for points in shadows:
        cv2.fillConvexPoly(light, fixed_point(camera.project(points) - [0, top]), int(255 * (1 - weather.shadow)), shift=4)
    light = cv2.blur(light, (3, 3))
    size = 160
    grain = (118 + 12 * rng.uniform(0.5, 1.4) * noise(rng, size, size, (10, 20), 4)).clip(40, 220).astype(np.uint8)
    corners = camera.project(_strip(-14.0, 14.0, NEAR, 30.0)) - [0, top]
    square = np.array([[0, size], [size, size], [size, 0], [0, 0]], np.float32)
    matrix = cv2.getPerspectiveTransform(square, corners.astype(np.float32))
    grain = cv2.warpPerspective(grain, matrix, (width, height - top), borderMode=cv2.BORDER_REPLICATE)
    light = cv2.multiply(grain, light, scale=1 / 255)
    canvas.pixels[top:] = shade(canvas.pixels[top:], light)
