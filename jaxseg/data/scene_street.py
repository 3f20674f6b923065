"""The empty street of the drawn scenes: sky and road."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Colour, fill_mask, noise, pick, rgb, shade
from jaxseg.data.scene_view import NEAR, Stroke, View

SKY, ROAD = 0, 1

ASPHALT = (rgb(70, 72, 76), rgb(105, 105, 105), rgb(140, 138, 132), rgb(90, 84, 80), rgb(118, 122, 130), rgb(160, 156, 148))
PAVING = (rgb(165, 160, 150), rgb(120, 118, 118), rgb(150, 120, 105), rgb(190, 186, 176), rgb(100, 104, 110))
MARKINGS = (rgb(225, 225, 220), rgb(235, 235, 235), rgb(220, 180, 70))


def draw_sky(view: View) -> None:
    """Paint the sky from the top to the horizon: a gradient, and clouds that flatten towards the horizon."""
    rng, weather = view.rng, view.weather
    rows, columns = 36, 56
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** np.float32(0.8)
    sky = (weather.zenith + (weather.haze - weather.zenith) * fall[..., None]).astype(np.float32)
    cover = noise(rng, rows, columns, (4, 3), 4) * 0.8 + (weather.clouds - 0.5) * 2.4
    alpha = (cover.clip(0, 1) * (1 - 0.5 * fall))[..., None]
    lit = weather.cloud.astype(np.float32) * (1 + 0.06 * noise(rng, rows, columns, (5, 5), 2)[..., None])
    sky = (sky + (lit - sky) * alpha).clip(0, 255).astype(np.uint8)
    height, width = view.canvas.shape
    band = min(int(np.ceil(view.camera.horizon)) + 1, height)
    view.canvas.pixels[:band, :, :3] = cv2.resize(sky, (width, band), interpolation=cv2.INTER_LINEAR)
    view.canvas.pixels[:band, :, 3] = SKY


def strip(left: float, right: float, near: float, far: float) -> Float[np.ndarray, "4 3"]:
    """Return the corners of a rectangle on the ground."""
    return np.array([(left, 0.0, near), (right, 0.0, near), (right, 0.0, far), (left, 0.0, far)])


def disc(x: float, z: float, reach: float | np.ndarray, corners: int = 14) -> Float[np.ndarray, "{corners} 3"]:
    """Return the corners of a disc on the ground, or of a blob where the reach differs between corners."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + reach * np.cos(angle), np.zeros(corners), z + reach * np.sin(angle)], axis=-1)


def draw_road(view: View, shadows: Sequence[np.ndarray]) -> None:
    """Paint the ground: carriageway, pavements, markings, repairs, puddles, grain, and shadows given as ground polygons."""
    rng, weather, street = view.rng, view.weather, view.street
    height, width = view.canvas.shape
    top = min(max(int(view.camera.horizon), 0), height - 1)
    asphalt, paving, kerb = pick(rng, ASPHALT, 6, 0.25), pick(rng, PAVING, 6, 0.2), rng.uniform(0.75, 1.35)
    cv2.rectangle(view.canvas.pixels, (0, top), (width, height), (*asphalt.clip(0, 255).tolist(), ROAD), cv2.FILLED)
    strokes: list[Stroke] = []

    def paint(points: np.ndarray, colour: Colour, distance: float) -> None:
        strokes.append((points, weather.through_air(colour, distance)))

    for side in (-1, 1):
        edge = street.middle + side * street.road
        paint(strip(edge, street.middle + side * 40.0, NEAR, 400.0), paving, 8.0)
        paint(strip(edge, edge + side * 0.18, NEAR, 400.0), paving * kerb, 8.0)
    for _ in range(rng.integers(0, 4)):
        x, z = street.middle + rng.uniform(-street.road, street.road * 0.6), rng.uniform(3, 16)
        paint(strip(x, x + rng.uniform(0.6, 2), z, z + rng.uniform(1, 5)), asphalt * rng.uniform(0.7, 1.25), z)
    colour = pick(rng, MARKINGS, 6, 0.1)
    for points, z in _markings(view):
        paint(points, colour, z)
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            x, z = street.middle + rng.uniform(-1, 1) * street.side, rng.uniform(3.5, 14)
            puddle = disc(x, z, rng.uniform(0.4, 1.5) * rng.uniform(0.75, 1.2, 14))
            paint(puddle, weather.haze * 0.55 + weather.zenith * 0.35, z)
    view.fill(strokes, ROAD)
    _shade_ground(view, shadows, top)


def _markings(view: View) -> list[tuple[np.ndarray, float]]:
    # Polygons on the ground and their distance: the dashed middle, the edges, a zebra crossing.
    rng, street = view.rng, view.street
    markings = []
    if rng.random() < 0.8:
        start, dash = rng.uniform(1.5, 5), rng.uniform(1.5, 3.5)
        for z in np.arange(start, 45, 2 * dash):
            markings.append((strip(street.middle - 0.08, street.middle + 0.08, z, z + dash), z))
    if rng.random() < 0.5:
        for side in (-1, 1):
            edge = street.middle + side * (street.road - 0.35)
            markings.append((strip(edge - 0.06, edge + 0.06, NEAR, 60.0), 8.0))
    if rng.random() < 0.3:
        z, depth = rng.uniform(5.5, 14), rng.uniform(2.0, 3.2)
        for x in street.middle + np.arange(-street.road + 0.3, street.road - 0.5, 1.0):
            markings.append((strip(x, x + 0.5, z, z + depth), z))
    return markings


def _shade_ground(view: View, shadows: Sequence[np.ndarray], top: int) -> None:
    # The grain of the ground in perspective, times its shadows.
    height, width = view.canvas.shape
    light = np.full((height - top, width), 255, np.uint8)
    for points in shadows:
        fill_mask(light, view.camera.project(points) - [0, top], int(255 * (1 - view.weather.shadow)))
    size = 128
    grain = 118 + 10 * view.rng.uniform(0.5, 1.4) * noise(view.rng, size, size, (20, 40), 3)
    corners = view.camera.project(strip(-14.0, 14.0, NEAR, 30.0)) - [0, top]
    square = np.array([[0, size], [size, size], [size, 0], [0, 0]], np.float32)
    matrix = cv2.getPerspectiveTransform(square, corners.astype(np.float32))
    tile = grain.clip(40, 220).astype(np.uint8)
    ground = cv2.warpPerspective(tile, matrix, (width, height - top), borderMode=cv2.BORDER_REPLICATE)
    view.canvas.pixels[top:] = shade(
        view.canvas.pixels[top:], cv2.multiply(ground, cv2.blur(light, (3, 3)), scale=1 / 255).astype(np.uint8)
    )
