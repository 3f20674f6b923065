"""What the drawn street scenes are drawn on and with: a canvas that keeps labels, colours, and noise."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

#: Canvas pixels per image pixel and side. Odd, so that the centre of an image pixel is the centre of a canvas pixel.
SUPERSAMPLE = 3

#: An RGB colour, 0 to 255, possibly beyond while light is being applied.
Colour = Float[np.ndarray, "3"]

#: The four channels of a canvas: RGB and the class index.
Pixels = UInt8[np.ndarray, "r c 4"]

# Fractional bits of the coordinates that OpenCV draws with.
_SHIFT = 4


class Canvas:
    """Four channels, ``(h, w, 4)`` uint8: RGB and the class index, so that one stroke paints the pixel and its label.

    Coordinates are (column, row), continuous, with pixel centres at halves.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.zeros((height, width, 4), np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in canvas pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def polygons(self, corners: Float[np.ndarray, "n 2"], sizes: Sequence[int], colours: Sequence[Colour], label: int) -> None:
        """Fill convex polygons, one over the other: of the corners, the first ``sizes[0]`` belong to the first, and so on."""
        fixed = fixed_point(corners)
        start = 0
        for size, colour in zip(sizes, np.stack(colours).clip(0, 255).tolist()):
            cv2.fillConvexPoly(self.pixels, fixed[start : start + size], (*colour, label), shift=_SHIFT)
            start += size

    def warp(self, texture: Pixels, corners: Float[np.ndarray, "4 2"]) -> None:
        """Draw a texture in perspective; the corners are its top left, top right, bottom right and bottom left."""
        height, width = self.shape
        left, top = (int(low) for low in np.floor(corners.min(axis=0)).clip(0, [width, height]))
        right, bottom = (int(high) for high in np.ceil(corners.max(axis=0)).clip(0, [width, height]))
        if right <= left or bottom <= top:
            return
        rows, columns = texture.shape[:2]
        source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - np.float32(0.5)
        target = (corners - [left + 0.5, top + 0.5]).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        size = (right - left, bottom - top)
        warped = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros(size[::-1], np.uint8)
        fill_mask(mask, corners - [left, top], 255)
        self.paste(warped, mask, top, left)

    def paste(self, patch: Pixels, mask: UInt8[np.ndarray, "r c"], top: int, left: int) -> None:
        """Copy a patch to ``(top, left)`` where its mask is not zero; what lies outside of the canvas is cut off."""
        height, width = self.shape
        rows = slice(max(0, -top), min(patch.shape[0], height - top))
        columns = slice(max(0, -left), min(patch.shape[1], width - left))
        if rows.stop > rows.start and columns.stop > columns.start:
            region = self.pixels[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
            cv2.copyTo(patch[rows, columns], mask[rows, columns], region)


def fixed_point(points: Float[np.ndarray, "n 2"]) -> Shaped[np.ndarray, "n 2"]:
    """Return the fixed-point coordinates that OpenCV draws with; its pixel centres are at the integers."""
    return (points * 2**_SHIFT - 2 ** (_SHIFT - 1)).astype(np.int32)


def fill_mask(mask: UInt8[np.ndarray, "r c"], corners: Float[np.ndarray, "n 2"], value: int) -> None:
    """Fill a convex polygon of a single-channel mask in place."""
    cv2.fillConvexPoly(mask, fixed_point(corners), value, shift=_SHIFT)


def packed(colours: Float[np.ndarray, "*n 3"], label: int) -> Shaped[np.ndarray, "*n"]:
    """Return colours with a class index as one uint32 each: the four channels of a pixel, which NumPy copies fastest so."""
    pixels = np.full((*colours.shape[:-1], 4), label, np.uint8)
    pixels[..., :3] = colours.clip(0, 255)
    return pixels.view(np.uint32)[..., 0]


def shade(pixels: Pixels, light: UInt8[np.ndarray, "r c"]) -> Pixels:
    """Return pixels with their colours multiplied by ``light / 128`` and their class indices as they were."""
    return cv2.multiply(pixels, cv2.merge([light, light, light, np.full_like(light, 128)]), scale=1 / 128)


def rgb(red: float, green: float, blue: float) -> Colour:
    """Return a colour from its channels, 0 to 255."""
    return np.array([red, green, blue], np.float64)


def weighted(rng: np.random.Generator, shares: Sequence[float]) -> int:
    """Return a random index, each as often as its share; ``Generator.choice`` is ten times slower."""
    return min(bisect_right(list(accumulate(shares)), rng.random()), len(shares) - 1)


def cut(
    rng: np.random.Generator, tile: Shaped[np.ndarray, "_ _"], rows: int, columns: int
) -> Shaped[np.ndarray, "{rows} {columns}"]:
    """Return a random cut-out of a texture's tile, which is repeated where it is smaller."""
    top, left = rng.integers(tile.shape)
    return tile.take(range(top, top + rows), 0, mode="wrap").take(range(left, left + columns), 1, mode="wrap")


def jitter(rng: np.random.Generator, colour: Colour, tint: float = 10.0, light: float = 0.15) -> Colour:
    """Return the colour with another tint (standard deviation) and brightness (largest relative change)."""
    return colour * rng.uniform(1 - light, 1 + light) + rng.normal(0, tint, 3)


def pick(rng: np.random.Generator, colours: Sequence[Colour], tint: float = 10.0, light: float = 0.15) -> Colour:
    """Return one of the colours, varied as by :func:`jitter`."""
    return jitter(rng, colours[int(rng.integers(len(colours)))], tint, light)


def noise(
    rng: np.random.Generator, height: int, width: int, cells: tuple[float, float], octaves: int = 3
) -> Float[np.ndarray, "{height} {width}"]:
    """Return fractal value noise of about zero mean and unit deviation; ``cells`` are the coarsest cells down and across."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = min(height, max(2, round(cells[0] * 2**octave)))
        columns = min(width, max(2, round(cells[1] * 2**octave)))
        grid = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.6**octave)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total
