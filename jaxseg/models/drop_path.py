"""Stochastic depth.

Huang et al., "Deep networks with stochastic depth", 2016, https://arxiv.org/abs/1603.09382
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError


class DropPath(nn.Module):
    """Drops a whole residual branch, per image.

    The branch is divided by the probability of keeping it, so that its expectation stays.

    Attributes:
        rate: probability of dropping, in ``[0, 1)``.
    """

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.rate < 1.0:
            raise InputError(f"drop_path={self.rate} must lie in [0, 1): it is the probability of dropping a branch.")

    @nn.compact
    def __call__(self, x: Float[Array, "b *rest"], *, train: bool) -> Float[Array, "b *rest"]:
        """Return the branch, or zeros for the images for which it is dropped."""
        if not train or self.rate == 0.0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros_like(x))


def linear_rates(rate: float, depth: int) -> tuple[float, ...]:
    """Return each block's rate: from 0 in the first to ``rate`` in the last of ``depth``.

    >>> linear_rates(0.2, 3)
    (0.0, 0.1, 0.2)
    """
    return tuple(rate * i / max(depth - 1, 1) for i in range(depth))
