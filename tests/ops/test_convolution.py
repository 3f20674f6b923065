import chex
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxseg import ops
from jaxseg.errors import InputError


def draw(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def two(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    window=two(1, 4),
    strides=two(1, 3),
    rate=two(1, 3),
    sides=st.tuples(two(0, 3), two(0, 3)),
    more=two(0, 6),
    channels=st.sampled_from([(1, 1, 1), (3, 4, 1), (4, 6, 2), (3, 3, 3), (2, 6, 2)]),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
)
def test_any_geometry_and_dtype_matches_the_definition(window, strides, rate, sides, more, channels, dtype):
    c, o, groups = channels
    size = [max(r * (k - 1) + 1 - sum(p), 1) + m for k, r, p, m in zip(window, rate, sides, more)]
    x, kernel = draw(2, *size, c, dtype=dtype), draw(*window, c // groups, o, seed=1, dtype=dtype)
    got = ops.conv2d(x, kernel, strides=strides, padding=sides, atrous_rate=rate, groups=groups)
    want = plain.conv(x, kernel, strides, sides, rate, groups)
    assert got.dtype == dtype
    assert got.shape == want.shape
    tolerance = {jnp.float32: 1e-5, jnp.float16: 4e-3, jnp.bfloat16: 3e-2}[dtype]
    np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=tolerance * (1 + np.abs(want).max()))


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, with_pmap=True)
    @parameterized.parameters((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 4))
    def test_is_the_same_however_it_is_run(self, strides, rate, groups):
        x, kernel = draw(2, 9, 8, 4), draw(3, 3, 4 // groups, 4, seed=1)
        run = self.variant(lambda x, k: ops.conv2d(x, k, strides=strides, padding=rate, atrous_rate=rate, groups=groups))
        want = plain.conv(x, kernel, (strides,) * 2, ((rate, rate),) * 2, (rate,) * 2, groups)
        np.testing.assert_allclose(run(x, kernel), want, atol=1e-4)


@pytest.mark.parametrize(
    ("window", "options", "channels"),
    [
        (3, {"padding": 1}, (3, 4)),
        (3, {"strides": 2, "padding": 1}, (3, 4)),
        (3, {"atrous_rate": 2, "padding": 2}, (5, 3)),
        (3, {"atrous_rate": (2, 1), "strides": (1, 2), "padding": "SAME"}, (3, 4)),
        (1, {"strides": 2}, (3, 4)),
        (5, {"strides": 2, "padding": ((2, 1), (1, 2))}, (2, 2)),
        (3, {"groups": 4, "padding": 1}, (4, 8)),
        (3, {"groups": 4, "strides": 2, "padding": 1}, (4, 4)),
        (3, {"groups": 2, "padding": 1}, (4, 6)),
    ],
)
def test_gradients_of_second_order_in_both_modes(window, options, channels):
    c, o = channels
    x, kernel = draw(2, 8, 7, c), draw(window, window, c // options.get("groups", 1), o, seed=1)
    run = jax.jit(lambda x, k: ops.conv2d(x, k, **options))
    check_grads(run, (x, kernel), order=2, modes=("fwd", "rev"), atol=0.1, rtol=0.02, eps=0.03)
    chex.assert_numerical_grads(lambda k: jnp.sin(run(x, k)).mean(), (kernel,), order=1, atol=5e-3)


def test_a_hessian_vector_product_mixes_both_modes():
    x, kernel = draw(1, 6, 6, 2), draw(3, 3, 2, 2, seed=1)

    def loss(k):
        return (ops.conv2d(jax.nn.gelu(ops.conv2d(x, k, padding=1)), k, padding=1) ** 2).sum()

    forward_over_reverse = jax.jit(lambda k: jax.jvp(jax.grad(loss), (k,), (k,))[1])(kernel)
    reverse_over_reverse = jax.jit(jax.grad(lambda k: jnp.vdot(jax.grad(loss)(k), kernel)))(kernel)
    np.testing.assert_allclose(forward_over_reverse, reverse_over_reverse, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 1)])
