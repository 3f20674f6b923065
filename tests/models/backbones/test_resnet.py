import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.backbones import ResNet

KEY = jax.random.key(0)


def initialised(model, shape=(1, 64, 64, 3)):
    return jax.eval_shape(lambda: model.init(KEY, jnp.zeros(shape)))


@pytest.mark.parametrize(
    ("depth", "parameters"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808)]
)
def test_has_torchvisions_parameters(depth, parameters):
    """Those of torchvision's networks less their classifier of 513,000 or 2,049,000."""
    variables = initialised(ResNet(depth=depth))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_have_the_strides_they_say(output_stride):
    model = ResNet(depth=18, output_stride=output_stride, width=4)
    image = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    found = jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], image)
    assert [x.shape[1:3] for x in found] == [(-(-65 // s), -(-97 // s)) for s in model.strides]
    assert model.strides[-1] == output_stride


@pytest.mark.parametrize(("depth", "stride_in_1x1"), [(18, False), (50, False), (50, True)])
def test_an_atrous_network_is_the_strided_one_computed_everywhere(depth, stride_in_1x1):
    """Same parameters: where the strided network has a pixel, the atrous one has the same value."""
    model = ResNet(depth=depth, width=2, stride_in_1x1=stride_in_1x1)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 65, 65, 3)), jnp.float32)
    variables = jax.jit(model.init)(KEY, image)
    coarse = jax.jit(model.apply)(variables, image)
    fine = jax.jit(model.clone(output_stride=8).apply)(variables, image)
    for small, large, stride in zip(coarse, fine, model.strides):
        step = max(stride // 8, 1)
        np.testing.assert_allclose(small, large[:, ::step, ::step], atol=1e-4 * float(jnp.abs(small).max()))


def rates(model):
    jaxpr = jax.make_jaxpr(lambda x: model.init_with_output(KEY, x)[0])(jnp.zeros((1, 64, 64, 3)))
    geometries = [e.params["geometry"] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"]
    return [g.rate[0] for g in geometries if g.window == (3, 3)]


def test_rates_follow_from_the_output_stride():
    assert rates(ResNet(depth=50, width=1)) == [1] * 16
    assert rates(ResNet(depth=50, width=1, output_stride=16)) == [1] * 14 + [2, 2]
    assert rates(ResNet(depth=50, width=1, output_stride=8)) == [1] * 8 + [2] * 5 + [2, 4, 4]
    assert rates(ResNet(depth=50, width=1, output_stride=8, first_block_keeps_rate=False)) == [1] * 7 + [2] * 6 + [4] * 3
    assert rates(ResNet(depth=50, width=1, output_stride=16, multi_grid=(1, 2, 4))) == [1] * 13 + [2, 4, 8]
    cascade = ResNet(depth=50, width=1, output_stride=16, multi_grid=(1, 2, 1), extra_stages=3)
    assert rates(cascade) == [1] * 13 + [2, 4, 2, 4, 8, 4, 8, 16, 8, 16, 32, 16]


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_a_bottleneck_strides_where_it_is_told(stride_in_1x1):
    model = ResNet(depth=50, width=1, stride_in_1x1=stride_in_1x1)
    jaxpr = jax.make_jaxpr(lambda x: model.init_with_output(KEY, x)[0])(jnp.zeros((1, 64, 64, 3)))
    geometries = [e.params["geometry"] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"]
    strided = [g.window[0] for g in geometries if g.strides == (2, 2)]
    inside = 1 if stride_in_1x1 else 3
    assert sorted(strided) == sorted([7, *(inside, 1) * 3])


def test_fewer_stages_are_the_first_ones():
    whole, half = ResNet(18, width=4), ResNet(18, width=4, stages=2)
    variables = whole.init(KEY, jnp.zeros((1, 32, 32, 3)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 33, 40, 3)), jnp.float32)
    assert half.strides == (2, 4, 8)
    for got, want in zip(half.apply(variables, x), whole.apply(variables, x)[:3], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth=20: ResNet has the depths 18, 34, 50, 101, 152"),
        ({"extra_stages": -1}, "extra_stages=-1 must be at least 0"),
        ({"output_stride": 4}, "output_stride=4: ResNet takes 8, 16 and 32"),
        ({"stem_features": (32, 32, 64)}, r"stem_features=\(32, 32, 64\) are those of a deep stem: give deep_stem=True too"),
        ({"stages": 5}, "stages=5: ResNet has 1 to 4; extra_stages and multi_grid are about the fourth, and need it"),
        ({"stages": 2, "extra_stages": 1}, "stages=2: ResNet has 1 to 4"),
        ({"depth": 18, "multi_grid": (1, 2, 4)}, "gives 3 rates, but the last stage of ResNet-18 has 2 blocks"),
    ],
)
def test_what_does_not_fit_is_said(options, message):
    with pytest.raises(InputError, match=message):
        initialised(ResNet(**options))
