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

from jaxseg.crf import hashing, lattice_build
from jaxseg.crf.points import features
from jaxseg.errors import InputError

#: Pixels, at most, that a CPU splats at once.
PIECE = 960

#: Pixels whose sums are computed exactly to calibrate a lattice.
ROWS = 256


@partial(jax.tree_util.register_dataclass, data_fields=("number", "splat", "slice", "lower", "upper", "fits"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Lattice:
    """A lattice with room for ``m - 1`` vertices; the last is for pixels and neighbours that are not there, and stays 0.

    Attributes:
        number: of the vertices of the simplex around each pixel, a pixel's side by side.
        splat: the shares of the pixel's values that its vertices get: its barycentric coordinates.
        slice: the shares of its vertices' values that the pixel gets: the same.
        lower: one neighbour of each vertex along each direction.
        upper: the other.
        fits: whether there was room for all vertices. If not, everything that is filtered is NaN.
    """

    number: Int32[Array, "n corners"]
    splat: Float[Array, "n corners"]
    slice: Float[Array, "n corners"]
    lower: Int32[Array, "corners m"]
    upper: Int32[Array, "corners m"]
    fits: Bool[Array, ""]

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return about ``sum_j k(f_i, f_j) values_j`` of every pixel, itself included, up to a factor common to all."""
        parts = (self.number, self.splat, self.slice, self.lower, self.upper)
        result = _filter(*parts, values.reshape(-1, values.shape[-1])).reshape(values.shape)
        return jnp.where(self.fits, result, jnp.nan)

    def scaled(self, before: Float[Array, "h w 1"] | None, after: Float[Array, "h w 1"] | None) -> "Lattice":
        """Return the lattice that multiplies every pixel's values, and its result, by factors; ``None`` is 1."""
        splat, slice = (x if by is None else x * by.reshape(-1, 1) for x, by in ((self.splat, before), (self.slice, after)))
        return dataclasses.replace(self, splat=splat, slice=slice)


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
        calibrated: a lattice whose vertices have few neighbours loses weight: its sums are little more than half of the exact
            ones for photographs and the parameters of DeepLab. A normalisation makes up for that. Without one, this multiplies
            the lattice by a number that makes its sums as large as the exact ones, on average over :data:`ROWS` pixels.
    """

    capacity: int | None = None
    calibrated: bool = False

    def build(self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None) -> Lattice:
        """Return the lattice of an image; see :class:`jaxseg.crf.Filter`.

        Raises:
            InputError: with an image at hand: ``capacity`` is too small, or standard deviations are so small that the pixels
                are too far apart to be numbered.
        """
        lattice = self._build(colours, sigma, None if mask is None else mask.reshape(-1))
        return _calibrate(lattice, colours, sigma, mask) if self.calibrated else lattice

    def _build(self, colours: Array, sigma: float | Float[Array, ""], mask: Bool[Array, " n"] | None) -> Lattice:
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
    return Lattice(jnp.minimum(found.number, capacity).T, found.weight.T, found.weight.T, lower, upper, fits)


_complete_compiled = jax.jit(_complete, static_argnames="capacity")


@jax.jit
def _calibrate(
    lattice: Lattice, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None
) -> Lattice:
    """Multiply a lattice so that its sums over all pixels, added up over :data:`ROWS` pixels, are those of the exact kernel."""
    there = jnp.ones(colours.shape[:2], bool) if mask is None else mask
    ones = lax.stop_gradient(0.0 * jnp.sum(colours, axis=-1)) + there  # of this image's own, as in build_kernel
    points, sent = features(colours, sigma), ones.reshape(-1)
    place = hashing.running_count(there.reshape(-1))
    chosen = jnp.searchsorted(place, 1 + jnp.round(jnp.linspace(0.0, 1.0, ROWS) * (place[-1] - 1)).astype(jnp.int32))
    chosen = jnp.minimum(chosen, sent.size - 1)  # without any pixel

    def total(own: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.sum(sent * jnp.exp(-0.5 * jnp.sum(jnp.square(points - own[:, None]), axis=0)))

    exact = lax.map(total, points[:, chosen].T)
    near = jnp.sum(lattice(ones[:, :, None]).reshape(-1)[chosen])
    gain = jnp.sum(exact) / jnp.where(near == 0, 1.0, near)
    return lattice.scaled(None, jnp.broadcast_to(gain, there.shape)[:, :, None])


@jax.custom_vjp
def _filter(
    number: Array, splat: Array, slice: Array, lower: Array, upper: Array, values: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    return _splat_blur_slice(number, splat, slice, lower, upper, values, transposed=False)


def _splat_blur_slice(
    number: Int32[Array, "n corners"],
    splat: Float[Array, "n corners"],
    slice: Float[Array, "n corners"],
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
    nothing = jnp.zeros((m, values.shape[-1]), values.dtype)
    grid = lax.platform_dependent(nothing, number, splat, values, cpu=_splat_by_pieces, default=_splat)

    def blur(grid: Array, neighbours: tuple[Array, Array]) -> tuple[Array, None]:
        below, above = (grid.at[side].get(mode="promise_in_bounds") for side in neighbours)
        return grid + 0.5 * (below + above), None

    grid = lax.scan(blur, grid, (lower, upper), reverse=transposed)[0]
    parts = [grid.at[own].get(mode="promise_in_bounds") * share[:, None] for own, share in zip(number.T, slice.T)]
    return np.float32(1 / (1 + 2.0 ** (1 - corners))) * functools.reduce(operator.add, parts)


def _splat(
    grid: Float[Array, "m k"], number: Int32[Array, "n corners"], weight: Float[Array, "n corners"], values: Float[Array, "n k"]
) -> Float[Array, "m k"]:
    """Add every pixel's values to its vertices."""
    for own, share in zip(number.T, weight.T):
        grid = grid.at[own].add(values * share[:, None], mode="promise_in_bounds")
    return grid


def _splat_by_pieces(
    grid: Float[Array, "m k"], number: Int32[Array, "n corners"], weight: Float[Array, "n corners"], values: Float[Array, "n k"]
) -> Float[Array, "m k"]:
    """Do the same for :data:`PIECE` pixels after the other, which on a CPU is three times as fast.

    What is added has as many numbers as there are pixels, corners and classes, and would be written to memory and read again; of
    a piece it stays in the cache, where the vertices of the piece, which are close together, are as well.
    """
    n = values.shape[0]
    pieces = -(-n // PIECE)
    spare = -n % pieces

    def add(grid: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, None]:
        own, share, sent = piece
        return grid.at[own].add(share[:, :, None] * sent[:, None], mode="promise_in_bounds", wrap_negative_indices=False), None

    # What is left over of the last piece adds nothing to the vertex that is none.
    number = jnp.pad(number, ((0, spare), (0, 0)), constant_values=grid.shape[0] - 1)
    weight, values = (jnp.pad(x, ((0, spare), (0, 0))) for x in (weight, values))
    number, weight, values = (x.reshape(pieces, -1, x.shape[-1]) for x in (number, weight, values))
    return lax.scan(add, grid, (number, weight, values))[0]


def _forward(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
    return _filter(*arguments), arguments[:-1]


def _backward(lattice: tuple[Array, Array, Array, Array, Array], g: Array) -> tuple[Array | None, ...]:
    number, splat, slice, lower, upper = lattice
    return None, None, None, None, None, _splat_blur_slice(number, slice, splat, lower, upper, g, transposed=True)


_filter.defvjp(_forward, _backward)
