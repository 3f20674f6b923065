"""Exact 64-bit counters for programs without 64-bit integers: pairs of uint32 words, added with carry."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, UInt32


class Wide(NamedTuple):
    """Integers in ``[0, 2^64)``, ``high * 2^32 + low``."""

    high: UInt32[Array, "*shape"]
    low: UInt32[Array, "*shape"]


def zeros(*shape: int) -> Wide:
    """Return counters that stand at zero."""
    return Wide(jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32))


def from_small(amounts: Integer[Array, "*shape"], shift: int = 0) -> Wide:
    """Return counters that stand at ``amounts * 2^shift``, for amounts in ``[0, 2^32)`` and shifts in ``[0, 32)``."""
    amounts = amounts.astype(jnp.uint32)
    high = jnp.zeros_like(amounts) if shift == 0 else amounts >> (32 - shift)
    return Wide(high, amounts << shift)


def add(a: Wide, b: Wide) -> Wide:
    """Return the sum of two counters."""
    low = a.low + b.low  # wraps around; it is then less than what was added to
    return Wide(a.high + b.high + (low < a.low).astype(jnp.uint32), low)


def total(counter: Wide, sum_words: Callable[[Array], Array]) -> Wide:
    """Return the sum of up to 65,536 counters, given how to sum words: along an axis, or over devices.

    The low words are summed as halves of 16 bits, whose sums fit in 32.
    """
    ones = sum_words(counter.low & 0xFFFF)
    upper = sum_words(counter.low >> 16) + (ones >> 16)
    return Wide(sum_words(counter.high) + (upper >> 16), (upper << 16) | (ones & 0xFFFF))


def to_numpy(counter: Wide) -> np.ndarray:
    """Return the counters as uint64, on the host."""
    high, low = jax.device_get(counter)
    return (np.asarray(high, np.uint64) << np.uint64(32)) | np.asarray(low, np.uint64)
