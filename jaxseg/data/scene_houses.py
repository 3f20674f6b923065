"""The houses of the drawn street scenes."""

import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Colour, Pixels, cut, packed, pick, rgb, shade
from jaxseg.data.scene_view import Stroke, View

BUILDING = 2

FACADES = (
    rgb(196, 178, 146), rgb(150, 84, 68), rgb(120, 66, 54), rgb(214, 206, 190), rgb(140, 150, 160), rgb(92, 94, 98),
    rgb(120, 150, 185), rgb(176, 196, 214), rgb(206, 160, 110), rgb(124, 140, 104), rgb(210, 150, 140), rgb(66, 70, 78),
    rgb(226, 222, 216), rgb(160, 130, 100), rgb(92, 110, 84),
)  # fmt: skip
ROOFS = (rgb(130, 66, 48), rgb(84, 84, 92), rgb(110, 88, 74), rgb(64, 66, 70), rgb(150, 96, 70), rgb(96, 112, 104))
LAMPLIGHT = rgb(250, 214, 140)

# Rows and columns of a texture for a window and the wall around it.
_CELL = (14, 12)


def facade(view: View, wall: Colour, glass: Colour, floors: int, bays: int) -> Pixels:
    """Return the front of a house: wall, windows, ledges, and a ground floor with a door or a shop."""
    rng, rows, columns = view.rng, *_CELL
    image = np.empty((floors * rows, bays * columns), np.uint32)
    cells = image.reshape(floors, rows, bays, columns)
    wide, tall = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    trim = wall * rng.uniform(0.55, 1.5)
    frame, door, ledge = packed(np.stack([trim, trim * 0.5, wall * rng.uniform(0.6, 1.4)]), BUILDING)
    lit = rng.random((floors, 1, bays, 1, 1)) < view.weather.lamps
    panes = packed(np.where(lit, LAMPLIGHT, glass * rng.uniform(0.6, 1.25, (floors, 1, bays, 1, 1))), BUILDING)
    cells[...] = packed(wall, BUILDING)
    cells[:, tall - 1 : rows - tall + 1, :, wide - 1 : columns - wide + 1] = frame
    cells[:, tall : rows - tall, :, wide : columns - wide] = panes
    if rng.random() < 0.5:
        cells[:, tall : rows - tall, :, columns // 2] = frame
    if rng.random() < 0.5:
        cells[:, rows - 1] = ledge
    if rng.random() < 0.6:
        front, awning = packed(np.stack([pick(rng, FACADES, 10, 0.3), pick(rng, FACADES, 40, 0.3)]), BUILDING)
        cells[-1] = front
        cells[-1, 4:12, :, 1:-1] = panes[-1]
        cells[-1, 2:5] = awning
    cells[-1, 5:, int(rng.integers(bays)), 3:9] = door
    return shade(image.view(np.uint8).reshape(*image.shape, 4), cut(rng, view.plaster, *image.shape))


def _wall(x0: float, z0: float, x1: float, z1: float, low: float, high: float) -> Float[np.ndarray, "4 3"]:
    return np.array([(x0, high, z0), (x1, high, z1), (x1, low, z1), (x0, low, z0)])


def draw_house(view: View, x: float, near: float, far: float, free: bool = True) -> None:
    """Paint a house beside the street, from ``near`` to ``far`` metres ahead.

    Args:
        view: what to paint on and through.
        x: where its front stands; it reaches away from 0.
        near: where its front begins.
        far: where its front ends.
        free: whether its end wall can be seen, because no house adjoins it on the near side.
    """
    rng, weather = view.rng, view.weather
    across = view.camera.project(np.array([(x, 0.0, near), (x, 0.0, far)]))[:, 0] / view.canvas.shape[1]
    if not -0.1 < across[1] < 1.1:
        return
    height = float(rng.uniform(4.5, 9)) if rng.random() < 0.6 else float(rng.uniform(8, 18))
    outward = 1.0 if x > 0 else -1.0
    back = x + outward * 9.0
    distance = 0.5 * (near + far)
    wall = weather.through_air(pick(rng, FACADES, 12, 0.25), distance)
    glass = weather.through_air(rgb(40, 48, 60) + weather.zenith * rng.uniform(0.0, 0.6), distance)
    roof = weather.through_air(pick(rng, ROOFS, 10, 0.2), distance)
    lit = 1 - 0.25 * weather.shadow - 0.3 * outward * weather.sun * weather.shadow
    side = wall * (1.8 - lit)
    floors, bays = max(1, round(height / 3)), max(1, round((far - near) / 2.5))
    strokes: list[Stroke] = []
    if rng.random() < 0.55:
        ridge, middle = height + rng.uniform(1.5, 3), x + outward * 4.5
        slope = np.array([(x, height, near), (x, height, far), (middle, ridge, far), (middle, ridge, near)])
        gable = np.array([(x, height, near), (middle, ridge, near), (back, height, near)])
        strokes += [(slope, roof * lit), (gable, side)]
    end, front = _wall(x, near, back, near, 0.0, height), _wall(x, far, x, near, 0.0, height)
    view.fill([*strokes, (end, side)], BUILDING)
    texture = facade(view, wall * lit, glass, floors, max(bays, 3))
    if free and 0 < across[0] < 1:
        dimmed = np.full((len(texture), 3 * _CELL[1]), 128 * min(1.8 / lit - 1, 1.9), np.uint8)
        view.canvas.warp(shade(texture[:, : 3 * _CELL[1]], dimmed), view.camera.project(end))
    if abs(across[1] - across[0]) > 0.004:
        view.canvas.warp(texture, view.camera.project(front))
    view.fill([(_wall(x, far, x, near, height - 0.12, height + 0.15), roof * 0.8)], BUILDING)
