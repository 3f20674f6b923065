"""How the drawn street scenes are seen: the camera, the weather, and the street they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from jaxseg.data.scene_canvas import Canvas, Colour, jitter, noise, rgb, weighted

#: Nothing is drawn nearer to the camera than this, in metres.
NEAR = 1.5

#: Points in metres: x to the right, y up from the ground, z ahead.
Points = Float[np.ndarray, "... 3"]

#: A convex polygon in metres and its colour.
Stroke = tuple[Float[np.ndarray, "_ 3"], Colour]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along a straight street over flat ground.

    Attributes:
        focal: focal length in canvas pixels.
        horizon: canvas row of the horizon.
        vanishing: canvas column of the street's vanishing point.
        height: height above the ground in metres.
    """

    focal: float
    horizon: float
    vanishing: float
    height: float

    def project(self, points: Points) -> Float[np.ndarray, "... 2"]:
        """Return the canvas coordinates (column, row) of points in metres; depth is clipped to :data:`NEAR`."""
        scale = self.focal / np.maximum(points[..., 2], NEAR)
        seen = np.empty((*points.shape[:-1], 2))
        seen[..., 0] = self.vanishing + points[..., 0] * scale
        seen[..., 1] = self.horizon + (self.height - points[..., 1]) * scale
        return seen


@dataclass(frozen=True)
class Weather:
    """Light and air of a scene.

    Attributes:
        zenith: colour of the sky at the top.
        haze: colour of the sky at the horizon, which far things fade to.
        cloud: colour of the clouds.
        clouds: cover; none below 0, all above 1.
        visibility: metres after which 63 % of a thing is haze.
        sun: -1 (from the left) to 1 (from the right).
        shadow: darkness of cast shadows, 0 to 1.
        lamps: share of lit windows.
        cast: factor per channel for everything.
    """

    zenith: Colour
    haze: Colour
    cloud: Colour
    clouds: float
    visibility: float
    sun: float
    shadow: float
    lamps: float
    cast: Colour

    def through_air(self, colour: Colour, distance: float) -> Colour:
        """Return the colour as seen from a distance in metres."""
        return colour + (self.haze - colour) * (1 - math.exp(-max(distance, 0.0) / self.visibility))


@dataclass(frozen=True)
class Street:
    """A straight street, in metres.

    Attributes:
        middle: x of its middle; the camera is at 0.
        road: half of the carriageway's width.
        side: where the houses begin, from the middle.
    """

    middle: float
    road: float
    side: float


@dataclass(frozen=True)
class View:
    """All that a thing needs to know in order to draw itself into a scene.

    Attributes:
        canvas: what is painted on.
        camera: what it is seen through.
        weather: light and air.
        street: where the road is.
        plaster: a tile of light for walls, neutral at 128.
        foliage: a tile of noise for leaves.
        rng: the source of all randomness.
    """

    canvas: Canvas
    camera: Camera
    weather: Weather
    street: Street
    plaster: UInt8[np.ndarray, "_ _"]
    foliage: Float[np.ndarray, "_ _"]
    rng: np.random.Generator

    def fill(self, strokes: Sequence[Stroke], label: int) -> None:
        """Fill convex polygons given in metres, one over the other."""
        if strokes:
            corners = self.camera.project(np.concatenate([points for points, _ in strokes]))
            self.canvas.polygons(corners, [len(points) for points, _ in strokes], [colour for _, colour in strokes], label)


# Share, zenith, haze, cloud, clouds, visibility, shadow, lamps, cast: clear, overcast, sunset, dusk, hazy, stormy.
_KINDS = (
    (0.32, rgb(62, 118, 196), rgb(186, 212, 236), rgb(244, 244, 246), 0.45, 160.0, 0.55, 0.03, rgb(1.04, 1.0, 0.95)),
    (0.24, rgb(158, 166, 176), rgb(204, 206, 208), rgb(128, 134, 144), 0.8, 110.0, 0.12, 0.08, rgb(0.94, 0.97, 1.0)),
    (0.14, rgb(96, 108, 160), rgb(246, 178, 116), rgb(232, 132, 110), 0.6, 100.0, 0.5, 0.2, rgb(1.1, 0.94, 0.8)),
    (0.1, rgb(34, 42, 84), rgb(148, 116, 132), rgb(64, 60, 92), 0.6, 90.0, 0.1, 0.5, rgb(0.66, 0.68, 0.86)),
    (0.12, rgb(184, 190, 190), rgb(214, 212, 202), rgb(224, 222, 216), 0.5, 38.0, 0.15, 0.06, rgb(1.0, 0.99, 0.95)),
    (0.08, rgb(74, 80, 92), rgb(150, 152, 152), rgb(52, 56, 66), 0.9, 80.0, 0.1, 0.25, rgb(0.82, 0.86, 0.92)),
)


def random_weather(rng: np.random.Generator) -> Weather:
    """Return the weather of a scene: clear, overcast, sunset, dusk, hazy or stormy."""
    kind = weighted(rng, [share for share, *_ in _KINDS])
    _, zenith, haze, cloud, clouds, visibility, shadow, lamps, cast = _KINDS[kind]
    return Weather(
        zenith=jitter(rng, zenith, 5, 0.12),
        haze=jitter(rng, haze, 4, 0.08),
        cloud=jitter(rng, cloud, 4, 0.08),
        clouds=clouds * float(rng.uniform(0.3, 1.3)),
        visibility=visibility * float(rng.uniform(0.7, 1.4)),
        sun=float(rng.uniform(-1, 1)),
        shadow=shadow * float(rng.uniform(0.7, 1.2)),
        lamps=lamps * float(rng.uniform(0.3, 1.5)),
        cast=cast * rng.uniform(0.93, 1.07, 3) * rng.uniform(0.78, 1.2),
    )


def random_view(rng: np.random.Generator, height: int, width: int) -> View:
    """Return an empty canvas of a height and width with a random camera, weather and street."""
    camera = Camera(
        focal=height * float(rng.uniform(0.82, 1.05)),
        horizon=height * float(rng.uniform(0.36, 0.5)),
        vanishing=width * float(rng.uniform(0.3, 0.7)),
        height=float(rng.uniform(1.5, 2.5)),
    )
    road = float(rng.uniform(3.2, 4.8))
    street = Street(middle=float(rng.uniform(-1.8, 1.8)), road=road, side=road + float(rng.uniform(1.6, 3.0)))
    plaster = 128 + 9 * noise(rng, 96, 96, (24, 28), 2) + 5 * rng.standard_normal((96, 1), dtype=np.float32)
    return View(
        canvas=Canvas(height, width),
        camera=camera,
        weather=random_weather(rng),
        street=street,
        plaster=plaster.clip(64, 192).astype(np.uint8),
        foliage=noise(rng, 80, 80, (18, 18), 3),
        rng=rng,
    )
