"""Geometry that leaves the pixel grid: rotation and elastic deformation, on one engine that samples image and label alike."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float

from jaxseg.data.augment.channels import Fill, check_probability, fill_values, move
from jaxseg.data.source import Example
from jaxseg.errors import InputError

#: Beyond the image: ``"void"`` is the fill value with ``VOID`` labels, ``"mirror"`` mirrors image and labels alike.
Border = Literal["void", "mirror"]


def _check_border(border: str) -> None:
    if border not in ("void", "mirror"):
        raise InputError(
            f"border={border!r} is unknown: give 'void' (fill and VOID labels) or 'mirror' (image and labels mirrored)."
        )


def _warp(example: Example, warp: Callable[..., np.ndarray], border: Border, fill: Fill) -> Example:
    """Sample image and label at the same places; ``warp`` is one of OpenCV's with the places bound to it."""
    mode = cv2.BORDER_CONSTANT if border == "void" else cv2.BORDER_REFLECT_101
    values = fill_values(example, fill) if border == "void" else np.zeros(example["image"].shape[2])

    def warped(part: np.ndarray, channels: slice) -> np.ndarray:
        return warp(part, interpolation=cv2.INTER_LINEAR, borderMode=mode, borderValue=values[channels].tolist())

    def warped_plane(plane: np.ndarray, outside: int) -> np.ndarray:
        return warp(plane, interpolation=cv2.INTER_NEAREST, borderMode=mode, borderValue=outside)

    return move(example, warped, warped_plane)


@dataclasses.dataclass(frozen=True)
class RandomRotation:
    """Rotate about the centre by an angle uniform in ``[-degrees, degrees]``; the size is kept, the corners are cut.

    Attributes:
        degrees: largest angle, 0 to 180. PSPNet rotates by up to 10 (Zhao et al. 2017, section 5.1).
        probability: of rotating at all.
        border: what lies beyond the image, see :data:`Border`.
        fill: image value there if ``border`` is ``"void"``, see :data:`Fill`.
    """

    degrees: float = 10.0
    probability: float = 0.5
    border: Border = "void"
    fill: Fill = None

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise InputError(f"degrees={self.degrees} must be from 0 to 180: it is the largest angle to either side.")
        check_probability("probability", self.probability)
        _check_border(self.border)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the rotated example, of the same size."""
        angle = rng.uniform(-self.degrees, self.degrees)
        if rng.random() >= self.probability or angle == 0:
            return example
        height, width = example["label"].shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)

        def rotate(array: np.ndarray, interpolation: int, **border: Any) -> np.ndarray:
            return cv2.warpAffine(array, matrix, (width, height), flags=interpolation, **border)

        return _warp(example, rotate, self.border, self.fill)


@dataclasses.dataclass(frozen=True)
class ElasticDeformation:
    """Deform smoothly, as U-Net does: random displacements on a coarse grid, interpolated bicubically to every pixel.

    Ronneberger, Fischer, Brox, "U-Net", 2015, section 3.1 (https://arxiv.org/abs/1505.04597): displacement vectors on a 3x3
    grid, drawn from a Gaussian with a standard deviation of 10 pixels, for images of 512x512. The paper does not place the grid:
    here its outer points lie on the border of the image. Nor does it say what lies beyond the border: by default image and labels
    are mirrored alike, as the image is where the paper's tiles reach beyond it.

    The deformation folds the image over itself where neighbouring grid points move past each other: keep ``sigma`` below about a
    tenth of the distance between grid points.

    Attributes:
        grid: points per side, at least 2.
        sigma: standard deviation of the displacement along each axis, in pixels of the image as it arrives.
        probability: of deforming at all.
        border: what lies beyond the image, see :data:`Border`.
        fill: image value there if ``border`` is ``"void"``, see :data:`Fill`.
    """

    grid: int = 3
    sigma: float = 10.0
    probability: float = 1.0
    border: Border = "mirror"
    fill: Fill = None

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise InputError(f"grid={self.grid} must be at least 2: it counts the points per side, corners included (U-Net: 3).")
        if not 0 <= self.sigma < np.inf:
            raise InputError(f"sigma={self.sigma} must be 0 or more: it is a standard deviation in pixels (U-Net: 10).")
        check_probability("probability", self.probability)
        _check_border(self.border)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the deformed example, of the same size."""
        coarse = rng.normal(0.0, self.sigma, (2, self.grid, self.grid)).astype(np.float32)
        if rng.random() >= self.probability or self.sigma == 0:
            return example
        height, width = example["label"].shape
        down, across = _bicubic_weights(height, self.grid), _bicubic_weights(width, self.grid)
        # Not `@`: the threads of BLAS wait for one another on a busy host, which costs ten times the whole deformation.
        rows, columns = (np.einsum("yi,ix->yx", down, vectors @ across.T) for vectors in coarse)
        rows += np.arange(height, dtype=np.float32)[:, None]
        columns += np.arange(width, dtype=np.float32)

        def deform(array: np.ndarray, interpolation: int, **border: Any) -> np.ndarray:
            return cv2.remap(array, columns, rows, interpolation, **border)

        return _warp(example, deform, self.border, self.fill)


def _bicubic_weights(length: int, points: int) -> Float[np.ndarray, "length points"]:
    """Weights of Keys' cubic convolution (1981, a = -1/2) from ``points`` values, evenly from end to end, to ``length`` pixels.

    Beyond each end the values go on linearly, so that linear functions are reproduced exactly.
    """
    places = np.linspace(0, points - 1, length)
    left = np.minimum(places.astype(int), points - 2)
    t = places - left
    cubic = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1) / 2
    extended = np.zeros((length, points + 2))
    np.put_along_axis(extended, left[:, None] + np.arange(4), cubic, axis=1)
    weights = extended[:, 1:-1].copy()
    weights[:, 0] += 2 * extended[:, 0]
    weights[:, 1] -= extended[:, 0]
    weights[:, -1] += 2 * extended[:, -1]
    weights[:, -2] -= extended[:, -1]
    return weights.astype(np.float32)
