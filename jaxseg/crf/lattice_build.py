"""The permutohedral lattice of a set of points: the simplex around each, unique vertices by hashing, and their neighbours.

Adams, Baek, Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010,
https://graphics.stanford.edu/papers/permutohedral/

A vertex of the lattice in ``d`` dimensions has ``d + 1`` whole coordinates of sum 0 that are all the same number, its remainder,
modulo ``d + 1``. So ``d`` quotients and the remainder name it, packed here into two words of 32 bits. Every point lies in a
simplex of ``d + 1`` vertices, one of each remainder. Which of all these names are the same is found by a hash table that all
entries are put into at once, round after round: no sorting, and the same result every time.
"""

import functools
import operator
from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from jaxseg.crf import hashing
from jaxseg.crf.hashing import FREE, Names


class Radix(NamedTuple):
    """How quotients are packed: ``a`` of them by powers of ``first``, the others by powers of ``second``."""

    a: int
    first: int
    second: int

    @classmethod
    def of(cls, d: int) -> "Radix":
        """Return the largest radices with which the names of a lattice in ``d`` dimensions fit."""
        a = (d + 1) // 2
        rest = max(d - a, 1)
        return cls(a, *(min(int(room ** (1 / digits)), 2**30) for room, digits in ((2**32 - 1, a), (2**32 // (d + 1) - 1, rest))))

    def factors(self, d: int) -> list[tuple[int, int]]:
        """Return what each quotient is multiplied by in the first word, and in the second."""
        return [(self.first**k, 0) if k < self.a else (0, self.second ** (k - self.a) * (d + 1)) for k in range(d)]


class Vertices(NamedTuple):
    """What is known of a lattice before its number of vertices is: one entry for each vertex of each point's simplex.

    Attributes:
        number: of each entry's vertex, in the order of their first entries; ``size`` and above for points that are left out.
        weight: barycentric coordinate of the point, 0 for points that are left out.
        names: of the entries' vertices.
        table: of the hash: an entry of each vertex, or free.
        size: their count.
        fits: whether the points are close enough together for names of 64 bits.
    """

    number: Int32[Array, "corners n"]
    weight: Float[Array, "corners n"]
    names: Names
    table: Int32[Array, " slots"]
    size: Int32[Array, ""]
    fits: Bool[Array, ""]


def find_vertices(
    names: Names, weight: Float[Array, "corners n"], fits: Bool[Array, ""], mask: Bool[Array, " n"] | None
) -> Vertices:
    """Number the vertices of the simplices of points.

    Args:
        names: from :func:`name_vertices`.
        weight: from :func:`simplices`.
        fits: from :func:`name_vertices`.
        mask: which points there are; ``None`` is all.
    """
    inside = None if mask is None else jnp.broadcast_to(mask[None], weight.shape).reshape(-1)
    owner, table = hashing.insert(Names(*(word.reshape(-1) for word in names)), inside)
    leads = owner == lax.iota(jnp.int32, owner.shape[0])
    if inside is not None:
        leads &= inside
    running = hashing.running_count(leads)
    number = (running - 1).at[owner].get(mode="promise_in_bounds")
    if inside is not None:
        number = jnp.where(inside, number, FREE)
        weight = jnp.where(jnp.reshape(inside, weight.shape), weight, 0.0)
    return Vertices(number.reshape(weight.shape), weight, names, table, running[-1], fits)


def simplices(features: Float[Array, "d n"]) -> tuple[list[Array], list[Array], Float[Array, "corners n"]]:
    """Return quotients of the simplex's vertex of remainder 0, ranks of the coordinates, and barycentric coordinates.

    The order of the sums is that of Krähenbühl's code, so that points on the border of two simplices fall on the same side.
    """
    d = features.shape[0]
    spread = np.sqrt(2.0 / 3.0) * (d + 1)  # the standard deviation of splatting, blurring and slicing together
    total, elevated = jnp.zeros_like(features[0]), []
    for j in range(d, 0, -1):
        coordinate = features[j - 1] * np.float32(spread / np.sqrt(j * (j + 1)))
        elevated.append(total - np.float32(j) * coordinate)
        total = total + coordinate
    elevated = [total, *elevated[::-1]]
    nearest = [jnp.round(e * np.float32(1 / (d + 1))) for e in elevated]
    rest = [e - (d + 1) * q for e, q in zip(elevated, nearest)]
    # How many coordinates have a larger rest; the first of equals counts as the larger one.
    rank = []
    for i in range(d + 1):
        larger = [rest[j] > rest[i] if j > i else rest[j] >= rest[i] for j in range(d + 1) if j != i]
        rank.append(_sum(x.astype(jnp.int32) for x in larger))
    off_plane = _sum(nearest).astype(jnp.int32)
    rank = [r + off_plane for r in rank]
    wrap = [(r < 0).astype(jnp.int32) - (r > d).astype(jnp.int32) for r in rank]
    rank = [r + (d + 1) * w for r, w in zip(rank, wrap)]
    quotient = [q.astype(jnp.int32) + w for q, w in zip(nearest, wrap)]
    share = [(e - ((d + 1) * q).astype(jnp.float32)) * np.float32(1 / (d + 1)) for e, q in zip(elevated, quotient)]
    by_rank = [_sum(jnp.where(r == place, s, 0.0) for r, s in zip(rank, share)) for place in range(d + 1)]
    weight = [1.0 + by_rank[d] - by_rank[0], *(by_rank[d - j] - by_rank[d + 1 - j] for j in range(1, d + 1))]
    return quotient, rank, jnp.stack(weight)


def _sum(parts: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, parts)


def name_vertices(quotient: list[Array], rank: list[Array]) -> tuple[Names, Bool[Array, ""]]:
    """Return the names of the vertices of each point's simplex, ``(d + 1, n)``, and whether all quotients fit into them."""
    d = len(quotient) - 1
    radix = Radix.of(d)
    words: tuple[list[Array], list[Array]] = ([], [])
    fits = jnp.bool_(True)
    shifted = []
    for k in range(d):
        least = jnp.min(quotient[k]) - 2  # one below for the wrapped coordinate, one for neighbours
        shifted.append((quotient[k] - least).astype(jnp.uint32))
        fits &= jnp.max(quotient[k]) - least < (radix.first if k < radix.a else radix.second) - 1
    for remainder in range(d + 1):
        first, second = jnp.zeros_like(shifted[0]), jnp.full_like(shifted[0], remainder)
        for own, place, (f, s) in zip(shifted, rank, radix.factors(d)):
            wrapped = own - (place > d - remainder).astype(jnp.uint32)
            first, second = (first + np.uint32(f) * wrapped, second) if f else (first, second + np.uint32(s) * wrapped)
        words[0].append(first)
        words[1].append(second)
    return Names(jnp.stack(words[0]), jnp.stack(words[1])), fits


def find_neighbours(found: Vertices, capacity: int) -> tuple[Int32[Array, "corners m"], Int32[Array, "corners m"]]:
    """Return the two neighbours of each vertex along each of the ``d + 1`` directions of the lattice.

    Args:
        found: the vertices.
        capacity: number of vertices that there is room for.

    Returns:
        Numbers of vertices ``(d + 1, capacity + 1)``; ``capacity`` where there is none, and throughout the last column.
    """
    corners, n = found.number.shape
    d = corners - 1
    number = found.number.reshape(-1)
    entries = lax.iota(jnp.int32, corners * n)
    lead = jnp.full(capacity + 1, corners * n, jnp.int32)
    lead = lead.at[jnp.minimum(number, capacity)].min(entries, mode="promise_in_bounds")[:capacity]
    there = lax.iota(jnp.int32, capacity) < found.size
    at = jnp.minimum(lead, corners * n - 1)
    flat = Names(*(word.reshape(-1) for word in found.names))
    own = Names(*(word.at[at].get(mode="promise_in_bounds") for word in flat))
    remainder = own.second % np.uint32(corners)
    all_down = (remainder == 0).astype(jnp.uint32)
    wanted_first, wanted_second = [], []
    factors = Radix.of(d).factors(d)
    for axis in range(corners):
        # Down by one in every coordinate but one, which goes up by d.
        f, s = factors[axis] if axis < d else (0, 0)
        wanted_first.append(own.first + np.uint32(f) - all_down * np.uint32(sum(f for f, _ in factors) % 2**32))
        down = own.second - all_down * np.uint32(sum(s for _, s in factors) % 2**32) + np.uint32(s)
        wanted_second.append(jnp.where(remainder == 0, down + np.uint32(d), down - np.uint32(1)))
    wanted = Names(jnp.concatenate(wanted_first), jnp.concatenate(wanted_second))
    entry = hashing.look_up(wanted, jnp.tile(there, corners), flat, found.table).reshape(corners, capacity)
    lower = jnp.where(entry == FREE, capacity, number.at[jnp.minimum(entry, corners * n - 1)].get(mode="promise_in_bounds"))
    lower = jnp.pad(jnp.minimum(lower, capacity), ((0, 0), (0, 1)), constant_values=capacity)
    numbers = lax.iota(jnp.int32, capacity + 1)
    # A vertex is the upper neighbour of its lower one. The last column takes what asks for none, and is set again.
    upper = jnp.stack(
        [jnp.full(capacity + 1, capacity, jnp.int32).at[row].set(numbers, mode="promise_in_bounds") for row in lower]
    )
    return lower, upper.at[:, capacity].set(capacity)
