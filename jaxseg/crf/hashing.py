"""A hash table of many names at once: which are the same, and which are there.

All entries are put into the table together, round after round: no sorting, and the same result every time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32, UInt32

#: No entry: a slot that is free, or a name that is not in the table.
FREE = np.int32(2**31 - 1)

#: The table, the slots to ask at, the answers, and who waits for one.
_State = tuple[Array, Array, Array, Array]


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

    def ask(table: Array, at: Array, waiting: Array, own: Array, name: Names) -> tuple[Array, Array, Array]:
        held = table.at[at].get(mode="promise_in_bounds")
        # Entries that do not ask, or ask in vain, leave their slot as it is: the smaller of two is the one that holds it.
        asks = jnp.where(waiting & (held == FREE), own, FREE)
        table = table.at[at].min(asks, mode="promise_in_bounds")
        held = table.at[at].get(mode="promise_in_bounds")
        return table, held, (held != FREE) & _same(_take(names, jnp.minimum(held, n - 1)), name)

    table = jnp.full(1 << table_bits(n), FREE)
    owner, table = _rounds(ask, names, jnp.ones(n, bool) if inside is None else inside, table, 0)
    return owner, table


def look_up(wanted: Names, asked: Bool[Array, " m"], names: Names, table: Int32[Array, " slots"]) -> Int32[Array, " m"]:
    """Return an entry of each wanted name, or ``FREE`` where there is none."""

    def ask(table: Array, at: Array, waiting: Array, own: Array, name: Names) -> tuple[Array, Array, Array]:
        del waiting, own
        held = table.at[at].get(mode="promise_in_bounds")
        same = _same(_take(names, jnp.minimum(held, names.first.shape[0] - 1)), name)
        return table, held, same | (held == FREE)

    return _rounds(ask, wanted, asked, table, FREE)[0]


def _rounds(
    ask: Callable[..., tuple[Array, Array, Array]], names: Names, waiting: Bool[Array, " n"], table: Array, answer: int | np.int32
) -> tuple[Int32[Array, " n"], Int32[Array, " slots"]]:
    """Let names ask at one slot after the other until each has its answer.

    Few wait after the first round, and they alone go on, as many at a time as there is room for, in their order. Those who come
    later find what others have entered on the same way, for no slot is given up.

    Args:
        ask: given the table, slots, who waits, their places and names; returns the table, answers, and which of them count.
        names: that ask.
        waiting: which of them do.
        table: of the hash.
        answer: of those that do not.

    Returns:
        The answers, and the table.
    """
    n = waiting.shape[0]
    bits = table.shape[0].bit_length() - 1
    slot, step = _probe(names, bits)
    room = max(n // 16, min(n, 1024))

    def turn(state: _State, own: Array, name: Names, step: Array) -> _State:
        table, slot, answers, waiting = state
        table, given, counts = ask(table, slot.astype(jnp.int32), waiting, own, name)
        counts &= waiting
        return table, (slot + step) & np.uint32((1 << bits) - 1), jnp.where(counts, given, answers), waiting & ~counts

    def go_on(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        table, answers, waiting = state
        own, there = _first(waiting, room)
        name = _take(names, own)
        slots, steps = (x.at[own].get(mode="promise_in_bounds") for x in (later, step))
        start = (table, slots, jnp.zeros_like(own), there)
        table, _, given, _ = lax.while_loop(lambda few: jnp.any(few[3]), lambda few: turn(few, own, name, steps), start)
        back = jnp.where(there, own, n)
        return table, answers.at[back].set(given, mode="drop"), waiting.at[back].set(False, mode="drop")

    start = (table, slot, jnp.full(n, answer, jnp.int32), waiting)
    table, later, answers, waiting = turn(start, lax.iota(jnp.int32, n), names, step)
    table, answers, _ = lax.while_loop(lambda state: jnp.any(state[2]), go_on, (table, answers, waiting))
    return answers, table


def _first(flags: Bool[Array, " n"], room: int) -> tuple[Int32[Array, " room"], Bool[Array, " room"]]:
    """Return the places of the first flags that are set, in their order, and which of these places there are."""
    n, place = flags.shape[0], running_count(flags) - 1
    back = jnp.where(flags & (place < room), place, room)
    found = jnp.full(room, n, jnp.int32).at[back].set(lax.iota(jnp.int32, n), mode="drop")
    return jnp.minimum(found, n - 1), found < n


def _take(names: Names, at: Int32[Array, "*n"]) -> Names:
    return Names(*(word.at[at].get(mode="promise_in_bounds") for word in names))


def _same(a: Names, b: Names) -> Bool[Array, "*n"]:
    return (a.first == b.first) & (a.second == b.second)


def table_bits(n: int) -> int:
    """Return the binary logarithm of the size of a table that holds ``n`` different names with room to spare."""
    return max(int(1.25 * n), 8).bit_length()


def running_count(flags: Bool[Array, " n"], length: int = 32) -> Int32[Array, " n"]:
    """Return ``cumsum(flags)``, in short rows by a product with a triangle; XLA takes ``log n`` passes over the whole."""
    n = flags.shape[0]
    rows = jnp.pad(flags.astype(jnp.float32), (0, -n % length)).reshape(-1, length)
    within = jnp.matmul(rows, jnp.triu(jnp.ones((length, length)))).astype(jnp.int32)
    before = jnp.cumsum(within[:, -1]) - within[:, -1]
    return (within + before[:, None]).reshape(-1)[:n]
