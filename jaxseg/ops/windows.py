"""Windows of a map for attention: cut, put together, shifted with a mask of what may see what, and relative positions.

Liu et al., "Swin Transformer", ICCV 2021, https://arxiv.org/abs/2103.14030, section 3.2. All tables are built while tracing, from
sizes alone; nothing here gathers or scatters.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from jaxseg.errors import InputError
from jaxseg.ops.geometry import Pair, pair


def partition(x: Float[Array, "b h w c"], window: Pair) -> Float[Array, "b n m c"]:
    """Cut a map into ``n`` windows of ``m`` tokens, both row by row; the inverse of :func:`merge`.

    Raises:
        InputError: If a side is no multiple of the window's.
    """
    rows, columns = pair(window, "window")
    b, h, w, c = x.shape
    if h % rows or w % columns:
        raise InputError(f"A map of {h} x {w} is no whole number of {rows} x {columns} windows: pad it first.")
    x = x.reshape(b, h // rows, rows, w // columns, columns, c)
    return jnp.swapaxes(x, 2, 3).reshape(b, (h // rows) * (w // columns), rows * columns, c)


def merge(windows: Float[Array, "b n m c"], window: Pair, size: tuple[int, int]) -> Float[Array, "b h w c"]:
    """Put the windows of a map of ``size`` together again."""
    rows, columns = pair(window, "window")
    b, c = windows.shape[0], windows.shape[3]
    x = windows.reshape(b, size[0] // rows, size[1] // columns, rows, columns, c)
    return jnp.swapaxes(x, 2, 3).reshape(b, *size, c)


def cyclic_shift(x: Float[Array, "b h w c"], shift: Pair) -> Float[Array, "b h w c"]:
    """Move a map up and left by ``shift``; what leaves comes in at the other side. ``unshift`` moves it back."""
    rows, columns = pair(shift, "shift", minimum=0)
    return x if (rows, columns) == (0, 0) else jnp.roll(x, (-rows, -columns), axis=(1, 2))


def unshift(x: Float[Array, "b h w c"], shift: Pair) -> Float[Array, "b h w c"]:
    """Undo :func:`cyclic_shift`."""
    rows, columns = pair(shift, "shift", minimum=0)
    return x if (rows, columns) == (0, 0) else jnp.roll(x, (rows, columns), axis=(1, 2))


def shift_mask(size: tuple[int, int], window: Pair, shift: Pair) -> Bool[np.ndarray, "n m m"]:
    """Say which tokens of a window of the shifted map were neighbours before: they alone may see each other.

    A shifted map holds up to four regions in its last windows: with and without what came in from above, and from the left.

    Args:
        size: Of the map, a multiple of the window.
        window: Its sides.
        shift: From 0 to less than the window.

    Returns:
        True where a token may see another, in windows and tokens as :func:`partition` orders them.
    """
    regions = []
    for side, width, by in zip(size, pair(window, "window"), pair(shift, "shift", minimum=0), strict=True):
        place = np.arange(side)
        # The last window's own tokens, and those that came round: a window further in has one region.
        regions.append((place >= side - width).astype(int) + (place >= side - by) if by else np.zeros(side, int))
    region = 3 * regions[0][:, None] + regions[1][None, :]
    tokens = _cut(region, pair(window, "window"))
    return tokens[:, :, None] == tokens[:, None, :]


def places(size: tuple[int, int], window: Pair, shift: Pair, own: tuple[int, int]) -> Integer[np.ndarray, "n m"]:
    """Return which token of a map each window of the shifted map holds, counted row by row; -1 for one beyond the map.

    Args:
        size: Of the padded map, a multiple of the window.
        window: Its sides.
        shift: Of the padded map.
        own: Of the map before it was padded at the bottom and the right.
    """
    numbers = np.full(size, -1)
    numbers[: own[0], : own[1]] = np.arange(own[0] * own[1]).reshape(own)
    rows, columns = pair(shift, "shift", minimum=0)
    return _cut(np.roll(numbers, (-rows, -columns), axis=(0, 1)), pair(window, "window"))


def _cut(values: Integer[np.ndarray, "h w"], window: tuple[int, int]) -> Integer[np.ndarray, "n m"]:
    """Do what :func:`partition` does, to a table."""
    (h, w), (rows, columns) = values.shape, window
    return values.reshape(h // rows, rows, w // columns, columns).swapaxes(1, 2).reshape(-1, rows * columns)


def relative_bias(table: Float[Array, "t h"], largest: int, window: Pair) -> Float[Array, "h m m"]:
    """Return for each query and key of a window the table's entry of their distance.

    Row ``(dh + M - 1) (2 M - 1) + dw + M - 1`` of the table is for a query ``dh`` rows below and ``dw`` columns right of the key,
    where ``M`` is the largest window, the one that the table was made for.

    Args:
        table: ``(2 M - 1)^2`` rows, a column per head.
        largest: ``M``.
        window: Sides of this window, up to ``M``.

    Raises:
        InputError: If the window is larger than ``M``.
    """
    sides = pair(window, "window")
    if max(sides) > largest:
        raise InputError(f"A window of {sides[0]} x {sides[1]} is larger than the {largest} that its table was made for.")
    span = 2 * largest - 1
    rows, columns = sides
    near = [slice(largest - side, largest + side - 1) for side in sides]
    square = table.reshape(span, span, -1)[near[0], near[1]]
    by_row = _toeplitz(square, rows)  # query row, key row, column distance, head
    by_column = _toeplitz(jnp.moveaxis(by_row, 2, 0), columns)  # query column, key column, query row, key row, head
    return by_column.transpose(4, 2, 0, 3, 1).reshape(-1, rows * columns, rows * columns)


def _toeplitz(entries: Float[Array, "s *rest"], side: int) -> Float[Array, "n m *rest"]:
    """Return ``out[q, k] = entries[q - k + side - 1]``, by repeating the entries and cutting them into rows one shorter."""
    # entries[side - 1 - d] of the distance d = k - q, in the order d = 0, 1, ..., -2, -1 with one unused between.
    backwards = entries[::-1]
    unused = jnp.zeros_like(entries[:1])
    ring = jnp.concatenate([backwards[side - 1 :], unused, backwards[: side - 1]])
    rest = ring.shape[1:]
    repeated = jnp.broadcast_to(ring[None], (side, *ring.shape)).reshape(2 * side * side, *rest)
    return repeated[: side * (2 * side - 1)].reshape(side, 2 * side - 1, *rest)[:, :side]
