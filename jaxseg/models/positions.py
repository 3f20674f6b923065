"""Where a token is: sinusoids along a sequence, and learnt tables over a grid that are resized to another grid."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError

METHODS = ("bilinear", "bicubic")


def sinusoids(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """Return ``sin(t / 10000^(2 i / width))`` in columns ``2 i`` and the cosine of the same in columns ``2 i + 1``.

    Vaswani et al., 2017 (https://arxiv.org/abs/1706.03762), section 3.5.

    Args:
        length: places, from 0.
        width: of the tokens; an odd one ends with a sine.
    """
    column = np.arange(width)
    angle = np.arange(length)[:, None] / 10000.0 ** (column // 2 * 2 / width)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def resize_table(table: Float[Array, "1 h w d"], grid: tuple[int, int], *, method: str = "bilinear") -> Float[Array, "1 h2 w2 d"]:
    """Resize learnt position embeddings to another grid, square or not, with half-pixel centres.

    Args:
        table: one vector per place of the learnt grid.
        grid: height and width wanted.
        method: ``"bilinear"``, as SETR; ``"bicubic"``, as timm for other sizes, which smooths where it shrinks.

    Raises:
        InputError: for an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"method={method!r} is not known: give one of {METHODS}.")
    if tuple(grid) == table.shape[1:3]:
        return table
    if method == "bilinear":
        return ops.resize(table, (grid[0], grid[1]), method="bilinear")
    return jax.image.resize(table, (1, *grid, table.shape[-1]), "bicubic")


def split_table(
    table: Float[Array, "1 n d"], *, class_tokens: int = 1, grid: tuple[int, int] | None = None
) -> tuple[Float[Array, "1 k d"], Float[Array, "1 h w d"]]:
    """Split a stored table, as published checkpoints have it: the class token's row apart, the rest as its grid.

    >>> own, table = split_table(jnp.zeros((1, 197, 768)))
    >>> own.shape, resize_table(table, (32, 64)).shape
    ((1, 1, 768), (1, 32, 64, 768))

    Args:
        table: first ``class_tokens`` rows, then the grid's, row by row.
        class_tokens: how many rows are no place: 1 for ViT, 2 with DeiT's distillation token, 0 without.
        grid: of the stored table; ``None`` for a square.

    Raises:
        InputError: if the rows do not fill the grid.
    """
    places = table.shape[1] - class_tokens
    side = round(max(places, 0) ** 0.5)
    height, width = (side, side) if grid is None else grid
    if height * width != places:
        shape = "no square" if grid is None else f"not {height} x {width}"
        raise InputError(
            f"The position table has {table.shape[1]} rows, {class_tokens} of them for class tokens: the other {places} make "
            f"{shape}. Give the grid that they were learnt for, or another number of class_tokens."
        )
    own, rest = jnp.asarray(table[:, :class_tokens]), jnp.asarray(table[:, class_tokens:])
    return own, rest.reshape(1, height, width, table.shape[-1])
