import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import KEY, count, initialised

from jaxseg.errors import InputError
from jaxseg.models import DeepLabV2
from jaxseg.models.backbones import VGG16, ResNet
from jaxseg.models.deeplab_v2 import SummedASPP

SMALL = DeepLabV2(num_classes=3, backbone=ResNet(depth=18, output_stride=8, width=2), atrous_rates=(1, 2))
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(1, 37, 50, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (DeepLabV2(num_classes=21), 44_048_532),
        (
            DeepLabV2(num_classes=21, backbone=VGG16(output_stride=8, pool_window=3), fc_features=1024, scales=(1.0,)),
            37_877_652,
        ),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


@pytest.fixture(scope="module")
def variables():
    return jax.jit(lambda: SMALL.init({"params": KEY, "dropout": KEY}, IMAGE))()


def test_scales_share_parameters_and_each_pixel_takes_the_largest_score(variables):
    fused = jax.jit(SMALL.apply)(variables, IMAGE)
    alone = [jax.jit(SMALL.clone(scales=(scale,)).apply)(variables, IMAGE) for scale in SMALL.scales]
    np.testing.assert_allclose(fused, np.max(alone, axis=0), atol=1e-5)
    assert all(float(jnp.abs(x - fused).max()) > 1e-3 for x in alone)


def test_in_training_each_scale_has_a_loss(variables):
    def apply(model):
        mutable = ["auxiliary", "batch_stats"]
        return jax.eval_shape(lambda: model.apply(variables, IMAGE, train=True, mutable=mutable, rngs={"dropout": KEY}))[1]

    found = apply(SMALL)["auxiliary"]
    assert sorted(found) == ["scale_0_5", "scale_0_75", "scale_1"]
    assert all(logits.shape == (1, 37, 50, 3) for ((_, logits),) in found.values())
    assert "auxiliary" not in apply(SMALL.clone(scales=(1.0,)))


def test_branches_are_summed_classifiers_at_their_rates():
    head = SummedASPP(num_classes=2, atrous_rates=(2, 5))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 21, 21, 4)), jnp.float32)
    variables = head.init(KEY, x, train=False)
    gradient = jax.grad(lambda x: head.apply(variables, x, train=False)[0, 10, 10, 0])(x)
    assert set(np.flatnonzero(np.abs(gradient).sum((0, 2, 3)))) == {5, 8, 10, 12, 15}
    params = variables["params"]
    alone = sum(
        SummedASPP(num_classes=2, atrous_rates=(rate,)).apply({"params": {"classifier1": params[name]}}, x, train=False)
        for rate, name in ((2, "classifier1"), (5, "classifier2"))
    )
    np.testing.assert_allclose(head.apply(variables, x, train=False), alone, atol=1e-5)


def test_over_vgg_a_branch_is_fc6_fc7_fc8():
    params = initialised(DeepLabV2(num_classes=3, backbone=SMALL.backbone, fc_features=5, atrous_rates=(6, 12)))["params"]["aspp"]
    assert set(params) == {"fc1", "fc2", "classifier1", "classifier2"}
    assert params["classifier1"]["kernel"].shape == (1, 1, 5, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"atrous_rates": ()}, r"atrous_rates=\(\) leaves nothing to classify"),
        ({"atrous_rates": (0, 2)}, r"atrous_rates=\(0, 2\) must each be at least 1"),
        ({"scales": ()}, r"scales=\(\) must be at least one"),
        ({"scales": (0.0, 1.0)}, r"scales=\(0.0, 1.0\) must be at least one, each above 0"),
        ({"scales": (1.0, 1.0)}, "all different"),
    ],
)
def test_what_does_not_fit_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        initialised(SMALL.clone(**fields))


def test_rates_are_those_of_output_stride_8():
    def rates(output_stride):
        model = SMALL.clone(backbone=ResNet(depth=18, output_stride=output_stride, width=2), scales=(1.0,), atrous_rates=(6, 12))
        jaxpr = jax.make_jaxpr(lambda x: model.init_with_output({"params": KEY}, x)[0])(jnp.zeros((1, 33, 33, 3)))
        return [e.params["geometry"].rate[0] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"][-2:]

    assert (rates(8), rates(16)) == ([6, 12], [3, 6])
