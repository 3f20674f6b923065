"""Who uses the street of the drawn scenes: cars and persons."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Camera, Canvas, Colour, jitter, pick, rgb
from jaxseg.data.scene_street import Weather

CAR, PERSON = 4, 5

_Fill = Callable[[np.ndarray, Colour], None]

PAINTS = (
    rgb(226, 226, 224), rgb(34, 34, 38), rgb(120, 124, 128), rgb(84, 86, 90), rgb(168, 172, 176), rgb(150, 30, 32),
    rgb(40, 66, 130), rgb(110, 150, 190), rgb(60, 88, 56), rgb(188, 170, 132), rgb(120, 76, 54), rgb(206, 160, 40),
    rgb(196, 90, 50), rgb(70, 110, 110),
)  # fmt: skip
CLOTHES = (
    rgb(40, 42, 50), rgb(70, 80, 110), rgb(46, 60, 100), rgb(150, 40, 44), rgb(220, 218, 214), rgb(128, 126, 122),
    rgb(84, 100, 62), rgb(190, 168, 130), rgb(110, 76, 58), rgb(206, 180, 70), rgb(120, 160, 200), rgb(160, 90, 130),
    rgb(92, 92, 96), rgb(200, 110, 60),
)  # fmt: skip
SKIN = (rgb(232, 194, 168), rgb(206, 158, 126), rgb(168, 118, 86), rgb(116, 78, 56), rgb(80, 54, 42))
HAIR = (rgb(36, 30, 28), rgb(76, 52, 36), rgb(150, 116, 70), rgb(150, 148, 146), rgb(110, 56, 36))


def _prism(bottom: tuple[float, float, float], top: tuple[float, float, float], width: tuple[float, float]) -> np.ndarray:
    # Corners (8, 3) of a block: (rear, front, height) of the bottom and the top, and half the width at either.
    rows = []
    for (rear, front, up), half in zip((bottom, top), width):
        rows += [(-half, up, rear), (half, up, rear), (half, up, front), (-half, up, front)]
    return np.array(rows)


# Faces of a block as corners top left, top right, bottom right, bottom left, seen from outside: rear, right, front, left, top.
_FACES = np.array([(4, 5, 1, 0), (5, 6, 2, 1), (6, 7, 3, 2), (7, 4, 0, 3), (7, 6, 5, 4)])
_REAR, _RIGHT, _FRONT, _LEFT, _TOP = range(5)


def _within(face: Float[np.ndarray, "4 3"], left: float, right: float, top: float, bottom: float) -> Float[np.ndarray, "4 3"]:
    # The part of a face between fractions of its width and height.
    return _weights(left, right, top, bottom) @ face


@lru_cache(maxsize=64)
def _weights(left: float, right: float, top: float, bottom: float) -> Float[np.ndarray, "4 4"]:
    s, t = np.array([left, right, right, left]), np.array([top, top, bottom, bottom])
    return np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=-1)


def draw_car(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """Paint a car whose middle stands at ``x, z``; its rear faces the camera at yaw 0, its right side at yaw ``pi / 2``."""
    turn = np.array([(np.cos(yaw), 0, -np.sin(yaw)), (0, 1, 0), (np.sin(yaw), 0, np.cos(yaw))])
    place = np.array([x, 0.0, z])
    eye = np.array([0.0, camera.height, 0.0])
    body, cabin = _car_shape(rng)
    colour = weather.through_air(pick(rng, PAINTS, 8, 0.2), z)
    glass = weather.through_air(rgb(30, 36, 44) + weather.zenith * rng.uniform(0.05, 0.5), z)
    black = weather.through_air(rgb(24, 24, 26), z)
    lights = rng.random() < 0.5 + 0.4 * (weather.lamps > 0.2)

    strokes: list[tuple[np.ndarray, Colour]] = []

    def fill(points: np.ndarray, shade: Colour) -> None:
        strokes.append((points @ turn + place, shade))

    def faces(block: np.ndarray) -> list[tuple[int, np.ndarray, float]]:
        corners = (block @ turn + place)[_FACES]
        (ax, ay, az), (bx, by, bz) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 3] - corners[:, 0]).T
        outward = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
        outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
        seen = np.flatnonzero((outward * (eye - corners[:, 0])).sum(axis=-1) > 0)
        light = 0.86 + 0.25 * outward[:, 1] + 0.14 * weather.sun * outward[:, 0]
        return [(int(side), block[_FACES[side]], float(light[side])) for side in seen]

    half, length = body[1, 0], body[2, 2] - body[0, 2]
    for end in (body[0, 2] + 0.1, body[2, 2] - 0.1):
        for flank in (-1, 1):
            a, b = flank * half * 0.95, flank * half * 0.62
            fill(np.array([(a, 0.4, end), (b, 0.4, end), (b, 0.0, end), (a, 0.0, end)]), black)
    for side, face, shade in faces(body):
        fill(face, colour * shade)
        if side in (_RIGHT, _LEFT):
            fill(_within(face, 0, 1, 0.82, 1), black * 1.4)
            fill(_within(face, 0.49, 0.51, 0.0, 0.8), colour * shade * 0.7)
            _wheels(fill, face, length, black)
        elif side != _TOP:
            _car_end(fill, face, side == _FRONT, black, lights)
    for side, face, shade in faces(cabin):
        fill(face, colour * shade)
        if side in (_RIGHT, _LEFT):
            fill(_within(face, 0.06, 0.47, 0.14, 0.92), glass * 0.8)
            fill(_within(face, 0.52, 0.94, 0.14, 0.92), glass * 0.8)
        elif side != _TOP:
            fill(_within(face, 0.07, 0.93, 0.12, 0.92), glass * (1.2 if side == _FRONT else 0.9))
    canvas.polygons(camera, strokes, CAR)


def _car_shape(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Saloon, hatchback, off-roader or van.
    length, half, belt, roof, boot, bonnet = (
        (2.25, 0.88, 0.88, 1.42, 0.75, 1.15),
        (2.0, 0.86, 0.92, 1.5, 0.1, 1.0),
        (2.2, 0.95, 1.1, 1.75, 0.1, 1.1),
        (2.3, 0.95, 1.15, 2.05, 0.05, 0.5),
    )[int(rng.choice(4, p=[0.32, 0.32, 0.22, 0.14]))]
    length, roof = length * rng.uniform(0.94, 1.06), roof * rng.uniform(0.97, 1.04)
    body = _prism((-length, length, 0.2), (-length * 0.97, length * 0.97, belt), (half, half * 0.97))
    top = (-length + boot + 0.35, length - bonnet - 0.65, roof)
    cabin = _prism((-length + boot + 0.02, length - bonnet, belt), top, (half * 0.95, half * 0.78))
    return body, cabin


def _wheels(fill: _Fill, face: np.ndarray, length: float, black: Colour) -> None:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    base = 0.5 * (face[2] + face[3])
    along = (face[2] - face[3]) / np.linalg.norm(face[2] - face[3])
    for place in (-0.3, 0.3):
        hub = base + along * place * length
        hub[1] = 0.33
        rim = np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * np.array([0.0, 1.0, 0.0])
        fill(hub + 0.33 * rim, black)
        fill(hub + 0.18 * rim, black + 90)


def _car_end(fill: _Fill, face: np.ndarray, front: bool, black: Colour, lights: bool) -> None:
    lamp = rgb(255, 250, 225) if lights else rgb(200, 205, 210)
    if not front:
        lamp = rgb(235, 40, 34) if lights else rgb(140, 24, 24)
    fill(_within(face, 0, 1, 0.78, 1), black * 1.4)
    fill(_within(face, 0.36, 0.64, 0.5, 0.68), rgb(215, 215, 205))
    if front:
        fill(_within(face, 0.26, 0.74, 0.16, 0.42), black * 1.2)
    for left in (0.02, 0.78):
        fill(_within(face, left, left + 0.2, 0.12, 0.4), lamp)


def _limb(start: tuple[float, float], end: tuple[float, float], wide: float, narrow: float) -> np.ndarray:
    a, b = np.array(start), np.array(end)
    across = np.array([a[1] - b[1], b[0] - a[0]])
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    return np.stack([a + across * wide, a - across * wide, b - across * narrow, b + across * narrow])


def draw_person(
    canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator, x: float, z: float, height: float
) -> None:
    """Paint a person of a height in metres, standing or walking at ``x, z``."""
    scale, stride, swing = height / 1.75, rng.uniform(0.0, 0.24), rng.uniform(0.04, 0.22)
    turn = 1.0 if rng.random() < 0.5 else -1.0
    top, legs = (weather.through_air(pick(rng, CLOTHES, 8, 0.2), z) for _ in range(2))
    skin, hair = weather.through_air(pick(rng, SKIN, 5, 0.1), z), weather.through_air(pick(rng, HAIR, 5, 0.1), z)
    shoe = weather.through_air(pick(rng, (rgb(30, 28, 28), rgb(210, 210, 205), rgb(90, 60, 40)), 5, 0.1), z)
    dark = 0.78

    strokes: list[tuple[np.ndarray, Colour]] = []

    def fill(shape: np.ndarray, colour: Colour) -> None:
        points = np.stack([x + turn * scale * shape[:, 0], scale * shape[:, 1], np.full(len(shape), z)], -1)
        strokes.append((points, colour))

    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    disc = np.stack([np.cos(angle), np.sin(angle)], -1)
    stance = stride + 0.11
    fill(_limb((-0.05, 1.4), (-0.22 - swing * 0.6, 0.82), 0.085, 0.07), top * dark)
    for foot, shade in ((-stance, dark), (stance, 1.0)):
        fill(_limb((foot * 0.45, 0.95), (foot, 0.08), 0.135, 0.09), legs * shade)
        fill(np.array([(foot - 0.09, 0.11), (foot + 0.16, 0.08), (foot + 0.18, 0.0), (foot - 0.09, 0.0)]), shoe * shade)
    torso = [(-0.15, 1.5), (0.15, 1.5), (0.26, 1.38), (0.2, 0.85), (-0.2, 0.85), (-0.26, 1.38)]
    if rng.random() < 0.3:
        torso[3:5] = [(0.29, 0.6), (-0.29, 0.6)]
    fill(np.array(torso), top)
    if rng.random() < 0.3:
        fill(np.array([(-0.4, 1.42), (-0.16, 1.45), (-0.16, 0.95), (-0.38, 1.0)]), pick(rng, CLOTHES, 8, 0.3))
    fill(_limb((0.17, 1.4), (0.24 + swing, 0.86), 0.085, 0.07), jitter(rng, top * 0.9, 3, 0.05))
    fill(np.array([0.24 + swing, 0.82]) + 0.07 * disc, skin)
    fill(np.array([0.0, 1.62]) + np.array([0.135, 0.16]) * disc, hair)
    fill(np.array([0.03, 1.59]) + np.array([0.105, 0.125]) * disc, skin)
    canvas.polygons(camera, strokes, PERSON)
