"""The spatial Gaussian, row by row and column by column."""

import dataclasses
import functools
import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxseg.errors import InputError
from jaxseg.ops import separable as matrices

#: Where a Gaussian is cut off, in standard deviations: 6e-5 of its mass lies beyond.
REACH = 4.0

#: Up to this radius bands are faster than products with whole matrices.
LARGEST_RADIUS = 24

#: Rows that are filtered together.
TILE = 36


@partial(jax.tree_util.register_dataclass, data_fields=("sigma", "mask"), meta_fields=("radius",))
@dataclasses.dataclass(frozen=True)
class SeparableKernel:
    """A Gaussian of positions alone.

    Attributes:
        sigma: standard deviation in pixels.
        mask: which pixels there are; ``None`` is all.
        radius: where it is cut off; ``None`` is nowhere.
    """

    sigma: Float[Array, ""]
    mask: Bool[Array, "h w"] | None
    radius: int | None

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return ``sum_j k(p_i, p_j) values_j`` of every pixel, itself included."""
        there = None if self.mask is None else self.mask[:, :, None]
        values = values if there is None else jnp.where(there, values, 0.0)
        if self.radius is None:
            rows, columns = (self._profile(jnp.arange(n)[:, None] - jnp.arange(n)[None]) for n in values.shape[:2])
            result = matrices.apply(values[None], rows, columns)[0]
        else:
            result = self._banded(values, self.radius)
        return result if there is None else jnp.where(there, result, 0.0)

    def _profile(self, distance: Array) -> Array:
        return lax.stop_gradient(jnp.exp(-0.5 * jnp.square(distance / self.sigma)))

    def _banded(self, values: Float[Array, "h w k"], radius: int) -> Float[Array, "h w k"]:
        """Go down the columns of a tile of rows by a product with a band, and along its rows by shifts, while it is in the cache.

        A row is ``width`` times classes long, and a shift by a pixel is one by all its classes; as a product it would need a
        transpose, or one small product for each row.
        """
        height, width, classes = values.shape
        tiles = -(-height // TILE)
        around = (radius, radius + tiles * TILE - height), (radius * classes, radius * classes)
        wide = jnp.pad(values.reshape(height, width * classes), around)
        distance = jnp.arange(TILE + 2 * radius)[None] - radius - jnp.arange(TILE)[:, None]
        band = jnp.where(jnp.abs(distance) <= radius, self._profile(distance), 0.0)
        taps = self._profile(jnp.arange(-radius, radius + 1))

        def filtered(first: Array) -> Array:
            rows = lax.dynamic_slice_in_dim(wide, first, TILE + 2 * radius)
            down = jnp.matmul(band, rows, precision=lax.Precision.HIGHEST)
            shifted = (tap * down[:, i * classes : (i + width) * classes] for i, tap in enumerate(taps))
            return functools.reduce(operator.add, shifted)

        return lax.map(filtered, jnp.arange(tiles) * TILE).reshape(-1, width, classes)[:height]


@dataclasses.dataclass(frozen=True)
class Separable:
    """A kernel without colours as the product of one along columns and one along rows.

    Attributes:
        reach: standard deviations after which it is cut off; ``None`` is nowhere, which is exact, and slower where the standard
            deviation is a few pixels.
    """

    reach: float | None = REACH

    def build(
        self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None
    ) -> SeparableKernel:
        """Return the kernel of an image size; see :class:`jaxseg.crf.Filter`.

        Raises:
            InputError: for a kernel of colours, which is no product.
        """
        if colours.shape[-1]:
            raise InputError(
                "Separable() filters by positions alone, and a bilateral kernel has colours: give it as spatial_filter, and "
                "Permutohedral(), Local() or Exact() as filter."
            )
        radius = None
        if self.reach is not None and not isinstance(sigma, jax.core.Tracer):
            radius = min(math.ceil(self.reach * float(sigma)), max(colours.shape[:2]) - 1)
        return SeparableKernel(
            jnp.asarray(sigma, jnp.float32), mask, radius if radius is not None and radius <= LARGEST_RADIUS else None
        )
