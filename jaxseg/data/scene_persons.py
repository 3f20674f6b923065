"""The persons of the drawn street scenes."""

import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import Colour, pick, rgb
from jaxseg.data.scene_view import View

PERSON = 5

CLOTHES = (
    rgb(40, 42, 50), rgb(70, 80, 110), rgb(46, 60, 100), rgb(150, 40, 44), rgb(220, 218, 214), rgb(128, 126, 122),
    rgb(84, 100, 62), rgb(190, 168, 130), rgb(110, 76, 58), rgb(206, 180, 70), rgb(120, 160, 200), rgb(160, 90, 130),
    rgb(92, 92, 96), rgb(200, 110, 60),
)  # fmt: skip
SKIN = (rgb(232, 194, 168), rgb(206, 158, 126), rgb(168, 118, 86), rgb(116, 78, 56), rgb(80, 54, 42))
HAIR = (rgb(36, 30, 28), rgb(76, 52, 36), rgb(150, 116, 70), rgb(150, 148, 146), rgb(110, 56, 36))
SHOES = (rgb(30, 28, 28), rgb(210, 210, 205), rgb(90, 60, 40))

_ANGLE = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_DISC = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=-1)

# Limbs on the far side are darker.
_FAR_SIDE = 0.78


def draw_person(view: View, x: float, z: float, height: float) -> None:
    """Paint a person of a height in metres, standing or walking at ``x, z``."""
    rng, weather = view.rng, view.weather

    def choose(colours: tuple[Colour, ...], tint: float = 5, light: float = 0.1) -> Colour:
        return weather.through_air(pick(rng, colours, tint, light), z)

    top, legs, bag = (choose(CLOTHES, 8, 0.2) for _ in range(3))
    skin, hair, shoe = choose(SKIN), choose(HAIR), choose(SHOES)
    stance, swing = rng.uniform(0.11, 0.35), rng.uniform(0.04, 0.22)
    shapes = [(_limb((-0.05, 1.4), (-0.22 - swing * 0.6, 0.82), 0.085, 0.07), top * _FAR_SIDE)]
    for foot, light in ((-stance, _FAR_SIDE), (stance, 1.0)):
        shapes.append((_limb((foot * 0.45, 0.95), (foot, 0.08), 0.135, 0.09), legs * light))
        shapes.append((_polygon((foot - 0.09, 0.11), (foot + 0.16, 0.08), (foot + 0.18, 0), (foot - 0.09, 0)), shoe * light))
    hem = ((0.29, 0.6), (-0.29, 0.6)) if rng.random() < 0.3 else ((0.2, 0.85), (-0.2, 0.85))
    shapes.append((_polygon((-0.15, 1.5), (0.15, 1.5), (0.26, 1.38), *hem, (-0.26, 1.38)), top))
    if rng.random() < 0.3:
        shapes.append((_polygon((-0.4, 1.42), (-0.16, 1.45), (-0.16, 0.95), (-0.38, 1.0)), bag))
    shapes.append((_limb((0.17, 1.4), (0.24 + swing, 0.86), 0.085, 0.07), top * 0.9))
    shapes.append((np.array([0.24 + swing, 0.82]) + 0.07 * _DISC, skin))
    shapes.append((np.array([0.0, 1.62]) + np.array([0.135, 0.16]) * _DISC, hair))
    shapes.append((np.array([0.03, 1.59]) + np.array([0.105, 0.125]) * _DISC, skin))

    # The shapes above are those of a person 1.75 m tall who looks to the right.
    scale, facing = height / 1.75, 1.0 if rng.random() < 0.5 else -1.0
    view.fill([(_upright(shape * [facing * scale, scale], x, z), colour) for shape, colour in shapes], PERSON)


def _upright(shape: Float[np.ndarray, "n 2"], x: float, z: float) -> Float[np.ndarray, "n 3"]:
    points = np.full((len(shape), 3), z)
    points[:, 0] = x + shape[:, 0]
    points[:, 1] = shape[:, 1]
    return points


def _polygon(*corners: tuple[float, float]) -> Float[np.ndarray, "n 2"]:
    return np.array(corners, np.float64)


def _limb(start: tuple[float, float], end: tuple[float, float], wide: float, narrow: float) -> Float[np.ndarray, "4 2"]:
    a, b = np.array(start), np.array(end)
    across = np.array([a[1] - b[1], b[0] - a[0]])
    across = across / np.linalg.norm(across)
    return np.stack([a + across * wide, a - across * wide, b - across * narrow, b + across * narrow])
