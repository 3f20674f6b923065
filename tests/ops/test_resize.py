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

WAYS = [("bilinear", False), ("bilinear", True), ("nearest", False)]


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def two(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(old=two(1, 9), new=two(1, 12), way=st.sampled_from(WAYS))
def test_any_size_and_its_gradient_match_the_definition(old, new, way):
    method, align_corners = way
    x = draw(2, *old, 3)

    def run(x):
        return ops.resize(x, new, method=method, align_corners=align_corners)

    @jax.jit
    def everything(x, g):
        got, pull = jax.vjp(run, x)
        return got, pull(g)[0], jax.jvp(run, (x,), (x,))[1]

    g = draw(2, *new, 3, seed=1)
    got, back, forward = jax.device_get(everything(x, g))
    np.testing.assert_allclose(got, plain.resize(x, new, method, align_corners), atol=1e-5)
    np.testing.assert_allclose(np.vdot(back, x), np.vdot(g, got), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(forward, got, atol=1e-5)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, with_pmap=True)
    @parameterized.parameters(*WAYS)
    def test_is_the_same_however_it_is_run(self, method, align_corners):
        x = draw(2, 4, 5, 3)
        run = self.variant(lambda x: ops.resize(x, (7, 10), method=method, align_corners=align_corners))
        np.testing.assert_allclose(run(x), plain.resize(x, (7, 10), method, align_corners), atol=1e-5)


@pytest.mark.parametrize(("method", "align_corners"), WAYS)
def test_the_same_size_is_the_identity(method, align_corners):
    x = draw(1, 5, 6, 2)
    np.testing.assert_array_equal(ops.resize(x, (5, 6), method=method, align_corners=align_corners), x)


def test_what_each_convention_fixes():
    x = draw(1, 4, 5, 1)
    corners = ops.resize(x, (9, 13), align_corners=True)
    np.testing.assert_allclose(corners[:, ::8, ::12], x[:, ::3, ::4], atol=1e-6)
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, :, None, None], (1, 8, 2, 1))
    centres = ops.resize(ramp, (16, 2))[0, :, 0, 0]
    np.testing.assert_allclose(centres[1:-1], (np.arange(16) / 2 - 0.25)[1:-1], atol=1e-6)


def test_constants_stay_and_nothing_overshoots():
    assert (ops.resize(jnp.full((1, 3, 3, 1), 2.5), (7, 8)) == 2.5).all()
    x = draw(1, 6, 6, 2)
    up = ops.resize(x, (17, 23))
    assert x.min() <= up.min()
    assert up.max() <= x.max()


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_bfloat16_is_interpolated_in_float32(method):
    x = draw(1, 6, 6, 2, dtype=jnp.bfloat16)
    got, pull = jax.vjp(lambda x: ops.resize(x, (15, 11), method=method), x)
    want, pull_wide = jax.vjp(lambda x: ops.resize(x, (15, 11), method=method), x.astype(jnp.float32))
    np.testing.assert_array_equal(got, want.astype(jnp.bfloat16))
    g = draw(*got.shape, seed=1, dtype=jnp.bfloat16)
    (dx,), (wide,) = pull(g), pull_wide(g.astype(jnp.float32))
    assert dx.dtype == jnp.bfloat16
    np.testing.assert_allclose(dx.astype(jnp.float32), wide, rtol=0.01, atol=0.01)


def test_numerical_gradient_and_vmap():
    x = draw(1, 3, 4, 2)
    chex.assert_numerical_grads(jax.jit(lambda x: jnp.sin(ops.resize(x, (5, 7))).mean()), (x,), order=1, atol=5e-3)
    many = draw(3, 1, 3, 4, 2)

    def one(x):
        return jax.grad(lambda x: (ops.resize(x, (5, 7)) ** 2).sum())(x)

    alone = jax.jit(one)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(many), np.stack([alone(v) for v in many]), atol=1e-4)


def test_no_scatter_in_the_gradient():
    text = jax.jit(jax.grad(lambda x: ops.resize(x, (16, 16)).sum())).lower(draw(1, 4, 4, 2)).as_text()
    assert "scatter" not in text
    assert "dot_general" in text


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((4, 4), {"method": "nearest", "align_corners": True}, "align_corners=True has no meaning for method='nearest'"),
        ((0, 4), {}, r"size=\(0, 4\) is below 1"),
    ],
)
def test_what_does_not_fit_is_said(size, options, message):
    with pytest.raises(InputError, match=message):
        ops.resize(jnp.zeros((1, 3, 3, 1)), size, **options)


def test_unknown_methods_are_refused():
    with pytest.raises((InputError, TypeError), match=r"bicubic|method"):
        ops.resize(jnp.zeros((1, 3, 3, 1)), (4, 4), method="bicubic")
