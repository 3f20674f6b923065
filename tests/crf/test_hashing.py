"""The hash table against NumPy, so full that many names wait for more than one round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.crf import hashing
from jaxseg.crf.hashing import FREE, Names


@pytest.mark.parametrize("distinct", [30, 20_000], ids=["few", "many"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_owners_are_the_first_of_their_name(distinct, masked):
    rng = np.random.default_rng(0)
    of = rng.integers(0, distinct, 26_000)
    words = rng.integers(0, 2**32, (2, distinct), dtype=np.uint32)
    words[0, ::2] = words[0, 0]  # names that differ in one word alone
    inside = rng.random(of.size) < 0.7 if masked else np.ones(of.size, bool)
    names = Names(*(jnp.asarray(word[of]) for word in words))
    owner, table = jax.jit(hashing.insert)(names, jnp.asarray(inside) if masked else None)
    first = np.full(distinct, -1)
    first[of[inside][::-1]] = np.flatnonzero(inside)[::-1]
    np.testing.assert_array_equal(np.asarray(owner)[inside], first[of[inside]])
    held = np.asarray(table)
    np.testing.assert_array_equal(np.sort(held[held != FREE]), np.sort(first[first >= 0]))

    strangers = rng.integers(0, 2**32, (2, distinct), dtype=np.uint32)
    wanted = Names(*(jnp.asarray(np.concatenate(both)) for both in zip(words, strangers)))
    entry = np.asarray(jax.jit(hashing.look_up)(wanted, jnp.ones(2 * distinct, bool), names, table))
    np.testing.assert_array_equal(entry[:distinct], np.where(first < 0, FREE, first))
    assert (entry[distinct:] == FREE).all()
    assert (np.asarray(hashing.look_up(wanted, jnp.zeros(2 * distinct, bool), names, table)) == FREE).all()


@pytest.mark.parametrize("n", [1, 31, 32, 1000])
def test_counts(n):
    flags = np.random.default_rng(n).random(n) < 0.3
    np.testing.assert_array_equal(hashing.running_count(jnp.asarray(flags)), np.cumsum(flags))
