"""The cars of the drawn street scenes: blocks in perspective."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Colour, pick, rgb, weighted
from jaxseg.data.scene_view import Stroke, View

CAR = 4

PAINTS = (
    rgb(226, 226, 224), rgb(34, 34, 38), rgb(120, 124, 128), rgb(84, 86, 90), rgb(168, 172, 176), rgb(150, 30, 32),
    rgb(40, 66, 130), rgb(110, 150, 190), rgb(60, 88, 56), rgb(188, 170, 132), rgb(120, 76, 54), rgb(206, 160, 40),
    rgb(196, 90, 50), rgb(70, 110, 110),
)  # fmt: skip

# Share, half the length, half the width, height of the belt line and of the roof, lengths of boot and bonnet in metres:
# saloon, hatchback, off-roader, van.
_KINDS = (
    (0.32, 2.25, 0.88, 0.88, 1.42, 0.75, 1.15),
    (0.32, 2.0, 0.86, 0.92, 1.5, 0.1, 1.0),
    (0.22, 2.2, 0.95, 1.1, 1.75, 0.1, 1.1),
    (0.14, 2.3, 0.95, 1.15, 2.05, 0.05, 0.5),
)

# Faces of a block as corners top left, top right, bottom right, bottom left, seen from outside.
_FACES = np.array([(4, 5, 1, 0), (5, 6, 2, 1), (6, 7, 3, 2), (7, 4, 0, 3), (7, 6, 5, 4)])
_REAR, _RIGHT, _FRONT, _LEFT, _TOP = range(5)


def turned(points: Float[np.ndarray, "... 3"], x: float, z: float, yaw: float) -> Float[np.ndarray, "... 3"]:
    """Return points of a thing that stands at ``x, z``, turned about its upright axis; ahead becomes right at ``pi / 2``."""
    turn = np.array([(np.cos(yaw), 0, -np.sin(yaw)), (0, 1, 0), (np.sin(yaw), 0, np.cos(yaw))])
    return points @ turn + np.array([x, 0.0, z])


class _Look(NamedTuple):
    # The colours of a car.
    body: Colour
    glass: Colour
    black: Colour
    lights: bool


def draw_car(view: View, x: float, z: float, yaw: float) -> None:
    """Paint a car whose middle stands at ``x, z``; its rear faces the camera at yaw 0, its right side at ``pi / 2``."""
    rng, weather = view.rng, view.weather
    body, cabin = _shape(rng)
    look = _Look(
        body=weather.through_air(pick(rng, PAINTS, 8, 0.2), z),
        glass=weather.through_air(rgb(30, 36, 44) + weather.zenith * rng.uniform(0.05, 0.5), z),
        black=weather.through_air(rgb(24, 24, 26), z),
        lights=rng.random() < (0.9 if weather.lamps > 0.2 else 0.5),
    )
    half, length = body[1, 0], body[2, 2]
    strokes: list[Stroke] = []
    for end in (0.1 - length, length - 0.1):
        for side in (-half, half):
            tyre = np.array([(0.95 * side, 0.4, end), (0.62 * side, 0.4, end), (0.62 * side, 0.0, end), (0.95 * side, 0.0, end)])
            strokes.append((tyre, look.black))
    for face, light in _visible(view, turned(body, x, z, yaw)):
        strokes += _body_face(face, body[_FACES[face]], light, look)
    for face, light in _visible(view, turned(cabin, x, z, yaw)):
        strokes += _cabin_face(face, cabin[_FACES[face]], light, look)
    view.fill([(turned(points, x, z, yaw), colour) for points, colour in strokes], CAR)


def _shape(rng: np.random.Generator) -> tuple[Float[np.ndarray, "8 3"], Float[np.ndarray, "8 3"]]:
    # Body and cabin as blocks: x to the right, y up, z ahead.
    _, length, half, belt, roof, boot, bonnet = _KINDS[weighted(rng, [share for share, *_ in _KINDS])]
    length, roof = length * float(rng.uniform(0.94, 1.06)), roof * float(rng.uniform(0.97, 1.04))
    body = _block((-length, length, 0.2, half), (-length * 0.97, length * 0.97, belt, half * 0.97))
    sill = (-length + boot + 0.02, length - bonnet, belt, half * 0.95)
    return body, _block(sill, (-length + boot + 0.35, length - bonnet - 0.65, roof, half * 0.78))


def _block(*levels: tuple[float, float, float, float]) -> Float[np.ndarray, "8 3"]:
    # Bottom and top, each a rectangle from rear to front at a height, of half a width.
    corners = [((-half, up, rear), (half, up, rear), (half, up, front), (-half, up, front)) for rear, front, up, half in levels]
    return np.array(corners).reshape(8, 3)


def _visible(view: View, block: Float[np.ndarray, "8 3"]) -> list[tuple[int, float]]:
    # The faces of a block that the camera sees, with the light on them. They never hide one another: a block is convex.
    corners = block[_FACES]
    (ax, ay, az), (bx, by, bz) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 3] - corners[:, 0]).T
    outward = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    towards = np.array([0.0, view.camera.height, 0.0]) - corners[:, 0]
    light = 0.86 + 0.25 * outward[:, 1] + 0.14 * view.weather.sun * outward[:, 0]
    return [(int(face), float(light[face])) for face in np.flatnonzero((outward * towards).sum(axis=-1) > 0)]


def _body_face(face: int, corners: Float[np.ndarray, "4 3"], light: float, look: _Look) -> list[Stroke]:
    strokes = [(corners, look.body * light)]
    if face == _TOP:
        return strokes
    if face in (_RIGHT, _LEFT):
        strokes.append((_part(corners, 0, 1, 0.82, 1), look.black * 1.4))
        strokes.append((_part(corners, 0.49, 0.51, 0, 0.8), look.body * light * 0.7))
        return strokes + _wheels(corners, look.black)
    strokes.append((_part(corners, 0, 1, 0.78, 1), look.black * 1.4))
    strokes.append((_part(corners, 0.36, 0.64, 0.5, 0.68), rgb(215, 215, 205)))
    lamp = rgb(235, 40, 34) if look.lights else rgb(140, 24, 24)
    if face == _FRONT:
        lamp = rgb(255, 250, 225) if look.lights else rgb(200, 205, 210)
        strokes.append((_part(corners, 0.26, 0.74, 0.16, 0.42), look.black * 1.2))
    return strokes + [(_part(corners, left, left + 0.2, 0.12, 0.4), lamp) for left in (0.02, 0.78)]


def _cabin_face(face: int, corners: Float[np.ndarray, "4 3"], light: float, look: _Look) -> list[Stroke]:
    strokes = [(corners, look.body * light)]
    if face in (_RIGHT, _LEFT):
        strokes += [(_part(corners, left, left + 0.41, 0.14, 0.92), look.glass * 0.8) for left in (0.06, 0.53)]
    elif face != _TOP:
        strokes.append((_part(corners, 0.07, 0.93, 0.12, 0.92), look.glass * (1.2 if face == _FRONT else 0.9)))
    return strokes


def _wheels(flank: Float[np.ndarray, "4 3"], black: Colour) -> list[Stroke]:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)[:, None]
    circle = np.cos(angle) * np.array([0.0, 0.0, 1.0]) + np.sin(angle) * np.array([0.0, 1.0, 0.0])
    strokes: list[Stroke] = []
    for place in (0.2, 0.8):
        hub = (1 - place) * flank[3] + place * flank[2]
        hub[1] = 0.33
        strokes += [(hub + 0.33 * circle, black), (hub + 0.18 * circle, black + 90)]
    return strokes


def _part(face: Float[np.ndarray, "4 3"], left: float, right: float, top: float, bottom: float) -> Float[np.ndarray, "4 3"]:
    # The part of a face between fractions of its width and height.
    return _weights(left, right, top, bottom) @ face


@lru_cache(maxsize=64)
def _weights(left: float, right: float, top: float, bottom: float) -> Float[np.ndarray, "4 4"]:
    s, t = np.array([left, right, right, left]), np.array([top, top, bottom, bottom])
    return np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=-1)
