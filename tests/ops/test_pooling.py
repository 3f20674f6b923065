import chex
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxseg import ops
from jaxseg.errors import InputError


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def levels(*shape, seed=0):
    """Small whole numbers: full of ties."""
    return jnp.asarray(np.random.default_rng(seed).integers(-2, 3, shape), jnp.float32)


def two(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(window=two(1, 4), strides=two(1, 4), padding=two(0, 2), size=two(4, 9), ceil_mode=st.booleans(), tied=st.booleans())
def test_any_window_matches_the_definition(window, strides, padding, size, ceil_mode, tied):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, window))
    x = (levels if tied else draw)(2, *size, 2)
    options = {"window": window, "strides": strides, "padding": padding}
    values, indices = jax.jit(lambda x: ops.max_pool_with_argmax(x, ceil_mode=ceil_mode, **options))(x)
    want_values, want_indices = plain.max_pool(np.asarray(x), window, strides, padding, ceil_mode)
    np.testing.assert_array_equal(values, want_values)
    np.testing.assert_array_equal(indices, want_indices)
    other = draw(*values.shape, seed=1)
    want = plain.max_unpool(np.asarray(other), want_indices, size)
    for known in (options, {}):
        put = jax.jit(lambda v, i, known=known: ops.max_unpool(v, i, output_size=size, **known))
        np.testing.assert_array_equal(put(other, indices), want)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, with_pmap=True)
    @parameterized.parameters((2, 2, 0), (3, 2, 1))
    def test_is_the_same_however_it_is_run(self, window, strides, padding):
        x = levels(2, 7, 8, 3)
        run = self.variant(lambda x: ops.max_pool_with_argmax(x, window=window, strides=strides, padding=padding))
        values, indices = run(x)
        want = plain.max_pool(np.asarray(x), (window,) * 2, (strides,) * 2, (padding,) * 2, False)
        np.testing.assert_array_equal(values, want[0])
        np.testing.assert_array_equal(indices, want[1])
        assert indices.dtype == jnp.int32


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_unpooling_keeps_exactly_the_maxima_at_their_places(size):
    x = np.asarray(draw(2, *size, 3))

    @jax.jit
    def there_and_back(x):
        values, indices = ops.max_pool_with_argmax(x, window=2, ceil_mode=True)
        return values, ops.max_unpool(values, indices, output_size=size, window=2)

    values, back = jax.device_get(there_and_back(x))
    kept = back != 0
    np.testing.assert_array_equal(back[kept], x[kept])
    assert int(kept.sum()) == values.size
    np.testing.assert_array_equal(ops.max_pool(jnp.asarray(np.where(kept, x, -9)), window=2, ceil_mode=True), values)


@pytest.mark.parametrize(("window", "strides", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_the_gradient_goes_to_the_first_maximum(window, strides, padding):
    x = levels(2, 9, 8, 2)

    def pool(x):
        return ops.max_pool_with_argmax(x, window=window, strides=strides, padding=padding)

    values, indices = jax.device_get(jax.jit(pool)(x))
    g = draw(*values.shape, seed=1)
    (got,) = jax.jit(lambda x, g: jax.vjp(pool, x)[1]((g, np.zeros(indices.shape, jax.dtypes.float0))))(x, g)
    g = np.asarray(g)
    want = np.zeros((2, 72, 2))
    for n, y, z, c in np.ndindex(values.shape):
        want[n, indices[n, y, z, c], c] += g[n, y, z, c]
    np.testing.assert_allclose(got, want.reshape(x.shape), atol=1e-5)
    tangent = draw(*x.shape, seed=2)
    taken = jax.jit(lambda x, t: jax.jvp(lambda x: pool(x)[0], (x,), (t,))[1])(x, tangent)
    np.testing.assert_array_equal(
        taken,
        np.take_along_axis(np.asarray(tangent).reshape(2, 72, 2), np.asarray(indices).reshape(2, -1, 2), 1).reshape(taken.shape),
    )


def test_numerical_gradients_and_second_order():
    x = draw(1, 6, 6, 2)
    chex.assert_numerical_grads(jax.jit(lambda x: (ops.max_pool(x, window=2) ** 2).mean()), (x,), order=1, atol=5e-3)
    slope = jax.grad(lambda x: (ops.max_pool(x, window=2) ** 3).sum())
    curvature = jax.jit(lambda x: jax.jvp(slope, (x,), (jnp.ones_like(x),))[1])(x)
    values, indices = ops.max_pool_with_argmax(x, window=2)
    np.testing.assert_allclose(curvature, ops.max_unpool(6 * values, indices, output_size=(6, 6), window=2), atol=1e-4)


@pytest.mark.parametrize("window", [None, 2])
def test_the_gradient_of_unpooling_reads_the_places(window):
    values, indices = ops.max_pool_with_argmax(draw(2, 6, 8, 3), window=2)

    def put(v):
        return ops.max_unpool(v, indices, output_size=(6, 8), window=window)

    g = draw(2, 6, 8, 3, seed=1)
    (got,) = jax.jit(lambda v, g: jax.vjp(put, v)[1](g))(values, g)
    want = np.take_along_axis(np.asarray(g).reshape(2, 48, 3), np.asarray(indices).reshape(2, 12, 3), 1)
    np.testing.assert_array_equal(got, want.reshape(got.shape))
    np.testing.assert_array_equal(jax.jit(lambda v: jax.jvp(put, (v,), (v,))[1])(values), jax.jit(put)(values))


def test_nan_is_the_maximum_and_minus_infinity_has_a_place():
    x = jnp.full((1, 4, 4, 1), -jnp.inf).at[0, 0, 1, 0].set(jnp.nan)
    values, indices = ops.max_pool_with_argmax(x, window=3, strides=2, padding=1)
    assert np.isnan(values[0, 0]).all()
    np.testing.assert_array_equal(values[0, 1, :, 0], [-np.inf, -np.inf])
    np.testing.assert_array_equal(indices[0, :, :, 0], [[1, 1], [4, 5]])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_dtypes_stay(dtype):
    x = draw(1, 6, 6, 2, dtype=dtype)
    values, indices = ops.max_pool_with_argmax(x, window=2)
    back = ops.max_unpool(values, indices, output_size=(6, 6), window=2)
    assert values.dtype == back.dtype == dtype
    np.testing.assert_array_equal(values, plain.max_pool(np.asarray(x, np.float32), (2, 2), (2, 2), (0, 0), False)[0])


def test_vmap_of_pooling_and_its_gradient():
    x = draw(3, 1, 6, 6, 2)

    def both(x):
        return jax.vjp(lambda x: ops.max_pool(x, window=2), x)[1](jnp.ones((1, 3, 3, 2)))[0]

    one = jax.jit(both)
    np.testing.assert_array_equal(jax.jit(jax.vmap(both))(x), np.stack([one(v) for v in x]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.max_pool(x, window=2, padding=2), "padding=2 is more than half of window=2: pad at most 1"),
        (lambda x: ops.max_pool(x, window=9), "A plane of 6 rows or columns with padding=0 is smaller than window=9"),
        (lambda x: ops.max_unpool(x, x.astype(int), output_size=(12, 12), strides=2), "strides=2, padding=0 but no window"),
        (
            lambda x: ops.max_unpool(x, x.astype(int), output_size=(15, 12), window=2),
            r"A plane of \(15, 12\) pools to \[7, 8\] rows or columns with window=\(2, 2\).*but x has 6",
        ),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.zeros((1, 6, 6, 2)))
