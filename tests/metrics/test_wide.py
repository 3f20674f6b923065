import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.metrics import wide

RNG = np.random.default_rng(0)


def wide_of(values):
    values = np.asarray(values, np.uint64)
    return wide.Wide(jnp.asarray(values >> np.uint64(32), jnp.uint32), jnp.asarray(values & np.uint64(0xFFFFFFFF), jnp.uint32))


def test_addition_carries():
    a, b = (RNG.integers(0, 2**63, 1000, dtype=np.uint64) for _ in range(2))
    np.testing.assert_array_equal(wide.to_numpy(wide.add(wide_of(a), wide_of(b))), a + b)
    np.testing.assert_array_equal(wide.to_numpy(wide.add(wide_of([2**32 - 1, 0]), wide_of([1, 2**32 - 1]))), [2**32, 2**32 - 1])


def test_totals_carry_through_every_half_word():
    values = RNG.integers(0, 2**50, (3000, 4), dtype=np.uint64)
    values[:, 0] = 2**32 - 1
    total = wide.total(wide_of(values), lambda words: jnp.sum(words, 0, dtype=jnp.uint32))
    np.testing.assert_array_equal(wide.to_numpy(total), values.sum(0))


@pytest.mark.parametrize("shift", [0, 8, 31])
def test_small_amounts_shifted(shift):
    amounts = np.array([0, 1, 255, 2**31, 2**32 - 1], np.uint64)
    np.testing.assert_array_equal(
        wide.to_numpy(wide.from_small(jnp.asarray(amounts, jnp.uint32), shift)), amounts << np.uint64(shift)
    )
