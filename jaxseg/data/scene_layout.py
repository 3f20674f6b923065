"""Where things stand in the drawn street scenes, and the shadows that they cast."""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float

from jaxseg.data.scene_canvas import weighted
from jaxseg.data.scene_cars import draw_car, turned
from jaxseg.data.scene_houses import draw_house
from jaxseg.data.scene_persons import draw_person
from jaxseg.data.scene_street import disc, strip
from jaxseg.data.scene_trees import draw_tree
from jaxseg.data.scene_view import View

#: A person's height in the image, as parts of the image's height.
PERSON_HEIGHT = (0.22, 0.42)

#: How far ahead the middles of cars are, in metres.
CAR_DISTANCE = (6.2, 14.0)


class Layout:
    """What stands on the street.

    Attributes:
        shadows: polygons on the ground, in metres.
    """

    def __init__(self, view: View) -> None:
        self.shadows: list[Float[np.ndarray, "_ 3"]] = []
        self._view = view
        self._things: list[tuple[float, Callable[[], None]]] = []
        self._taken: list[tuple[float, float, float]] = []
        self._place_cars()
        self._place_persons()
        self._place_trees()
        self._shade_one_side()

    def draw(self) -> None:
        """Paint everything, the farthest first."""
        for _, draw in sorted(self._things, key=lambda thing: -thing[0]):
            draw()

    def _claim(self, x: float, z: float, long: float) -> bool:
        # Whether a place is within the picture and free; then it is taken.
        view = self._view
        column = view.camera.project(np.array([x, 0.0, z]))[0] / view.canvas.shape[1]
        free = bool(0.02 < column < 0.98) and all(abs(x - a) > 1.5 or abs(z - b) > long + c for a, b, c in self._taken)
        if free:
            self._taken.append((x, z, long))
        return free

    def _place_cars(self) -> None:
        rng, street = self._view.rng, self._view.street
        for _ in range(weighted(rng, (0.04, 0.26, 0.36, 0.24, 0.1))):
            for _attempt in range(6):
                z, lane, yaw = float(rng.uniform(*CAR_DISTANCE)), 1.0 if rng.random() < 0.5 else -1.0, float(rng.normal(0, 0.05))
                parked = rng.random() < 0.5
                x = street.middle + lane * (street.road - 1.05 if parked else street.road * float(rng.uniform(0.25, 0.6)))
                if rng.random() < (0.5 if parked else float(lane < 0)):
                    yaw += np.pi
                if rng.random() < 0.16:  # across the street
                    x, yaw = street.middle + float(rng.uniform(-3, 3)), lane * np.pi / 2 + float(rng.normal(0, 0.15))
                    z = max(z, 7.0)
                if self._claim(x, z, 2.4):
                    self._things.append((z, partial(draw_car, self._view, x, z, yaw)))
                    below = turned(strip(-1.0, 1.0, -2.3, 2.3), x, z, yaw)
                    self.shadows += [below, below - [0.9 * self._view.weather.sun, 0, 0]]
                    break

    def _place_persons(self) -> None:
        rng, street, camera = self._view.rng, self._view.street, self._view.camera
        height, width = self._view.canvas.shape
        for _ in range(weighted(rng, (0.08, 0.32, 0.32, 0.18, 0.1))):
            for _attempt in range(8):
                tall = float(rng.uniform(1.5, 1.9))
                z = tall * camera.focal / (height * float(rng.uniform(*PERSON_HEIGHT)))
                x = (float(rng.uniform(0.04, 0.96)) * width - camera.vanishing) * z / camera.focal
                if abs(x - street.middle) < street.side - 0.4 and self._claim(x, z, 0.5):
                    self._things.append((z, partial(draw_person, self._view, x, z, tall)))
                    self.shadows.append(_streak(x, z, 0.28, -1.6 * self._view.weather.sun, 0.9))
                    break

    def _place_trees(self) -> None:
        rng, street, sun = self._view.rng, self._view.street, self._view.weather.sun
        avenue = rng.random() < 0.35
        for side in (-1, 1):
            x = street.middle + side * (street.side - 0.7)
            row = np.arange(rng.uniform(6, 12), 34, rng.uniform(6, 10))
            for z in row if avenue else rng.uniform(6.5, 24, int(rng.integers(0, 3))):
                self._things.append((float(z), partial(draw_tree, self._view, x, float(z))))
                self.shadows += [disc(x - 3 * sun, float(z) + 0.5, 2.0), _streak(x, float(z), 0.2, -3 * sun, 0.5)]

    def _shade_one_side(self) -> None:
        # By the houses, where the sun is low on their side.
        rng, street, sun = self._view.rng, self._view.street, self._view.weather.sun
        if abs(sun) > 0.3:
            edge = street.middle + np.sign(sun) * street.side
            self.shadows.append(strip(edge, edge - 6 * sun, float(rng.uniform(2, 20)), 60.0))


def _streak(x: float, z: float, half: float, aside: float, back: float) -> Float[np.ndarray, "4 3"]:
    # The shadow of something thin that stands at x, z.
    return np.array([(x - half, 0, z), (x + half, 0, z), (x + half + aside, 0, z + back), (x - half + aside, 0, z + back)])


def draw_surroundings(view: View) -> None:
    """Paint what stands beside and beyond the street, far to near: a skyline, then houses, or a park instead of one side."""
    rng, street = view.rng, view.street
    if rng.random() < 0.8:
        for _ in range(int(rng.integers(2, 6))):
            x, z = float(rng.uniform(-70, 70)), float(rng.uniform(75, 110))
            draw_house(view, x, z, z + 12.0)
    for _ in range(int(rng.integers(0, 5))):
        draw_tree(view, float(rng.uniform(-60, 60)), float(rng.uniform(55, 80)))
    park = weighted(rng, (0.17, 0.66, 0.17)) - 1
    for side in (-1, 1):
        x = street.middle + side * street.side
        lots, z, free = [], float(rng.uniform(1.6, 7)), True
        while z < 45:
            length = float(rng.uniform(6, 14))
            if park != side or z > 30:
                lots.append((z, z + length, free))
            free = park == side or rng.random() < 0.35
            z += length + (float(rng.uniform(2, 7)) if free else 0.0)
        for lot in reversed(lots):
            draw_house(view, x, *lot)
        if park == side:
            for z in -np.sort(-rng.uniform(7, 36, int(rng.integers(5, 9)))):
                draw_tree(view, x + side * float(rng.uniform(0, 7)), float(z))
