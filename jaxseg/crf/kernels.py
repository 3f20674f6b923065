"""Kernels over all pairs of pixels: how their sums are computed, and how they are normalised."""

import dataclasses
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxseg.crf.lattice import Lattice, Permutohedral
from jaxseg.crf.local import Local


@runtime_checkable
class Filter(Protocol):
    """How sums over pixels are computed: :class:`Permutohedral`, :class:`Local`, :class:`Exact`, :class:`Separable`."""

    def build(self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None) -> Any:
        """Prepare the kernel ``exp(-|p_i - p_j|^2 / 2 sigma^2 - |c_i - c_j|^2 / 2)`` of one image.

        Args:
            colours: in standard deviations; none of them for a spatial kernel.
            sigma: standard deviation of the positions, in pixels.
            mask: which pixels there are.

        Returns:
            A pytree that, called with ``values (h, w, k)``, returns ``sum_j k(i, j) values_j``, linear in the values, and 0 where
            the mask is; its derivatives go to the values alone.
        """
        ...


def default_filter(normalisation: str = "symmetric") -> Filter:
    """Return the filter that is fastest here: the lattice, and on TPUs, whose gathers are slow, shifts.

    The lattice is calibrated where no normalisation makes up for the weight that it loses.
    """
    return Local() if jax.default_backend() == "tpu" else Permutohedral(calibrated=normalisation == "none")


@partial(jax.tree_util.register_dataclass, data_fields=("operator", "before", "after"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Kernel:
    """A filter with its normalisation.

    Attributes:
        operator: what a :class:`Filter` builds.
        before: factors of the values of every pixel; ``None`` is 1.
        after: factors of the result.
    """

    operator: Any
    before: Float[Array, "h w 1"] | None
    after: Float[Array, "h w 1"] | None

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return the normalised sums."""
        result = self.operator(values if self.before is None else self.before * values)
        return result if self.after is None else self.after * result


def build_kernel(
    colours: Float[Array, "h w c"],
    sigma: float | Float[Array, ""],
    mask: Bool[Array, "h w"] | None,
    *,
    filter: Filter,
    normalisation: str,
) -> Kernel:
    """Prepare a kernel of one image for any number of iterations; see :class:`Filter` and :func:`mean_field`."""
    operator = filter.build(colours, sigma, mask)
    # Ones of this image's own: of ones that all images of a batch share, XLA:CPU (JAX 0.10) fails to compile Local's sums.
    ones = 0.0 * jnp.sum(colours, axis=-1, keepdims=True) + 1.0
    before, after = _factors(operator, ones, normalisation)
    if isinstance(operator, Lattice):  # its shares take the factors, and no pass over the values is made for them
        return Kernel(operator.scaled(before, after), None, None)
    return Kernel(operator, before, after)


@partial(jax.jit, static_argnames="normalisation")
def _factors(operator: Any, ones: Float[Array, "h w 1"], normalisation: str) -> tuple[Array | None, Array | None]:
    if normalisation == "none":
        return None, None
    sums = lax.stop_gradient(operator(ones))
    if normalisation == "symmetric":
        root = lax.rsqrt(jnp.where(sums == 0, 1.0, sums))
        return root, root
    inverse = 1.0 / jnp.where(sums == 0, 1.0, sums)
    return (inverse, None) if normalisation == "before" else (None, inverse)
