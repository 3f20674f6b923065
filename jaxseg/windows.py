"""An image seen in pieces: windows that overlap and are averaged, and U-Net's tiles with mirrored borders."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

#: Neighbouring windows overlap by a third of their size, as in the protocol of SETR's reference code.
WINDOW_STRIDE = 2 / 3

#: Maps ``(b, h, w, c)`` pieces, always as many, to their logits, and is told which of the calls it is, from 0.
Network = Callable[[Shaped[np.ndarray, "b h w c"], int], Float[np.ndarray, "b h2 w2 k"]]

Size = tuple[int, int]
Corner = tuple[int, ...]


def slide(images: Shaped[np.ndarray, "b h w c"], network: Network, *, window: Size, at_once: int) -> Float[np.ndarray, "b h w k"]:
    """Average the logits of overlapping windows; images that are smaller than one are extended by their edge.

    Args:
        images: of any size.
        network: gives logits of its input's size.
        window: height and width of what it sees.
        at_once: windows at a time.
    """
    height, width = images.shape[1:3]
    missing = [max(side - length, 0) for side, length in zip(window, (height, width))]
    images = np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    padded = (images.shape[1], images.shape[2])
    corners = list(itertools.product(*(starts(length, side) for length, side in zip(padded, window))))
    return _assembled(images, network, corners, window, window, padded, at_once)[:, :height, :width]


def tile(
    images: Shaped[np.ndarray, "b h w c"], network: Network, *, window: Size, inner: Size, stride: int, at_once: int
) -> Float[np.ndarray, "b h w k"]:
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
    """
    height, width = images.shape[1:3]
    # Tiles that are smaller than a stride cannot keep to it: they lie side by side.
    steps = [side // stride * stride or side for side in inner]
    counts = [max(-(-(length - side) // step), 0) + 1 for length, side, step in zip((height, width), inner, steps)]
    covered = [(count - 1) * step + side for count, step, side in zip(counts, steps, inner)]
    margins = [(whole - side) // 2 for whole, side in zip(window, inner)]
    beyond = [length + whole - side - margin for length, whole, side, margin in zip(covered, window, inner, margins)]
    extended = np.pad(images, ((0, 0), (margins[0], beyond[0] - height), (margins[1], beyond[1] - width), (0, 0)), mode="reflect")
    corners = list(itertools.product(*(range(0, count * step, step) for count, step in zip(counts, steps))))
    logits = _assembled(extended, network, corners, window, inner, (covered[0], covered[1]), at_once)
    return logits[:, :height, :width]


def starts(length: int, window: int) -> list[int]:
    """Return where windows begin so that they cover a side, the last flush with its end."""
    step = max(int(window * WINDOW_STRIDE), 1)
    return [min(start, length - window) for start in range(0, max(length - window, 0) + step, step)] if length > window else [0]


def _assembled(
    images: Shaped[np.ndarray, "b h w c"],
    network: Network,
    corners: Sequence[Corner],
    window: Size,
    inner: Size,
    size: Size,
    at_once: int,
) -> Float[np.ndarray, "b h2 w2 k"]:
    """Cut windows out of images at corners, and average their logits, of size ``inner``, at the same corners of the result."""
    places = list(itertools.product(range(len(images)), corners))
    total: Any = 0
    counts = np.zeros((len(images), *size, 1), np.float32)
    for call, first in enumerate(range(0, len(places), at_once)):
        some = places[first : first + at_once]
        windows = np.stack([images[_cut(image, corner, window)] for image, corner in some])
        # Always the same number of windows, for one compilation.
        logits = network(np.pad(windows, ((0, at_once - len(some)), (0, 0), (0, 0), (0, 0))), call)
        if call == 0:
            total = np.zeros((len(images), *size, logits.shape[-1]), np.float32)
        for (image, corner), one in zip(some, logits):
            total[_cut(image, corner, inner)] += one
            counts[_cut(image, corner, inner)] += 1
    return total / counts


def _cut(image: int, corner: Corner, size: Size) -> tuple[int, slice, slice]:
    return image, slice(corner[0], corner[0] + size[0]), slice(corner[1], corner[1] + size[1])
