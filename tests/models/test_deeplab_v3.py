import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import KEY, count, initialised

from jaxseg.errors import InputError
from jaxseg.models import DeepLabV3
from jaxseg.models.backbones import ResNet, ViT
from jaxseg.models.deeplab_v3 import ASPP
from jaxseg.models.grid import rates_at

TORCHVISION = {"dropout": 0.5, "hidden_convolution": True, "auxiliary_weight": 0.5, "align_corners": False}
SMALL = DeepLabV3(num_classes=3, backbone=ResNet(depth=18, width=2), features=4)


def resnet(depth, output_stride, **fields):
    return ResNet(depth=depth, output_stride=output_stride, **fields)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (DeepLabV3(num_classes=21, backbone=resnet(50, 16)), 39_048_533),
        (DeepLabV3(num_classes=21), 58_040_661),
        # torchvision.models.segmentation's deeplabv3_resnet50 and deeplabv3_resnet101.
        (DeepLabV3(num_classes=21, backbone=resnet(50, 8), **TORCHVISION), 42_004_074),
        (DeepLabV3(num_classes=21, backbone=resnet(101, 8), **TORCHVISION), 60_996_202),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


def test_the_cascade_ends_in_block7_and_a_classifier():
    backbone = resnet(101, 16, multi_grid=(1, 2, 1), extra_stages=3)
    params = initialised(DeepLabV3(num_classes=21, backbone=backbone, aspp=False))["params"]
    assert set(params) == {"backbone", "classifier"}
    assert params["classifier"]["kernel"].shape == (1, 1, 2048, 21)
    assert sum(name.startswith("stage7") for name in params["backbone"]) == 3
    stage4, stage7 = (params["backbone"][f"stage{n}_block2"] for n in (4, 7))
    assert jax.tree.map(jnp.shape, stage4) == jax.tree.map(jnp.shape, stage7)


def seen(image_pooling, rates=(12, 24, 36)):
    """Rows of the map that the middle one of the head's map sees, with positive kernels."""
    head = ASPP(rates, features=2, image_pooling=image_pooling)
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (1, 81, 81, 2)), jnp.float32)
    variables = head.init(KEY, x, train=False)
    params = jax.tree.map(lambda p: jnp.abs(p) if p.ndim == 4 else p, variables["params"])
    gradient = jax.grad(lambda x: head.apply({**variables, "params": params}, x, train=False)[0, 40, 40, 0])(x)
    return set(np.flatnonzero(np.abs(gradient).sum((0, 2, 3))))


def test_the_pyramid_sees_its_rates_and_with_image_pooling_everything():
    assert seen(image_pooling=False) == {40, 28, 52, 16, 64, 4, 76}
    assert seen(image_pooling=True) == set(range(81))


@pytest.mark.parametrize(("output_stride", "rates"), [(8, {1, 12, 24, 36}), (16, {1, 6, 12, 18}), (32, {1, 3, 6, 9})])
def test_rates_follow_the_output_stride(output_stride, rates):
    model = SMALL.clone(backbone=resnet(18, output_stride, width=2))
    jaxpr = jax.make_jaxpr(lambda x: model.init_with_output({"params": KEY}, x)[0])(jnp.zeros((1, 33, 33, 3)))
    geometries = [e.params["geometry"] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"]
    head = geometries[-6:-2]  # before them the backbone, after them the projection and the classifier; image pooling is 1x1
    assert {g.rate[0] for g in head} | {1} == rates


def test_rates_that_cannot_be_halved_are_refused():
    assert rates_at((6, 12, 18), 8, given_at=16) == (12, 24, 36)
    message = r"atrous_rates=\(3, 6\) are those of output stride 16, and scaled by 16/32 they are not whole: give multiples of 2"
    with pytest.raises(InputError, match=message):
        rates_at((3, 6), 32, given_at=16)


@pytest.mark.parametrize(
    ("fields", "agree"),
    [
        ({"backbone": {"multi_grid": (1, 2)}, "image_pooling": False}, True),
        ({"backbone": {"multi_grid": (1, 2), "extra_stages": 3}, "aspp": False}, True),
        ({"backbone": {"multi_grid": (1, 2)}, "image_pooling": True}, False),
    ],
)
def test_logits_at_output_stride_16_are_those_at_8_where_both_have_a_feature(fields, agree):
    """The same parameters. The average of the whole map alone is another one."""
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 65, 65, 3)), jnp.float32)
    options = {key: value for key, value in fields.items() if key != "backbone"}
    coarse, fine = (SMALL.clone(backbone=resnet(18, stride, width=2, **fields["backbone"]), **options) for stride in (16, 8))
    variables = jax.jit(lambda: coarse.init({"params": KEY}, image))()
    assert jax.tree.map(jnp.shape, dict(variables)) == jax.tree.map(jnp.shape, dict(initialised(fine, image.shape)))
    a, b = (np.asarray(jax.jit(model.apply)(variables, image))[:, ::16, ::16] for model in (coarse, fine))
    difference = np.abs(a - b).max() / np.abs(a).max()
    assert difference < 1e-4 if agree else difference > 1e-2


def test_an_auxiliary_head_needs_a_map_before_the_last():
    vit = ViT(patch_size=8, width=8, depth=1, num_heads=1, hidden=8, image_size=(32, 32))
    with pytest.raises(InputError, match="map before the last, and there is but one: set auxiliary_weight=0"):
        initialised(SMALL.clone(backbone=vit, auxiliary_weight=0.4))
    assert initialised(SMALL.clone(backbone=vit))["params"]["aspp"]


def test_there_is_no_auxiliary_head_unless_asked_for():
    assert "auxiliary_head" not in initialised(SMALL)["params"]
    assert "auxiliary_head" in initialised(SMALL.clone(auxiliary_weight=0.4))["params"]
