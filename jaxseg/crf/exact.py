"""The exact filter: every pair of pixels, a block of rows of the kernel at a time. For tests and small images."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxseg.crf.points import features


@partial(jax.tree_util.register_dataclass, data_fields=("features", "mask"), meta_fields=("block",))
@dataclasses.dataclass(frozen=True)
class ExactKernel:
    """The Gaussian kernel of a set of points.

    Attributes:
        features: of the points, in standard deviations.
        mask: which points there are; ``None`` is all.
        block: rows of the kernel at a time.
    """

    features: Float[Array, "d n"]
    mask: Bool[Array, " n"] | None
    block: int

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return ``sum_j k(f_i, f_j) values_j`` of every pixel, itself included."""
        return _product(self.block, self.features, self.mask, values.reshape(-1, values.shape[-1])).reshape(values.shape)


@dataclasses.dataclass(frozen=True)
class Exact:
    """Compute every pair: time and the square of the number of pixels go together (a 64 x 64 image has 17 million pairs).

    Attributes:
        block: rows of the kernel that are in memory at a time.
    """

    block: int = 256

    def build(
        self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None
    ) -> ExactKernel:
        """Return the kernel of an image; see :class:`jaxseg.crf.Filter`."""
        return ExactKernel(features(colours, sigma), None if mask is None else mask.reshape(-1), self.block)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(
    block: int, points: Float[Array, "d n"], mask: Bool[Array, " n"] | None, values: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    n = values.shape[0]
    sent = values if mask is None else jnp.where(mask[:, None], values, 0.0)

    def rows(own: Float[Array, "d b"]) -> Float[Array, "b k"]:
        squares = sum((jnp.square(a[:, None] - b[None]) for a, b in zip(own, points)), jnp.zeros((block, n)))
        return jnp.matmul(jnp.exp(-0.5 * squares), sent, precision=lax.Precision.HIGHEST)

    padded = jnp.pad(points, ((0, 0), (0, -n % block)), mode="edge")
    blocks = jnp.moveaxis(padded.reshape(points.shape[0], -1, block), 1, 0)
    result = lax.map(rows, blocks).reshape(-1, values.shape[1])[:n]
    return result if mask is None else jnp.where(mask[:, None], result, 0.0)


def _forward(block: int, points: Array, mask: Array | None, values: Array) -> tuple[Array, tuple[Array, Array | None]]:
    return _product(block, points, mask, values), (points, mask)


def _backward(block: int, kernel: tuple[Array, Array | None], g: Array) -> tuple[None, None, Array]:
    return None, None, _product(block, *kernel, g)  # the kernel is symmetric


_product.defvjp(_forward, _backward)
