"""Logits as blocks of rows, from top to bottom, so that no image is too high: cut to one height, resized, averaged, gathered.

Blocks may go beyond the image at its bottom and its right, where they hold anything: programs are compiled for few shapes, and
what lies beyond the image is cut off last, by :func:`gather`. An image that is very wide comes in several stripes of such blocks.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped

from jaxseg.ops import source_pixels
from jaxseg.types import Logits

Blocks = Iterator[Float[Array | np.ndarray, "b n w k"]]


class Taps(NamedTuple):
    """Between which two source pixels each pixel of a side lies, and how far it is from the first of them, in [0, 1)."""

    low: Integer[np.ndarray, " m"]
    high: Integer[np.ndarray, " m"]
    part: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, length: int, target: int, *, size: int, mirrored: bool = False) -> "Taps":
        """Return those by which :func:`jaxseg.ops.resize` interpolates bilinearly.

        Args:
            length: of the source.
            target: of the result.
            size: number of pixels returned, at least ``target``; those beyond it repeat the last.
            mirrored: read the source backwards.
        """
        low, high, part = source_pixels(length, target)
        if mirrored:
            low, high = length - 1 - low, length - 1 - high
        return cls(*(np.pad(x, (0, size - target), mode="edge") for x in (low, high, part)))

    def within(self, columns: range) -> tuple["Taps", range]:
        """Return those of some of the pixels, counted from the first source pixel that they read, and which those are."""
        low, high, part = (x[columns.start : columns.stop] for x in self)
        first, last = min(low.min(), high.min()), max(low.max(), high.max())
        return Taps(low - first, high - first, part), range(int(first), int(last) + 1)


@jax.jit
def resample(x: Float[Array, "b h w k"], rows: Taps, columns: Taps) -> Float[Array, "b h2 w2 k"]:
    """Interpolate rows and columns. The taps are arguments, so that images of different sizes share one program."""
    for axis, taps in ((2, columns), (1, rows)):
        part = taps.part.reshape(1, -1, 1, 1) if axis == 1 else taps.part.reshape(1, 1, -1, 1)
        below = jnp.take(x, taps.low, axis, mode="clip")
        x = below + part * (jnp.take(x, taps.high, axis, mode="clip") - below)
    return x


def of_height(bands: Iterator[Float[np.ndarray, "b _ w k"]], height: int) -> Iterator[Float[np.ndarray, "b {height} w k"]]:
    """Cut bands of rows anew, into blocks of one height; the last is filled up by its last row."""
    waiting: list[np.ndarray] = []
    for band in bands:
        waiting.append(band)
        while sum(rows.shape[1] for rows in waiting) >= height:
            rows = np.concatenate(waiting, axis=1)
            waiting = [rows[:, height:]] if rows.shape[1] > height else []
            yield rows[:, :height]
    if waiting:
        rows = np.concatenate(waiting, axis=1)
        yield np.pad(rows, ((0, 0), (0, height - rows.shape[1]), (0, 0), (0, 0)), mode="edge")


def resized(
    bands: Iterator[Float[np.ndarray, "b _ w k"]],
    source: int,
    target: int,
    *,
    height: int,
    columns: Taps,
) -> Blocks:
    """Resize bilinearly, as :func:`jaxseg.ops.resize` does, while rows arrive.

    Args:
        bands: of an image of the height ``source``.
        source: its height.
        target: height of the result.
        height: of the blocks.
        columns: between which columns of the bands each column of the blocks lies.
    """
    rows = Taps.of(source, target, size=-(-target // height) * height)
    as_they_are = Taps(np.arange(height), np.arange(height), np.zeros(height, np.float32))
    held, top = next(bands), 0
    for first in range(0, target, height):
        low, high, part = (x[first : first + height] for x in rows)
        passed = min(int(low[0]) - top, held.shape[1])
        held, top = held[:, passed:], top + passed
        while top + held.shape[1] <= high[-1]:
            held = np.concatenate([held, next(bands)], axis=1)
        above, below = held[:, low - top], held[:, high - top]
        yield resample(above + part[:, None, None] * (below - above), as_they_are, columns)


def average(several: Sequence[Blocks]) -> Blocks:
    """Average the probabilities of several predictions of one image, block by block, and return their logarithms.

    Of one logit, which stands for two classes, the log odds of the mean.

    Args:
        several: of the same blocks each.
    """
    while True:
        total: Any = None
        classes = 0
        for blocks in several:  # one after the other, so that of whole images no two are held
            block = next(blocks, None)
            if block is None:
                return
            total, classes = _added(total, block), block.shape[-1]
            del block
        logarithms = jnp.log(jnp.maximum(total / len(several), jnp.finfo(jnp.float32).tiny))
        del total
        yield logarithms if classes > 1 else logarithms[..., 1:] - logarithms[..., :1]


@jax.jit
def _added(total: Any, logits: Logits) -> Float[Array, "b n w k2"]:
    if logits.shape[-1] == 1:  # each with its own logarithm: 1 - p would lose what is small
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    probabilities = jax.nn.softmax(logits, axis=-1)
    return probabilities if total is None else total + probabilities


def gather(stripes: Iterable[tuple[range, Blocks]], size: tuple[int, int, int]) -> Shaped[np.ndarray, "b h w *rest"]:
    """Put blocks below each other, and stripes of them beside each other; cut off what lies beyond the images.

    Args:
        stripes: which columns, and blocks of anything with rows and columns, at least one.
        size: how many images, and their height and width.
    """
    whole: Any = None
    for columns, blocks in stripes:
        top = 0
        for block in blocks:
            if whole is None:
                whole = np.empty((*size, *block.shape[3:]), block.dtype)
            rows = np.asarray(block)[: size[0], : size[1] - top, : len(columns)]
            whole[:, top : top + rows.shape[1], columns.start : columns.stop] = rows
            top += rows.shape[1]
    return whole
