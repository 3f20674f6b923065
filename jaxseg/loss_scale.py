"""Dynamic loss scaling: what keeps small gradients from vanishing where a network computes in float16.

Micikevicius et al., "Mixed Precision Training", 2018, https://arxiv.org/abs/1710.03740, section 3.2. bfloat16 has float32's range
and needs none.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

#: The largest power of two that is finite in float16, and so the first to be tried.
INITIAL = 2.0**15
#: Where doubling ends: far above what float16 can use, far below what float32 cannot hold.
LARGEST = 2.0**24
#: Steps without overflow after which the scale doubles.
GROWTH_INTERVAL = 2000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossScale:
    """The factor of the loss, and how long it has held.

    Attributes:
        scale: a float32 scalar, a power of two of at least 1.
        good_steps: int32 scalar: steps without overflow since it last changed.
    """

    scale: Any
    good_steps: Any

    @classmethod
    def initial(cls) -> "LossScale":
        """Return the scale that training begins with."""
        return cls(jnp.float32(INITIAL), jnp.int32(0))

    def unscale(self, gradients: PyTree) -> PyTree:
        """Return the gradients of the loss itself, from those of the scaled loss."""
        return jax.tree.map(lambda g: g / self.scale.astype(g.dtype), gradients)

    def after(self, finite: Bool[Array, ""]) -> "LossScale":
        """Return the scale of the next step: half after an overflow, at least 1; twice after 2,000 steps without one."""
        grows = finite & (self.good_steps + 1 >= GROWTH_INTERVAL)
        held = jnp.where(grows & (self.scale < LARGEST), self.scale * 2.0, self.scale)
        scale = jnp.where(finite, held, jnp.maximum(self.scale / 2.0, 1.0))
        return LossScale(scale, jnp.where(finite & ~grows, self.good_steps + 1, 0))
