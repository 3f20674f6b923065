"""Posters above the drawn street scenes: cut-outs of the street with a car, whose class the scene around them tells."""

from dataclasses import replace

import numpy as np

from jaxseg.data.scene_canvas import Canvas, weighted
from jaxseg.data.scene_cars import CAR, draw_car
from jaxseg.data.scene_layout import CAR_DISTANCE
from jaxseg.data.scene_view import View

POSTER = 6


def draw_posters(view: View) -> None:
    """Paint up to three posters above the horizon, each a cut-out of this very street with one more car on it."""
    rng, street = view.rng, view.street
    height, width = view.canvas.shape
    for _ in range(weighted(rng, (0.04, 0.26, 0.4, 0.3))):
        aside = Canvas(height, width)
        aside.pixels[:] = view.canvas.pixels
        before = aside.pixels[..., 3].copy()
        aside.pixels[..., 3] = 0
        x, z = street.middle + float(rng.uniform(-1, 1)) * street.road, float(rng.uniform(*CAR_DISTANCE))
        yaw = float(rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.15))
        draw_car(replace(view, canvas=aside), x, z, yaw)
        rows, columns = np.nonzero(aside.pixels[..., 3] == CAR)
        if len(rows) == 0:
            continue
        margin = round(0.06 * height)
        top, bottom = max(int(rows.min()) - margin, 0), min(int(rows.max()) + 1 + margin, height)
        left, right = max(int(columns.min()) - margin, 0), min(int(columns.max()) + 1 + margin, width)
        if (before[top:bottom, left:right] == POSTER).any():
            continue
        picture = aside.pixels[top:bottom, left:right].copy()
        picture[..., 3] = POSTER
        lower_edge = round(float(rng.uniform(0.5, 1.0)) * view.camera.horizon)
        at = round(float(rng.uniform(-0.2, 0.8)) * width)
        view.canvas.paste(picture, np.ones(picture.shape[:2], np.uint8), lower_edge - (bottom - top), at)
