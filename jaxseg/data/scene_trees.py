"""The trees of the drawn street scenes."""

import cv2
import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Camera, Canvas, noise, paint, pick, rgb, shade
from jaxseg.data.scene_street import Weather

TREE = 3

LEAVES = (
    rgb(58, 92, 40), rgb(76, 112, 52), rgb(46, 72, 44), rgb(104, 124, 58), rgb(64, 86, 66), rgb(150, 104, 40),
    rgb(176, 132, 54), rgb(134, 68, 42), rgb(112, 108, 92), rgb(196, 150, 160),
)  # fmt: skip
BARK = (rgb(86, 68, 52), rgb(110, 100, 88), rgb(64, 54, 48), rgb(150, 144, 132))


def draw_tree(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator, x: float, z: float) -> None:
    """Paint a tree at ``x, z``: a trunk and a crown of leaves, round, tall or a fir's."""
    height = float(rng.uniform(4.0, 8.5))
    kind = rng.choice(3, p=[0.65, 0.2, 0.15])
    half = height * float(rng.uniform(*((0.26, 0.38), (0.14, 0.2), (0.2, 0.28))[int(kind)]))
    clear = height * float(rng.uniform(*((0.25, 0.4), (0.12, 0.25), (0.08, 0.18))[int(kind)]))
    trunk = float(rng.uniform(0.12, 0.24))
    bark = weather.through_air(pick(rng, BARK, 8, 0.25), z)
    slim = 0.7 * trunk
    fork = 0.6 * height
    corners = camera.project(np.array([(x - trunk, 0, z), (x + trunk, 0, z), (x + slim, fork, z), (x - slim, fork, z)]))
    if corners[:, 0].max() < -0.3 * canvas.shape[1] or corners[:, 0].min() > 1.3 * canvas.shape[1]:
        return
    canvas.polygon(corners, bark, TREE)
    shaded = [0, 3] if weather.sun > 0 else [1, 2]
    lit = [index for index in range(4) if index not in shaded]
    corners[lit, 0] = corners[:, 0].mean()
    canvas.polygon(corners, bark * 0.75, TREE)
    box = camera.project(np.array([(x - half, height, z), (x + half, clear, z)]))
    _crown(canvas, weather, rng, box, int(kind), z)


def _crown(
    canvas: Canvas, weather: Weather, rng: np.random.Generator, box: Float[np.ndarray, "2 2"], kind: int, z: float
) -> None:
    size = int(np.clip(0.4 * (box[1, 1] - box[0, 1]), 14, 48))
    down = np.linspace(-1.15, 1.15, size, dtype=np.float32)[:, None]
    across = down.T
    if kind == 2:
        tiers = 0.18 * ((down * 3 + 9) % 1)
        field = ((down + 1) * 0.48 + tiers - np.abs(across)) * 2 * (down < 0.95)
        relief = -0.5 * across * np.sign(-weather.sun) - 0.25 * (1 - 5 * tiers)
    else:
        lobes = int(rng.integers(6, 11))
        angle, reach = rng.uniform(0, 2 * np.pi, lobes), rng.uniform(0.2, 0.62, lobes)
        radius = rng.uniform(0.34, 0.52, lobes)
        field, relief = np.full((size, size), -9, np.float32), np.zeros((size, size), np.float32)
        for left, top, around in zip(reach * np.cos(angle), reach * np.sin(angle), radius):
            away, below = (across - float(left)) / float(around), (down - float(top)) / float(around)
            inside = 1 - away * away - below * below
            nearer = inside > field
            np.copyto(field, inside, where=nearer)
            np.copyto(relief, float(0.35 * weather.sun) * away - 0.45 * below, where=nearer)
    leaves = noise(rng, size, size, (size / 4.5, size / 4.5), 3)
    field = field + 0.32 * leaves
    colour = weather.through_air(pick(rng, LEAVES, 8, 0.3), z)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    light = 1 - 0.1 * down + 0.3 * relief.clip(-1, 1) + 0.17 * leaves + 0.1 * grain
    pixels = shade(np.full((size, size, 4), paint(colour, TREE), np.uint8), 128 * light.clip(0.35, 1.7))
    # The field reaches a little beyond the crown's box, for leaves that stick out.
    spread = (box[1] - box[0]) * 1.15
    width, height = max(3, round(float(spread[0]))), max(3, round(float(spread[1])))
    corner = box.mean(axis=0) - spread / 2
    left_edge, top_edge = round(float(corner[0])), round(float(corner[1]))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = (cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR) > 0).astype(np.uint8)
    canvas.paste(pixels, mask, top_edge, left_edge)
