"""The trees of the drawn street scenes."""

import cv2
import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import cut, packed, pick, rgb, shade, weighted
from jaxseg.data.scene_view import View

TREE = 3

# The part of a crown's box that its leaves may fill.
_REACH = 1.15

LEAVES = (
    rgb(58, 92, 40), rgb(76, 112, 52), rgb(46, 72, 44), rgb(104, 124, 58), rgb(64, 86, 66), rgb(150, 104, 40),
    rgb(176, 132, 54), rgb(134, 68, 42), rgb(112, 108, 92), rgb(196, 150, 160),
)  # fmt: skip
BARK = (rgb(86, 68, 52), rgb(110, 100, 88), rgb(64, 54, 48), rgb(150, 144, 132))


# Of a round, a tall tree and a fir: share, half the crown's width, and the height below it, both as parts of the tree's height.
_KINDS = ((0.65, (0.26, 0.38), (0.25, 0.4)), (0.2, (0.14, 0.2), (0.12, 0.25)), (0.15, (0.2, 0.28), (0.08, 0.18)))
_FIR = 2


def draw_tree(view: View, x: float, z: float) -> None:
    """Paint a tree at ``x, z``: a trunk and a crown of leaves, round, tall or a fir's."""
    rng, weather = view.rng, view.weather
    kind = weighted(rng, [share for share, *_ in _KINDS])
    height, thick = float(rng.uniform(4.0, 8.5)), float(rng.uniform(0.12, 0.24))
    half, clear = (height * float(rng.uniform(*span)) for span in _KINDS[kind][1:])
    box = view.camera.project(np.array([(x - half, height, z), (x + half, clear, z)]))
    if box[1, 0] < 0 or box[0, 0] > view.canvas.shape[1]:
        return
    bark = weather.through_air(pick(rng, BARK, 8, 0.25), z)
    left, right = np.array([-1.0, -0.7]) * thick + x, np.array([1.0, 0.7]) * thick + x
    middle = np.full(2, x)
    lit, dark = (right, left) if weather.sun > 0 else (left, right)
    view.fill([(_stem(lit, middle, height, z), bark), (_stem(dark, middle, height, z), bark * 0.75)], TREE)
    field, light = (_fir if kind == _FIR else _lobes)(view, int(np.clip(0.4 * (box[1, 1] - box[0, 1]), 14, 48)))
    _paint_crown(view, box, field, light, z)


def _stem(edge: np.ndarray, middle: np.ndarray, height: float, z: float) -> Float[np.ndarray, "4 3"]:
    # Half of a trunk, from the ground into the crown.
    return np.array([(edge[0], 0, z), (middle[0], 0, z), (middle[1], 0.6 * height, z), (edge[1], 0.6 * height, z)])


def _square(size: int) -> tuple[np.ndarray, np.ndarray]:
    # Coordinates down and across; the crown's box is -1 to 1, and leaves may stick out a little.
    down = np.linspace(-_REACH, _REACH, size, dtype=np.float32)[:, None]
    return down, down.T


def _fir(view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    down, across = _square(size)
    tiers = 0.18 * ((down * 3 + 9) % 1)
    field = ((down + 1) * 0.48 + tiers - np.abs(across)) * 2 * (down < 0.95)
    return field, 0.5 * across * np.sign(view.weather.sun) - 0.25 * (1 - 5 * tiers)


def _lobes(view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = view.rng
    lobes = int(rng.integers(6, 11))
    angle, reach, radius = rng.uniform(0, 2 * np.pi, lobes), rng.uniform(0.2, 0.62, lobes), rng.uniform(0.34, 0.52, lobes)
    down, across = _square(size)
    field, light = np.full((size, size), -9, np.float32), np.zeros((size, size), np.float32)
    for left, top, around in zip(reach * np.cos(angle), reach * np.sin(angle), radius):
        away, below = (across - float(left)) / float(around), (down - float(top)) / float(around)
        inside = 1 - away * away - below * below
        nearer = inside > field
        np.copyto(field, inside, where=nearer)
        np.copyto(light, 0.35 * view.weather.sun * away - 0.45 * below, where=nearer)
    return field, light


def _paint_crown(view: View, box: Float[np.ndarray, "2 2"], field: np.ndarray, light: np.ndarray, z: float) -> None:
    # Leaves where the field is positive, in the box and a little beyond.
    rng, size = view.rng, len(field)
    leaves = cut(rng, view.foliage, size, size)
    light = 128 - 13 * _square(size)[0] + 38 * light.clip(-1, 1) + 25 * leaves
    colour = packed(view.weather.through_air(pick(rng, LEAVES, 8, 0.3), z), TREE)
    pixels = np.full((size, size), colour, np.uint32).view(np.uint8).reshape(size, size, 4)
    spread = (box[1] - box[0]) * _REACH
    left, top = (round(float(start)) for start in box.mean(axis=0) - spread / 2)
    shape = max(3, round(float(spread[0]))), max(3, round(float(spread[1])))
    crown = cv2.resize(shade(pixels, light.clip(45, 218).astype(np.uint8)), shape, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(field + 0.32 * leaves, shape, interpolation=cv2.INTER_LINEAR) > 0
    view.canvas.paste(crown, mask.astype(np.uint8), top, left)
