"""A linear map of a plane that acts on rows and columns apart, as two matrix products."""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike


def apply(x: Array, rows: ArrayLike, columns: ArrayLike) -> Array:
    """Return ``out[b, Y, X, c] = sum rows[Y, y] columns[X, x] x[b, y, x, c]``, computed in float32 or wider.

    Args:
        x: ``(b, h, w, c)``, any float dtype.
        rows: ``(h2, h)``.
        columns: ``(w2, w)``.

    Returns:
        ``(b, h2, w2, c)`` of ``x``'s dtype.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    rows, columns = jnp.asarray(rows, wide.dtype), jnp.asarray(columns, wide.dtype)
    shrinks = rows.shape[0] <= rows.shape[1]
    wide = _columns(_rows(wide, rows), columns) if shrinks else _rows(_columns(wide, columns), rows)
    return wide.astype(x.dtype)


# The small matrix is repeated over the batch: with the batch as the product's own, the result needs no transpose.
def _rows(x: Array, matrix: Array) -> Array:
    matrix = jnp.broadcast_to(matrix[None], (x.shape[0], *matrix.shape))
    return lax.dot_general(matrix, x, (((2,), (1,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)


def _columns(x: Array, matrix: Array) -> Array:
    matrix = jnp.broadcast_to(matrix[None, None], (*x.shape[:2], *matrix.shape))
    return lax.dot_general(matrix, x, (((3,), (2,)), ((0, 1), (0, 1))), precision=lax.Precision.HIGHEST)
