"""An image seen in pieces: windows that overlap and are blended, and U-Net's tiles with mirrored borders.

Logits come in bands of rows, from top to bottom, as soon as no further piece has a say in them: however high an image is, only as
many rows of logits are held as a piece has; and, for a very wide one, only some of the columns at a time.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer, Shaped

from jaxseg.errors import InputError

#: Tiled windows of networks with poolings begin at multiples of this, the largest output stride, and whole images end at one.
SIZE_MULTIPLE = 32

#: Maps ``(b, h, w, c)`` pieces, always as many, to their logits, and is told which of the calls it is, from 0.
Network = Callable[[Shaped[np.ndarray, "b h w c"], int], Any]

Blending = Literal["gaussian", "mean", "tile"]
Size = tuple[int, int]


def slide(
    images: Shaped[np.ndarray, "b h w c"],
    network: Network,
    *,
    window: Size,
    at_once: int,
    overlap: float = 1 / 3,
    blending: Blending = "gaussian",
    columns: range | None = None,
) -> Iterator[Float[np.ndarray, "b n w k"]]:
    """Blend the logits of overlapping windows; images that are smaller than one are extended by their edge.

    ``mean`` is the protocol of SETR's and PSPNet's evaluations. With ``gaussian`` a window has most to say in its centre, where
    it sees around a pixel on all sides (standard deviation: an eighth of the side; Isensee et al., "nnU-Net", 2021,
    https://doi.org/10.1038/s41592-020-01008-z). With ``tile`` each window gives its inner part alone, without half of
    the overlap on every side where there is a neighbour: what a network whose field of view reaches no further says of the
    whole image.

    Args:
        images: of any size.
        network: gives logits of its input's size.
        window: height and width of what it sees.
        at_once: windows at a time.
        overlap: share of a window's side that the next one sees too, at least, in [0, 1).
        blending: how logits of several windows become one.
        columns: of the image, whose logits are wanted; default: all.

    Yields:
        bands of rows of the logits, from top to bottom.

    Raises:
        InputError: for windows that ``tile`` cannot begin at multiples of the largest stride.
    """
    height, width = images.shape[1:3]
    rows, across = (_Side.of_windows(length, side, overlap, blending) for length, side in zip((height, width), window))
    return _assembled(images, network, rows, across.within(columns), "edge", at_once)


def tile(
    images: Shaped[np.ndarray, "b h w c"],
    network: Network,
    *,
    window: Size,
    inner: Size,
    stride: int,
    at_once: int,
    columns: range | None = None,
) -> Iterator[Float[np.ndarray, "b n w k"]]:
    """Cover an image by the logits of tiles that see a margin around them: the overlap-tile strategy of U-Net.

    Ronneberger et al., 2015 (https://arxiv.org/abs/1505.04597), Figure 2: valid convolutions give logits where the whole
    input is known, and what lies beyond the image is extrapolated by mirroring, repeatedly where the margin is wider than the
    image. A network with poolings follows shifts by whole strides alone. So tiles begin at multiples of the stride, overlap by
    what is left over, and give what the network would say of the whole image with the same margin.

    Args:
        images: of any size.
        network: gives the logits of the central ``inner`` of its input.
        window: height and width of what it sees.
        inner: height and width of its logits.
        stride: product of the strides of its poolings.
        at_once: tiles at a time.
        columns: of the image, whose logits are wanted; default: all.

    Yields:
        bands of rows of the logits, from top to bottom.
    """
    height, width = images.shape[1:3]
    rows, across = (_Side.of_tiles(*sizes, stride) for sizes in zip((height, width), window, inner))
    return _assembled(images, network, rows, across.within(columns), "reflect", at_once)


def starts(length: int, window: int, overlap: float = 1 / 3, multiple: int = 1) -> list[int]:
    """Return where windows begin so that they cover a side, the last flush with its end.

    Args:
        length: of the side.
        window: side of a window.
        overlap: share of the window that neighbours have in common, at least.
        multiple: all windows begin at multiples of it; so must ``length - window``.
    """
    step = int(window * (1 - overlap) + 1e-6)  # 2/3 of 480 is 320, whatever the rounding
    step = max(step // multiple * multiple, multiple)
    return [*range(0, length - window, step), length - window] if length > window else [0]


def padded_side(side: int) -> int:
    """Return to how many rows (or columns) whole images are extended, by their edge, so that few sizes are compiled.

    Multiples of 32 up to 512, of 64 up to 1024 and so on: at most 8 sizes from one power of two to the next.
    """
    multiple = max(SIZE_MULTIPLE, (1 << (side - 1).bit_length()) // 16)
    return side + -side % multiple


@dataclasses.dataclass(frozen=True)
class _Side:
    """One side of an image, and how pieces lie along it.

    Attributes:
        length: of the image's side.
        window: what a piece sees.
        inner: what it gives logits of.
        margin: by which it sees further, at its beginning.
        starts: where pieces' logits begin, ascending.
        weights: of each piece's logits, the weights summing to 1 at every pixel.
        wanted: pixels whose logits are; ``None`` for all.
    """

    length: int
    window: int
    inner: int
    margin: int
    starts: Sequence[int]
    weights: Sequence[Float[np.ndarray, " inner"]]
    wanted: range | None = None

    @classmethod
    def of_windows(cls, length: int, window: int, overlap: float, blending: Blending) -> "_Side":
        multiple, covered = 1, max(length, window)
        if blending == "tile":
            if window % SIZE_MULTIPLE or window * (1 - overlap) < SIZE_MULTIPLE:
                raise InputError(
                    f"A window of {window} with overlap={overlap:.3g} and blending='tile': a network with poolings follows "
                    f"shifts by whole strides alone, so windows must be multiples of {SIZE_MULTIPLE}, and leave as much between "
                    "their beginnings. Change window or overlap, or take blending='gaussian'."
                )
            multiple, covered = SIZE_MULTIPLE, max(padded_side(length), window)  # what it would see of the whole image
        begin = starts(covered, window, overlap, multiple)
        weights: list[np.ndarray] = [np.ones(window)] * len(begin)
        if blending == "gaussian":
            weights = [np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / (window / 8)) ** 2)] * len(begin)
        elif blending == "tile":
            between = [first + window - second for first, second in itertools.pairwise(begin)]
            cuts = [(a // 2, b // 2) for a, b in zip([0, *between], [*between, 0])]
            weights = [((np.arange(window) >= a) & (np.arange(window) < window - b)) * 1.0 for a, b in cuts]
        return cls(length, window, window, 0, begin, _shares(begin, weights, covered))

    @classmethod
    def of_tiles(cls, length: int, window: int, inner: int, stride: int) -> "_Side":
        # Tiles that are smaller than a stride cannot keep to it: they lie side by side.
        step = inner // stride * stride or inner
        begin = range(0, max(length - inner, 0) + step, step) if length > inner else [0]
        weights = _shares(begin, [np.ones(inner)] * len(begin), begin[-1] + inner)
        return cls(length, window, inner, (window - inner) // 2, begin, weights)

    def within(self, wanted: range | None) -> "_Side":
        """Return the pieces that have a say in some of the pixels."""
        if wanted is None:
            return self
        some = [i for i, start in enumerate(self.starts) if start < wanted.stop and start + self.inner > wanted.start]
        return dataclasses.replace(
            self, starts=[self.starts[i] for i in some], weights=[self.weights[i] for i in some], wanted=wanted
        )

    def seen(self, start: int, beyond: str) -> Integer[np.ndarray, " window"]:
        """Return which of the image's pixels a piece sees; beyond the image its edge, or its mirror image."""
        pixels, last = np.arange(self.window) + start - self.margin, self.length - 1
        if beyond == "edge":
            return np.clip(pixels, 0, last)
        folded = np.abs(pixels) % max(2 * last, 1)
        return np.minimum(folded, 2 * last - folded)


def _shares(begin: Sequence[int], weights: Sequence[np.ndarray], covered: int) -> list[Float[np.ndarray, " inner"]]:
    """Divide weights by their sum at every pixel."""
    total = np.zeros(covered)
    for start, weight in zip(begin, weights):
        total[start : start + len(weight)] += weight
    return [(weight / total[start : start + len(weight)]).astype(np.float32) for start, weight in zip(begin, weights)]


def _assembled(
    images: Shaped[np.ndarray, "b h w c"], network: Network, rows: _Side, columns: _Side, beyond: str, at_once: int
) -> Iterator[Float[np.ndarray, "b n w k"]]:
    """Show the network the pieces of images row by row, add up their weighted logits, and yield rows that are complete."""
    left, right = columns.starts[0], columns.starts[-1] + columns.inner
    wanted = columns.wanted or range(columns.length)
    asked = slice(wanted.start - left, wanted.stop - left)
    band: Any = None
    top = 0
    for row, image, column, logits in _logits(images, network, rows, columns, beyond, at_once):
        if band is None:
            band = np.zeros((len(images), rows.inner, right - left, logits.shape[-1]), np.float32)
        if (done := rows.starts[row] - top) > 0:
            yield band[:, :done, asked].copy()
            band[:, : rows.inner - done] = band[:, done:].copy()
            band[:, rows.inner - done :] = 0
            top = rows.starts[row]
        across = slice(columns.starts[column] - left, columns.starts[column] - left + columns.inner)
        band[image, :, across] += logits * (rows.weights[row][:, None, None] * columns.weights[column][:, None])
    yield band[:, : rows.length - top, asked]


def _logits(
    images: Shaped[np.ndarray, "b h w c"], network: Network, rows: _Side, columns: _Side, beyond: str, at_once: int
) -> Iterator[tuple[int, int, int, Float[np.ndarray, "h w k"]]]:
    """Yield the logits of every piece with its row, image and column; the next pieces are under way meanwhile."""
    places = list(itertools.product(range(len(rows.starts)), range(len(images)), range(len(columns.starts))))
    waiting: tuple[Sequence[tuple[int, int, int]], Any] = ((), ())
    for call, first in enumerate(range(0, len(places), at_once)):
        some = places[first : first + at_once]
        pieces = np.stack(
            [
                images[image][rows.seen(rows.starts[row], beyond)[:, None], columns.seen(columns.starts[column], beyond)]
                for row, image, column in some
            ]
        )
        # Always the same number of pieces, for one compilation.
        under_way = network(np.pad(pieces, ((0, at_once - len(some)), (0, 0), (0, 0), (0, 0))), call)
        for place, logits in zip(waiting[0], np.asarray(waiting[1])):
            yield *place, logits
        waiting = some, under_way
    for place, logits in zip(waiting[0], np.asarray(waiting[1])):
        yield *place, logits
