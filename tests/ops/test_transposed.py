import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxseg import ops
from jaxseg.errors import InputError


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def two(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(window=two(1, 6), strides=two(1, 4), size=two(2, 5), padding=two(0, 2), extra=two(0, 3))
def test_any_geometry_matches_the_definition(window, strides, size, padding, extra):
    extra = tuple(min(e, s - 1) for e, s in zip(extra, strides))
    padding = tuple(min(p, (k - 1) // 2) for p, k in zip(padding, window))
    x, kernel = draw(2, *size, 3), draw(*window, 3, 2, seed=1)
    got = ops.conv_transpose2d(x, kernel, strides=strides, padding=padding, output_padding=extra)
    np.testing.assert_allclose(got, plain.conv_transpose(x, kernel, strides, padding, extra), atol=1e-4)


@pytest.mark.parametrize(
    ("k", "s", "p", "e"), [(2, 2, 0, 0), (4, 2, 1, 0), (16, 8, 4, 0), (64, 32, 16, 0), (3, 1, 1, 0), (3, 2, 1, 1)]
)
def test_is_the_adjoint_of_the_convolution(k, s, p, e):
    y, kernel = draw(1, 5, 4, 3), draw(k, k, 3, 2, seed=1)
    up = ops.conv_transpose2d(y, kernel, strides=s, padding=p, output_padding=e)
    assert up.shape == (1, *((n - 1) * s - 2 * p + k + e for n in (5, 4)), 2)
    x = draw(*up.shape, seed=2)
    down = ops.conv2d(x, kernel.swapaxes(2, 3), strides=s, padding=p)
    np.testing.assert_allclose(jnp.vdot(up, x), jnp.vdot(y, down), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (4, 2, 1), (3, 1, 1), (3, 2, 1)])
def test_gradients_of_second_order_in_both_modes(k, s, p):
    run = jax.jit(lambda x, k: ops.conv_transpose2d(x, k, strides=s, padding=p))
    check_grads(run, (draw(1, 3, 4, 2), draw(k, k, 2, 3, seed=1)), order=2, modes=("fwd", "rev"), atol=0.1, rtol=0.02, eps=0.03)


def test_bfloat16_is_summed_in_float32():
    x, kernel = draw(1, 6, 6, 64, dtype=jnp.bfloat16), draw(4, 4, 64, 8, seed=1, dtype=jnp.bfloat16)
    got = ops.conv_transpose2d(x, kernel, strides=2, padding=1)
    want = plain.conv_transpose(x, kernel, (2, 2), (1, 1), (0, 0))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0.01, atol=0.01 * np.abs(want).max())


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_bilinear_kernel_upsamples_like_resize(factor):
    x = draw(1, 6, 5, 3)
    kernel = ops.bilinear_kernel(2 * factor - factor % 2, 3)
    up = ops.conv_transpose2d(x, kernel, strides=factor, padding=(factor - factor % 2) // 2)
    want = ops.resize(x, (6 * factor, 5 * factor))
    # At the edges the transposed convolution fades to zero where resizing repeats the border.
    inner = (slice(None), slice(factor, -factor), slice(factor, -factor))
    assert up.shape == want.shape
    np.testing.assert_allclose(up[inner], want[inner], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": 2, "output_padding": 2}, r"output_padding=\(2, 2\) must be below strides=\(2, 2\)"),
        ({"strides": 1, "padding": 4}, r"padding=\(4, 4\) cuts a result of -2 x -2: take less padding or a larger kernel"),
        ({"strides": (0, 1)}, r"strides=\(0, 1\) is below 1"),
    ],
)
def test_what_does_not_fit_is_said(options, message):
    with pytest.raises(InputError, match=message):
        ops.conv_transpose2d(jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 2, 2)), **options)


def test_channels_and_dtypes_must_fit():
    with pytest.raises(InputError, match="x is float32 and the kernel bfloat16: cast one of them"):
        ops.conv_transpose2d(jnp.zeros((1, 4, 4, 2)), jnp.zeros((2, 2, 2, 2), jnp.bfloat16), strides=2)
    with pytest.raises((InputError, TypeError), match=r"channels|kernel"):
        ops.conv_transpose2d(jnp.zeros((1, 4, 4, 2)), jnp.zeros((2, 2, 3, 2)), strides=2)
