"""Pixels as points: their positions and colours, in standard deviations of a kernel."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def features(colours: Float[Array, "h w c"], sigma: float | Float[Array, ""]) -> Float[Array, "d n"]:
    """Return column and row over ``sigma``, then the colours, of all pixels row by row; no gradient goes through them.

    Args:
        colours: in standard deviations; none of them (``c`` = 0) makes the kernel spatial.
        sigma: standard deviation in space, in pixels.
    """
    height, width, _ = colours.shape
    column = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32)[None] / sigma, (height, width))
    row = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32)[:, None] / sigma, (height, width))
    return lax.stop_gradient(
        jnp.concatenate([jnp.stack([column, row]), jnp.moveaxis(colours, -1, 0)]).reshape(-1, height * width)
    )
