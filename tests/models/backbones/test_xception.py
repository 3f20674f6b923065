import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.backbones import Xception65

KEY = jax.random.key(0)


def geometries(model):
    jaxpr = jax.make_jaxpr(lambda x: model.init_with_output(KEY, x)[0])(jnp.zeros((1, 65, 65, 3)))
    return [e.params["geometry"] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"]


def test_has_the_parameters_of_the_authors():
    """37,867,312: with the pyramid and the decoder, 41.06 M, of which they publish the multiply-adds."""
    variables = jax.eval_shape(lambda: Xception65().init(KEY, jnp.zeros((1, 65, 65, 3))))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 37_867_312


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_have_the_strides_they_say(output_stride):
    model = Xception65(output_stride=output_stride, middle_blocks=1)
    image = jax.ShapeDtypeStruct((1, 65, 97, 3), jnp.float32)
    found = jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], image)
    assert [x.shape[1:3] for x in found] == [(-(-65 // s), -(-97 // s)) for s in model.strides]
    assert [x.shape[3] for x in found] == [128, 256, 728, 1024, 2048]
    assert model.strides[1] == 4
    assert model.strides[-1] == output_stride


def test_an_atrous_network_is_the_strided_one_computed_everywhere():
    model = Xception65(output_stride=32, width=4, middle_blocks=2)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 65, 65, 3)), jnp.float32)
    variables = jax.jit(model.init)(KEY, image)
    coarse = jax.jit(model.apply)(variables, image)[-1]
    for output_stride in (16, 8):
        step = 32 // output_stride
        fine = jax.jit(model.clone(output_stride=output_stride).apply)(variables, image)[-1]
        np.testing.assert_allclose(coarse, fine[:, ::step, ::step], atol=1e-4 * float(jnp.abs(coarse).max()))


def test_rates_follow_from_the_output_stride():
    def rates(output_stride):
        found = geometries(Xception65(output_stride=output_stride, width=4, middle_blocks=2))
        return [g.rate[0] for g in found if g.groups > 1]

    assert rates(32) == [1] * 21
    assert rates(16) == [1] * 18 + [2] * 3
    assert rates(8) == [1] * 9 + [2] * 9 + [4] * 3


def test_the_last_of_three_convolutions_strides():
    depthwise = [g.strides[0] for g in geometries(Xception65(output_stride=32, width=4, middle_blocks=1)) if g.groups > 1]
    assert depthwise == [1, 1, 2] * 3 + [1, 1, 1] + [1, 1, 2] + [1, 1, 1]


def test_relu_is_before_the_separable_convolutions_and_inside_them_in_the_last_block():
    model = Xception65(width=4, middle_blocks=1)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 33, 33, 3)), jnp.float32)
    found = jax.jit(model.apply)(jax.jit(model.init)(KEY, image), image)
    assert all(bool((x < 0).any()) for x in found[:-1])
    assert bool((found[-1] >= 0).all())


def test_refuses_another_output_stride():
    with pytest.raises(InputError, match="output_stride=4: Xception65 takes 8, 16 and 32"):
        geometries(Xception65(output_stride=4))
