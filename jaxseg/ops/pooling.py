"""Max pooling that keeps where its maxima were, and unpooling that puts values back there.

Both are selections by position, window by window, without a scatter: XLA fuses them into one pass, forwards and backwards.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxseg.errors import InputError
from jaxseg.ops.geometry import Pair, pair


def max_pool_with_argmax(
    x: Float[Array, "b h w c"],
    *,
    window: Pair,
    strides: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
) -> tuple[Float[Array, "b h2 w2 c"], Int[Array, "b h2 w2 c"]]:
    """Return the maximum of every window and where it was.

    Args:
        x: Feature maps, any float dtype.
        window: Height and width of the window.
        strides: Step of the window; the window itself where ``None``.
        padding: Rows and columns of minus infinity on each side, at most half the window.
        ceil_mode: Whether the last window may hang over the edge, as in PyTorch; it must start inside.

    Returns:
        The maxima, and their int32 positions ``row * w + column`` in the unpadded plane of their own image and channel. Of equal
        values the first in row-major order counts, as in PyTorch; a NaN is the maximum. The gradient goes to that position.

    Raises:
        InputError: If the padding is more than half the window, or the plane smaller than the window.
    """
    size, step, pad = _window(window, strides, padding)
    plane = (x.shape[1], x.shape[2])
    rows, columns = (_pooled(*axis, ceil_mode) for axis in zip(plane, size, step, pad, strict=True))
    return _max_pool(x, _Windows(plane, (rows, columns), size, step, pad))


def max_pool(
    x: Float[Array, "b h w c"],
    *,
    window: Pair,
    strides: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """Return the maximum of every window: :func:`max_pool_with_argmax` without the positions."""
    return max_pool_with_argmax(x, window=window, strides=strides, padding=padding, ceil_mode=ceil_mode)[0]


def max_unpool(
    x: Float[Array, "b h w c"],
    indices: Int[Array, "b h w c"],
    *,
    output_size: tuple[int, int],
    window: Pair | None = None,
    strides: Pair | None = None,
    padding: Pair = 0,
) -> Float[Array, "b h2 w2 c"]:
    """Put every value where the maximum of its window was, and zero elsewhere.

    Args:
        x: Values, any float dtype.
        indices: Positions in the plane of ``output_size``, from :func:`max_pool_with_argmax`.
        output_size: Height and width of the plane that was pooled.
        window: Of the pooling that made the indices. With it, each pixel looks into the windows above it, on the CPU several
            times as fast as a scatter; an index outside its own window is then not seen. Without it, indices may be any.
        strides: Of the pooling.
        padding: Of the pooling.

    Returns:
        Sparse maps of ``x``'s dtype. Where overlapping windows share a maximum, the value of the last one counts, and the
        gradient goes there alone.

    Raises:
        InputError: If strides or padding come without a window, or the window does not make ``x``'s size from ``output_size``.
    """
    if window is None:
        if strides is not None or padding != 0:
            raise InputError(f"strides={strides}, padding={padding} but no window: give the pooling's window, or none of them.")
        return _scatter(x, indices, output_size)
    size, step, pad = _window(window, strides, padding)
    pooled = (x.shape[1], x.shape[2])
    for n, m, axis in zip(pooled, output_size, zip(size, step, pad, strict=True), strict=True):
        modes = (False, True) if m + 2 * axis[2] >= axis[0] else (True,)  # a plane below the window pools in ceil mode alone
        allowed = {_pooled(m, *axis, ceil_mode) for ceil_mode in modes}
        if n not in allowed:
            raise InputError(
                f"A plane of {output_size} pools to {sorted(allowed)} rows or columns with window={size}, strides={step}, "
                f"padding={pad}, but x has {n}: give the output_size and the window of the pooling that made the indices."
            )
    return _place(x, indices, _Windows((output_size[0], output_size[1]), pooled, size, step, pad), add=False)


@dataclass(frozen=True)
class _Windows:
    plane: tuple[int, int]
    pooled: tuple[int, int]
    size: tuple[int, int]
    step: tuple[int, int]
    pad: tuple[int, int]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_pool(x: Array, at: _Windows) -> tuple[Array, Array]:
    (rows, columns), w = at.pooled, at.plane[1]
    best = jnp.full((x.shape[0], rows, columns, x.shape[3]), -jnp.inf, x.dtype)
    r0, c0 = (jnp.arange(n, dtype=jnp.int32) * s - p for n, s, p in zip(at.pooled, at.step, at.pad, strict=True))
    index = jnp.broadcast_to(_flat(jnp.maximum(r0, 0), jnp.maximum(c0, 0), w), best.shape)
    edges = [
        (p, max((m - 1) * s + k - n - p, 0), 0)
        for n, m, k, s, p in zip(at.plane, at.pooled, at.size, at.step, at.pad, strict=True)
    ]
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    for i in range(at.size[0]):
        for j in range(at.size[1]):
            tap = x[:, i : i + (rows - 1) * at.step[0] + 1 : at.step[0], j : j + (columns - 1) * at.step[1] + 1 : at.step[1]]
            better = (tap > best) | jnp.isnan(tap)
            best, index = jnp.where(better, tap, best), jnp.where(better, _flat(r0 + i, c0 + j, w), index)
    return best, index


@_max_pool.defjvp
def _max_pool_jvp(at: _Windows, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    best, index = _max_pool(x, at)
    # Taking values from their places is the adjoint of placing them: written as such, its own adjoint, which training
    # runs, is again the selection below, and not a scatter.
    place = partial(_place, index=index, at=at, add=True)
    (taken,) = jax.linear_transpose(place, jax.ShapeDtypeStruct(best.shape, best.dtype))(dx)
    return (best, index), (taken, jnp.zeros(index.shape, jax.dtypes.float0))


def _place(values: Array, index: Array, at: _Windows, add: bool) -> Array:
    """Place ``values`` at ``index``; where windows overlap, add them up or keep the last.

    Pixel ``s m + r`` of the padded plane lies in the windows ``m - q``, ``s q + r < size``, and takes the values whose index is
    its own.
    """
    (h, w), (si, sj) = at.plane, at.step
    reach = [-(-k // s) for k, s in zip(at.size, at.step, strict=True)]
    blocks = [-(-(n + p) // s) for n, s, p in zip(at.plane, at.step, at.pad, strict=True)]
    edges = [(0, 0, 0), *((q - 1, m - n, 0) for q, m, n in zip(reach, blocks, at.pooled, strict=True)), (0, 0, 0)]
    values, index = lax.pad(values, jnp.zeros((), values.dtype), edges), lax.pad(index, jnp.asarray(-1, index.dtype), edges)
    shape = (values.shape[0], blocks[0], si, blocks[1], sj, values.shape[3])
    rows, columns = (jnp.arange(m * s, dtype=jnp.int32) - p for m, s, p in zip(blocks, at.step, at.pad, strict=True))
    position = _flat(rows, columns, w)
    position = jnp.broadcast_to(position.reshape(1, blocks[0], si, blocks[1], sj, 1), shape)
    plane = jnp.zeros(shape, values.dtype)
    for qi in range(reach[0]):
        for qj in range(reach[1]):
            part = (slice(None), slice(qi, qi + blocks[0]), None, slice(qj, qj + blocks[1]), None)
            hit = jnp.broadcast_to(index[part], shape) == position
            value = jnp.broadcast_to(values[part], shape)
            plane = plane + jnp.where(hit, value, jnp.zeros_like(value)) if add else jnp.where(hit, value, plane)
    plane = plane.reshape(shape[0], blocks[0] * si, blocks[1] * sj, shape[5])
    edges = [(0, 0, 0), *((-p, n + p - m * s, 0) for p, n, m, s in zip(at.pad, (h, w), blocks, at.step, strict=True)), (0, 0, 0)]
    return lax.pad(plane, jnp.zeros((), values.dtype), edges)


def _scatter(x: Array, indices: Array, output_size: tuple[int, int]) -> Array:
    b, h, w, c = x.shape
    size = output_size[0] * output_size[1]

    # Scattering window numbers by maximum, then gathering, is the same on every device whatever the order of its writes.
    def plane(values: Array, where: Array) -> Array:
        order = jnp.arange(h * w, dtype=jnp.int32)
        last = jnp.full(size, -1, jnp.int32).at[where].max(order, mode="promise_in_bounds")
        return jnp.where(last >= 0, values[jnp.maximum(last, 0)], jnp.zeros((), x.dtype))

    # Mapped over batch and channels, not indexed: a batch that is split over devices then stays where it is.
    planes = jax.vmap(jax.vmap(plane, in_axes=1, out_axes=1))(x.reshape(b, h * w, c), indices.reshape(b, h * w, c))
    return planes.reshape(b, *output_size, c)


def _flat(rows: Array, columns: Array, width: int) -> Array:
    return (rows[:, None] * width + columns[None, :])[None, :, :, None]


def _window(window: Pair, strides: Pair | None, padding: Pair) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    size = pair(window, "window")
    return size, pair(window if strides is None else strides, "strides"), pair(padding, "padding", 0)


def _pooled(n: int, size: int, step: int, pad: int, ceil_mode: bool) -> int:
    if 2 * pad > size:
        raise InputError(f"padding={pad} is more than half of window={size}: pad at most {size // 2}.")
    count = (n + 2 * pad - size + (step - 1 if ceil_mode else 0)) // step + 1
    if count < 1:
        raise InputError(f"A plane of {n} rows or columns with padding={pad} is smaller than window={size}: take a larger image.")
    return count - 1 if ceil_mode and (count - 1) * step >= n + pad else count
