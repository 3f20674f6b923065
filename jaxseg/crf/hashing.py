"""A hash table of many names at once: which are the same, and which are there.

All entries are put into the table together, round after round: no sorting, and the same result every time.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32, UInt32

#: No entry: a slot that is free, or a name that is not in the table.
FREE = np.int32(2**31 - 1)


class Names(NamedTuple):
    """Names of vertices in two words each: quotients 0 to ``a - 1``; the other quotients and the remainder."""

    first: UInt32[Array, "*n"]
    second: UInt32[Array, "*n"]


def _probe(names: Names, bits: int) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Return the first slot of each name, and the odd step from one slot that is taken to the next."""
    mixed = names.first * np.uint32(0x9E3779B1) ^ names.second * np.uint32(0x85EBCA77)
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0xC2B2AE3D)
    mixed = (mixed ^ (mixed >> 13)) * np.uint32(0x27D4EB2F)
    return mixed >> np.uint32(32 - bits), (mixed ^ (mixed >> 7)) | np.uint32(1)


def insert(names: Names, inside: Bool[Array, " n"] | None) -> tuple[Int32[Array, " n"], Int32[Array, " slots"]]:
    """Return the first entry of the same name for each entry, and the table.

    In every round all entries that have no owner yet ask for the next slot of their name. A free slot goes to the smallest entry
    that asks. Entries of one name ask for the same slots in the same rounds, so the owner is the first of them.
    """
    n = names.first.shape[0]
    bits = table_bits(n)
    slot, step = _probe(names, bits)
    entries = lax.iota(jnp.int32, n)

    def ask(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        table, slot, owner, waiting = state
        at = slot.astype(jnp.int32)
        held = table.at[at].get(mode="promise_in_bounds")
        # Entries that do not ask, or ask in vain, leave their slot as it is: the smaller of two is the one that holds it.
        asks = jnp.where(waiting & (held == FREE), entries, FREE)
        table = table.at[at].min(asks, mode="promise_in_bounds")
        held = table.at[at].get(mode="promise_in_bounds")
        at = jnp.minimum(held, n - 1)
        same = (names.first.at[at].get(mode="promise_in_bounds") == names.first) & (
            names.second.at[at].get(mode="promise_in_bounds") == names.second
        )
        found = waiting & same & (held != FREE)
        return table, (slot + step) & np.uint32((1 << bits) - 1), jnp.where(found, held, owner), waiting & ~found

    waiting = jnp.ones(n, bool) if inside is None else inside
    state = (jnp.full(1 << bits, FREE), slot, jnp.zeros(n, jnp.int32), waiting)
    table, _, owner, _ = lax.while_loop(lambda state: jnp.any(state[3]), ask, state)
    return owner, table


def table_bits(n: int) -> int:
    """Return the binary logarithm of the size of a table that holds ``n`` different names with room to spare."""
    return max(int(1.25 * n), 8).bit_length()


def running_count(flags: Bool[Array, " n"], lanes: int = 512) -> Int32[Array, " n"]:
    """Return ``cumsum(flags)``, in lanes side by side; XLA's own takes ``log n`` passes over the whole."""
    n = flags.shape[0]
    rows = -(-n // lanes)
    apart = jnp.pad(flags.astype(jnp.int32), (0, rows * lanes - n)).reshape(lanes, rows).T

    def add(total: Array, row: Array) -> tuple[Array, Array]:
        return total + row, total + row

    ends, within = lax.scan(add, jnp.zeros_like(apart[0]), apart)
    before = jnp.cumsum(ends) - ends
    return (within + before[None]).T.reshape(-1)[:n]


def look_up(wanted: Names, asked: Bool[Array, "c m"], names: Names, table: Int32[Array, " slots"]) -> Int32[Array, "c m"]:
    """Return an entry of each wanted name, or ``FREE`` where there is none."""
    bits = table.shape[0].bit_length() - 1
    slot, step = _probe(wanted, bits)

    def ask(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        slot, entry, waiting = state
        held = table.at[slot.astype(jnp.int32)].get(mode="promise_in_bounds")
        at = jnp.minimum(held, names.first.shape[0] - 1)
        same = (names.first.at[at].get(mode="promise_in_bounds") == wanted.first) & (
            names.second.at[at].get(mode="promise_in_bounds") == wanted.second
        )
        free = held == FREE
        entry = jnp.where(waiting & same & ~free, held, entry)
        return (slot + step) & np.uint32((1 << bits) - 1), entry, waiting & ~same & ~free

    state = (slot, jnp.full(wanted.first.shape, FREE), asked)
    return lax.while_loop(lambda state: jnp.any(state[2]), ask, state)[1]
