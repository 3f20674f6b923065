"""The permutohedral lattice as a filter: splat onto vertices, blur along each direction, slice back."""

import dataclasses
import functools
import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from jaxseg.crf import lattice_build
from jaxseg.crf.points import features
from jaxseg.errors import InputError


@partial(jax.tree_util.register_dataclass, data_fields=("number", "weight", "lower", "upper", "fits"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Lattice:
    """A lattice with room for ``m - 1`` vertices; the last is for pixels and neighbours that are not there, and stays 0.

    Attributes:
        number: of the vertices of the simplex around each pixel.
        weight: the pixel's barycentric coordinates.
        lower: one neighbour of each vertex along each direction.
        upper: the other.
        fits: whether there was room for all vertices. If not, everything that is filtered is NaN.
    """

    number: Int32[Array, "corners n"]
    weight: Float[Array, "corners n"]
    lower: Int32[Array, "corners m"]
    upper: Int32[Array, "corners m"]
    fits: Bool[Array, ""]

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return about ``sum_j k(f_i, f_j) values_j`` of every pixel, itself included, up to a factor common to all."""
        parts = (self.number, self.weight, self.lower, self.upper)
        result = _filter(*parts, values.reshape(-1, values.shape[-1])).reshape(values.shape)
        return jnp.where(self.fits, result, jnp.nan)


@dataclasses.dataclass(frozen=True)
class Permutohedral:
    """The filter of Adams et al., 2010, in the variant of Krähenbühl and Koltun, whose results it has to rounding errors.

    How many vertices there are depends on the image. Called with an image (not under ``jit``), it counts them, and compiles for
    that number rounded up by a few percent: there is room for all. Under ``jit``, ``vmap`` or ``grad`` with respect to the
    image the number must be known before: ``capacity``, or by default the largest that can be, ``(d + 1)`` times the number of
    pixels, which always suffices and costs time and memory. Where ``capacity`` is too small, nothing is dropped in silence:
    the marginals are NaN, all of them; with an image at hand it is an error that names the number.

    Attributes:
        capacity: room for so many vertices. For photographs and the parameters of DeepLab half as many as pixels are plenty;
            small images, and a small ``sigma_beta``, need more per pixel.
    """

    capacity: int | None = None

    def build(self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None) -> Lattice:
        """Return the lattice of an image; see :class:`jaxseg.crf.Filter`.

        Raises:
            InputError: with an image at hand: ``capacity`` is too small, or standard deviations are so small that the pixels
                are too far apart to be numbered.
        """
        mask = None if mask is None else mask.reshape(-1)
        if any(isinstance(x, jax.core.Tracer) for x in (colours, sigma, mask)):
            points = features(colours, sigma)
            quotient, rank, weight = lattice_build.simplices(points)
            names, fits = lattice_build.name_vertices(quotient, rank)
            found = lattice_build.find_vertices(names, weight, fits, mask)
            return _complete(found, points.size + points.shape[1] if self.capacity is None else self.capacity)
        # In pieces: compiled as one, XLA:CPU computes the simplices once for every vertex.
        points = _features(colours, sigma)
        quotient, rank, weight = _simplices(points)
        names, fits = _name_vertices(quotient, rank)
        found = _find_vertices(names, weight, fits, mask)
        count = int(found.size)
        if not bool(found.fits):
            raise InputError(
                "The permutohedral lattice cannot number its vertices: the pixels are up to "
                f"{float(jnp.ptp(points)):.0f} standard deviations apart. Raise sigma_beta, sigma_alpha or sigma_gamma."
            )
        if self.capacity is not None and count > self.capacity:
            raise InputError(f"capacity={self.capacity} is too small: the lattice of this image has {count} vertices.")
        return _complete_compiled(found, rounded_up(count) if self.capacity is None else self.capacity)


_features = jax.jit(features)
_simplices = jax.jit(lattice_build.simplices)
_name_vertices = jax.jit(lattice_build.name_vertices)
_find_vertices = jax.jit(lattice_build.find_vertices)


def rounded_up(count: int) -> int:
    """Return a number at least as large, with three binary digits, so that few sizes are compiled."""
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step


def _complete(found: lattice_build.Vertices, capacity: int) -> Lattice:
    lower, upper = lattice_build.find_neighbours(found, capacity)
    fits = found.fits & (found.size <= capacity)
    return Lattice(jnp.minimum(found.number, capacity), found.weight, lower, upper, fits)


_complete_compiled = jax.jit(_complete, static_argnames="capacity")


@jax.custom_vjp
def _filter(number: Array, weight: Array, lower: Array, upper: Array, values: Float[Array, "n k"]) -> Float[Array, "n k"]:
    return _splat_blur_slice(number, weight, lower, upper, values, transposed=False)


def _splat_blur_slice(
    number: Int32[Array, "corners n"],
    weight: Float[Array, "corners n"],
    lower: Int32[Array, "corners m"],
    upper: Int32[Array, "corners m"],
    values: Float[Array, "n k"],
    *,
    transposed: bool,
) -> Float[Array, "n k"]:
    """Apply the lattice's matrix, or its transpose.

    That blurs in the opposite order: blurs along two directions do not commute where neighbours are missing.
    """
    corners, m = lower.shape
    grid = jnp.zeros((m, values.shape[-1]), values.dtype)
    for own, share in zip(number, weight):
        grid = grid.at[own].add(values * share[:, None], mode="promise_in_bounds")

    def blur(grid: Array, neighbours: tuple[Array, Array]) -> tuple[Array, None]:
        below, above = (grid.at[side].get(mode="promise_in_bounds") for side in neighbours)
        return grid + 0.5 * (below + above), None

    grid = lax.scan(blur, grid, (lower, upper), reverse=transposed)[0]
    parts = [grid.at[own].get(mode="promise_in_bounds") * share[:, None] for own, share in zip(number, weight)]
    return np.float32(1 / (1 + 2.0 ** (1 - corners))) * functools.reduce(operator.add, parts)


def _forward(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
    return _filter(*arguments), arguments[:-1]


def _backward(lattice: tuple[Array, Array, Array, Array], g: Array) -> tuple[Array | None, ...]:
    return None, None, None, None, _splat_blur_slice(*lattice, g, transposed=True)


_filter.defvjp(_forward, _backward)