@pytest.mark.parametrize("groups", [1, 3])
def test_vmap_of_values_and_gradients(axes, groups):
    shapes = (2, 6, 5, 3), (3, 3, 3 // groups, 3)
    args = [draw(*shape[: a or 0], *(() if a is None else (4,)), *shape[a or 0 :], seed=a or 7) for shape, a in zip(shapes, axes)]

    def run(x, k):
        return ops.conv2d(x, k, padding=1, groups=groups)

    @jax.jit
    def both(x, k):
        return (run(x, k), *jax.grad(lambda x, k: (run(x, k) ** 2).sum(), argnums=(0, 1))(x, k))

    got = jax.vmap(both, in_axes=axes)(*args)
    single = [both(*(arg if a is None else jnp.take(arg, n, a) for arg, a in zip(args, axes))) for n in range(4)]
    got, single = jax.device_get((got, single))
    chex.assert_trees_all_close(got, jax.tree.map(lambda *leaves: np.stack(leaves), *single), atol=1e-3)
    outer = jax.jit(jax.grad(lambda x, k: (jax.vmap(run, in_axes=axes)(x, k) ** 2).sum(), argnums=(0, 1)))(*args)
    for n, a in enumerate(axes):
        want = got[n + 1].sum(0) if a is None else np.moveaxis(got[n + 1], 0, a)
        np.testing.assert_allclose(outer[n], want, atol=1e-3)


def test_a_rate_is_a_kernel_with_holes():
    x, kernel = draw(1, 12, 12, 2), draw(3, 3, 2, 3, seed=1)
    holes = jnp.zeros((5, 5, 2, 3)).at[::2, ::2].set(kernel)
    got = ops.conv2d(x, kernel, atrous_rate=2, padding=2)
    np.testing.assert_allclose(got, ops.conv2d(x, holes, padding=2), atol=1e-5)
    np.testing.assert_array_equal(ops.conv2d(x, kernel, atrous_rate=1), ops.conv2d(x, kernel))


def test_shifting_the_image_shifts_the_result():
    x, kernel = draw(1, 20, 20, 2), draw(3, 3, 2, 3, seed=1)
    moved = jnp.roll(x, (2, 3), (1, 2))
    got, want = (ops.conv2d(v, kernel, padding=1) for v in (moved, x))
    np.testing.assert_allclose(got[:, 4:-4, 4:-4], jnp.roll(want, (2, 3), (1, 2))[:, 4:-4, 4:-4], atol=1e-5)


def test_same_is_tensorflows_and_valid_is_none():
    x, kernel = draw(1, 8, 8, 1), draw(3, 3, 1, 1, seed=1)
    same = ops.conv2d(x, kernel, strides=2, padding="SAME")
    np.testing.assert_allclose(same, ops.conv2d(x, kernel, strides=2, padding=((0, 1), (0, 1))), atol=1e-6)
    assert not np.allclose(same, ops.conv2d(x, kernel, strides=2, padding=1), atol=1e-2)
    assert ops.conv2d(x, kernel, padding="VALID").shape == (1, 6, 6, 1)


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 3, 4), {}, "An image of 4 channels, a kernel of 3 -> 4 channels and groups=1 do not fit"),
        ((3, 3, 2, 5), {"groups": 2}, "groups must divide 4 and 5"),
        ((3, 3, 4, 4), {"strides": 0}, r"strides=0 is below 1: give an int or \(rows, columns\)"),
        ((3, 3, 4, 4), {"padding": "FULL"}, "padding='FULL' is not known: give 'SAME', 'VALID'"),
        ((3, 3, 4, 4), {"padding": -1}, "padding=-1 is negative: pad by 0 or more"),
        ((9, 3, 4, 4), {"padding": (0, 1)}, "A kernel that spans 9 x 3 pixels does not fit in a padded image of 6 x 8"),
        ((3, 3, 4, 4), {"atrous_rate": 3}, "A kernel that spans 7 x 7 pixels does not fit in a padded image of 6 x 6"),
    ],
)
def test_what_does_not_fit_is_said(kernel, options, message):
    with pytest.raises(InputError, match=message):
        ops.conv2d(jnp.zeros((1, 6, 6, 4)), jnp.zeros(kernel), **options)


def test_dtypes_are_not_mixed_silently():
    with pytest.raises(InputError, match="x is bfloat16 and the kernel float32: cast one of them"):
        ops.conv2d(jnp.zeros((1, 6, 6, 4), jnp.bfloat16), jnp.zeros((3, 3, 4, 4)))
