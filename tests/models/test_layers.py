import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.layers import BatchNorm, Conv, ConvBNAct, ConvTranspose, SeparableConv

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 11, 6)), jnp.float32)


def shapes(variables):
    return jax.tree.map(lambda v: v.shape, variables)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Conv(4), (9, 11)),
        (Conv(4, 3, strides=2), (5, 6)),
        (Conv(4, 3, padding=0), (7, 9)),
        (Conv(4, 3, atrous_rate=4), (9, 11)),
        (Conv(4, 7, strides=2), (5, 6)),
        (Conv(6, 3, groups=6, use_bias=False), (9, 11)),
        (ConvTranspose(4), (18, 22)),
        (ConvTranspose(4, 4, 2, padding=1), (18, 22)),
    ],
)
def test_convolutions_pad_alike_on_both_sides_and_compute_in_their_dtype(layer, size, dtype):
    layer = layer.clone(dtype=dtype)
    y, variables = layer.init_with_output(KEY, X)
    assert y.shape == (2, *size, layer.features)
    assert y.dtype == dtype
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


def test_parameters_take_their_own_dtype():
    variables = Conv(4, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16).init(KEY, X)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}


def test_kernels_start_as_he_et_al_say():
    kernel = Conv(256, 3).init(KEY, jnp.zeros((1, 8, 8, 64)))["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    depthwise = Conv(512, 3, groups=512).init(KEY, jnp.zeros((1, 8, 8, 512)))["params"]["kernel"]
    assert float(depthwise.std()) == pytest.approx((2 / 9) ** 0.5, rel=0.05)


def test_batch_norm_keeps_the_given_share_of_its_statistics():
    norm = BatchNorm(momentum=0.75, epsilon=0.5)
    variables = norm.init(KEY, X, train=True)
    y, changed = norm.apply(variables, X, train=True, mutable=["batch_stats"])
    mean, variance = X.mean((0, 1, 2)), X.var((0, 1, 2))
    np.testing.assert_allclose(y, (X - mean[None, None, None]) / jnp.sqrt(variance + 0.5)[None, None, None], atol=1e-5)
    stats = changed["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.25 * mean, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * variance, atol=1e-5)
    np.testing.assert_allclose(norm.apply(variables, X, train=False), X / jnp.sqrt(1.5), atol=1e-5)


def test_momentum_and_epsilon_have_no_default():
    with pytest.raises(TypeError, match="momentum"):
        BatchNorm()
    with pytest.raises(TypeError, match="momentum"):
        ConvBNAct(4)


def test_a_separable_convolution_is_one_plain_convolution_of_rank_one_kernels():
    layer = SeparableConv(5, momentum=0.9, epsilon=0.0, atrous_rate=2, depthwise_activation=None, activation=None)
    variables = layer.init(KEY, X, train=True)
    assert shapes(variables["params"]) == {
        "depthwise": {"conv": {"kernel": (3, 3, 1, 6)}, "bn": {"norm": {"scale": (6,), "bias": (6,)}}},
        "pointwise": {"conv": {"kernel": (1, 1, 6, 5)}, "bn": {"norm": {"scale": (5,), "bias": (5,)}}},
    }
    depthwise, pointwise = (variables["params"][name]["conv"]["kernel"] for name in ("depthwise", "pointwise"))
    plain = jnp.einsum("ijc,co->ijco", depthwise[:, :, 0], pointwise[0, 0])
    want = Conv(5, atrous_rate=2, use_bias=False).apply({"params": {"kernel": plain}}, X)
    np.testing.assert_allclose(layer.apply(variables, X, train=False), want, atol=1e-5)


@pytest.mark.parametrize(("between", "last"), [(True, True), (True, False), (False, True), (False, False)])
def test_activations_of_a_separable_convolution_are_where_they_are_asked_for(between, last):
    relu = jax.nn.relu
    layer = SeparableConv(5, 0.9, 0.0, 3, 2, depthwise_activation=relu if between else None, activation=relu if last else None)
    variables = layer.init(KEY, X, train=False)
    middle = Conv(6, 3, strides=2, groups=6, use_bias=False).apply({"params": variables["params"]["depthwise"]["conv"]}, X)
    middle = relu(middle) if between else middle
    want = Conv(5, 1, use_bias=False).apply({"params": variables["params"]["pointwise"]["conv"]}, middle)
    want = relu(want) if last else want
    np.testing.assert_allclose(layer.apply(variables, X, train=False), want, atol=1e-5)
