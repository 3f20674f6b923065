"""Geometry that stays on the pixel grid: sizes, windows, mirrors and quarter turns of image and label together."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from jaxseg.data.augment.channels import Fill, by_channels, check_probability, fill_values, move
from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID

_CROP_TRIES = 10


def _check_size(size: tuple[int, int]) -> None:
    if not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise InputError(f"size={size!r} must be a tuple (height, width) of two whole numbers above 0, for example (512, 512).")


def resize_image(image: Shaped[np.ndarray, "h w c"], size: tuple[int, int]) -> Shaped[np.ndarray, "h2 w2 c"]:
    """Resize an image as :class:`Resize` does.

    Args:
        image: uint8, uint16 or float32.
        size: ``(height, width)`` of the result.
    """
    height, width = size

    def resized(part: np.ndarray, _: slice) -> np.ndarray:
        smaller = (min(width, part.shape[1]), min(height, part.shape[0]))
        if smaller != (part.shape[1], part.shape[0]):
            part = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
        return part if smaller == (width, height) else cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)

    return image if image.shape[:2] == size else by_channels(image, resized)


def _resize(example: Example, size: tuple[int, int]) -> Example:
    if example["label"].shape == size:
        return example

    def resized(plane: np.ndarray, _: int) -> np.ndarray:
        # INTER_NEAREST takes the corner of each pixel instead of its centre: half a pixel off the image.
        return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

    return move(example, lambda part, _: resize_image(part, size), resized)


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resize to a fixed size, whatever the aspect ratio; draws nothing from the generator.

    Pixel centres are aligned (half-pixel convention) in image and label alike. An axis that shrinks is averaged over the area of
    each new pixel, hence without aliasing; one that grows is interpolated linearly.

    Attributes:
        size: ``(height, width)`` of the result.
    """

    size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_size(self.size)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the resized example."""
        return _resize(example, self.size)


@dataclasses.dataclass(frozen=True)
class RandomScale:
    """Resize by a random factor, the aspect ratio kept (up to rounding to whole pixels); interpolation as in :class:`Resize`.

    The factor is uniform in ``[minimum, maximum]``, or with ``step`` one of ``minimum, minimum + step, ..., maximum`` with equal
    probability, as in the code of DeepLab v3+ (0.5 to 2 by 0.25). Half of the uniform draws from 0.5 to 2 are above 1.25.

    Attributes:
        minimum: smallest factor, above 0.
        maximum: largest factor.
        step: distance between factors; None for any factor.
    """

    minimum: float = 0.5
    maximum: float = 2.0
    step: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minimum <= self.maximum < np.inf:
            raise InputError(f"minimum={self.minimum}, maximum={self.maximum}: factors must hold 0 < minimum <= maximum.")
        if self.step is not None and not (self.step > 0 and _is_whole((self.maximum - self.minimum) / self.step)):
            raise InputError(
                f"step={self.step} does not lead from minimum={self.minimum} to maximum={self.maximum} in whole steps: give a "
                "divisor of their difference, or None for any factor."
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the scaled example, at least one pixel high and wide."""
        if self.step is None:
            factor = rng.uniform(self.minimum, self.maximum)
        else:
            factor = self.minimum + self.step * int(rng.integers(round((self.maximum - self.minimum) / self.step) + 1))
        height, width = example["label"].shape
        return _resize(example, (max(1, round(height * factor)), max(1, round(width * factor))))


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cut a window of a fixed size at a random place; an image that is smaller is placed at random in a larger, filled one.

    Windows that one class dominates teach little. With ``max_class_share`` below 1, up to ten windows are drawn until no class
    has more than that share of the labelled (not ``VOID``) pixels, and the tenth is taken as it is. 0.75 is the usual value for
    ADE20K and Cityscapes (``cat_max_ratio`` of mmsegmentation).

    Attributes:
        size: ``(height, width)`` of the result.
        max_class_share: in ``(0, 1]``; 1 takes the first window.
        fill: image value of the padding, see :data:`Fill`; its labels are ``VOID``.
    """

    size: tuple[int, int]
    max_class_share: float = 1.0
    fill: Fill = None

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.max_class_share <= 1:
            raise InputError(
                f"max_class_share={self.max_class_share} must be above 0 and at most 1: it is the largest share of the labelled "
                "pixels that one class may have; 1 takes any window."
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the window, of exactly ``size``; pixels of the image are kept bit by bit."""
        for _ in range(_CROP_TRIES):
            rows, top, bottom = _place(example["label"].shape[0], self.size[0], rng)
            columns, left, right = _place(example["label"].shape[1], self.size[1], rng)
            if self.max_class_share == 1 or _largest_share(example["label"][rows, columns]) <= self.max_class_share:
                break
        smaller = top + bottom + left + right > 0
        fill = fill_values(example, self.fill) if smaller else np.zeros(example["image"].shape[2])

        def crop(array: np.ndarray, value: list[float]) -> np.ndarray:
            return cv2.copyMakeBorder(array[rows, columns], top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)

        return move(
            example, lambda part, channels: crop(part, fill[channels].tolist()), lambda plane, value: crop(plane, [value])
        )


def _place(length: int, size: int, rng: np.random.Generator) -> tuple[slice, int, int]:
    """What to read on an axis of ``length`` to fill one of ``size``, and how much to pad before and after it."""
    offset = int(rng.integers(abs(length - size) + 1))
    if length >= size:
        return slice(offset, offset + size), 0, 0
    return slice(0, length), offset, size - length - offset


def _largest_share(label: UInt8[np.ndarray, "h w"]) -> float:
    """Share of the commonest class among the labelled pixels; 1 where there is none, so that such windows are drawn again."""
    counts = np.bincount(label.ravel(), minlength=VOID + 1)[:VOID]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirror left to right, and upside down, each with its own probability.

    Attributes:
        horizontal: probability of swapping left and right.
        vertical: probability of swapping top and bottom; for images without an up, such as microscopy and aerial ones.
    """

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        check_probability("horizontal", self.horizontal)
        check_probability("vertical", self.vertical)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the flipped example."""
        horizontal, vertical = rng.random() < self.horizontal, rng.random() < self.vertical
        if not (horizontal or vertical):
            return example
        axis = -1 if horizontal and vertical else int(horizontal)
        return move(example, lambda part, _: cv2.flip(part, axis), lambda plane, _: cv2.flip(plane, axis))


@dataclasses.dataclass(frozen=True)
class RandomRotate90:
    """Turn by 0, 90, 180 or 270 degrees with equal probability, for images without an up; bit by bit, nothing is interpolated.

    Height and width of an image that is not square swap at every other turn: crop to a square before or after.
    """

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the turned example."""
        turn = (None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)[int(rng.integers(4))]
        if turn is None:
            return example
        return move(example, lambda part, _: cv2.rotate(part, turn), lambda plane, _: cv2.rotate(plane, turn))
