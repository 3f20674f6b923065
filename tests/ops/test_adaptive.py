import chex
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxseg import ops
from jaxseg.errors import InputError


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(old=st.tuples(st.integers(1, 9), st.integers(1, 9)), new=st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_any_grid_matches_the_definition(old, new):
    x = draw(2, *old, 3)
    got = jax.jit(lambda x: ops.adaptive_avg_pool(x, new))(x)
    np.testing.assert_allclose(got, plain.adaptive_avg_pool(x, new), atol=1e-5)


def test_windows_overlap_where_the_grid_does_not_divide():
    x = jnp.zeros((1, 5, 6, 1)).at[0, 2, 0, 0].set(6.0)
    pooled = ops.adaptive_avg_pool(x, (2, 1))[0, :, 0, 0]
    np.testing.assert_allclose(pooled, [6 / 18, 6 / 18], atol=1e-6)


def test_special_grids():
    x = draw(2, 6, 6, 3)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, 1), x.mean((1, 2), keepdims=True), atol=1e-6)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, 6), x, atol=1e-6)
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, 3), x.reshape(2, 3, 2, 3, 2, 3).mean((2, 4)), atol=1e-6)


def test_gradient_mass_is_kept_and_numerically_right():
    x = draw(1, 7, 5, 2)
    gradient = jax.grad(lambda x: ops.adaptive_avg_pool(x, (3, 2)).sum())(x)
    np.testing.assert_allclose(gradient.sum(), 12, rtol=1e-5)
    chex.assert_numerical_grads(jax.jit(lambda x: jnp.sin(ops.adaptive_avg_pool(x, (3, 2))).mean()), (x,), order=1, atol=5e-3)


def test_bfloat16_is_averaged_in_float32():
    x = draw(1, 32, 32, 4, dtype=jnp.bfloat16) + jnp.bfloat16(8)
    got = ops.adaptive_avg_pool(x, 1)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got[0, 0, 0], x.astype(jnp.float32).mean((0, 1, 2)).astype(jnp.bfloat16))


def test_a_grid_has_at_least_one_window():
    with pytest.raises(InputError, match="size=0 is below 1: give an int or"):
        ops.adaptive_avg_pool(jnp.zeros((1, 3, 3, 1)), 0)
