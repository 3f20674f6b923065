import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models import FCN, UPerNet
from jaxseg.models.backbones import ResNet, Swin, ViT

KEY = jax.random.key(0)
SMALL = Swin(width=8, depths=(1, 1, 1, 1), num_heads=(2, 2, 4, 4), window=3, patch_size=2, drop_path=0.0)


def parameters(model, size=(64, 64)):
    image = jnp.zeros((1, *size, 3))
    return jax.eval_shape(lambda: model.init({"params": KEY, "dropout": KEY}, image, train=True))["params"]


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("size", "classes", "expected"),
    [("T", 150, 59_941_862), ("S", 150, 81_259_766), ("B", 150, 121_279_716), ("L", 150, 233_759_936), ("T", 21, 59_842_532)],
)
def test_counts_are_the_published(size, classes, expected):
    """60, 81 and 121 M on ADE20K, auxiliary head included; with 21 classes mmsegmentation's exact count."""
    assert count(parameters(UPerNet(num_classes=classes, backbone=Swin.of_size(size)))) == expected


def test_the_pyramid_is_fused_at_the_finest_stride():
    model = UPerNet(num_classes=3, backbone=SMALL, features=6)
    params = parameters(model)
    smooth = ["smooth1", "smooth2", "smooth3"]
    laterals = ["lateral1", "lateral2", "lateral3"]
    assert sorted(params) == sorted(
        ["auxiliary_head", "backbone", "classifier", "fuse", "pooled", "pyramid_pooling", *laterals, *smooth]
    )
    assert params["fuse"]["conv"]["kernel"].shape == (3, 3, 24, 6)
    assert params["pooled"]["conv"]["kernel"].shape == (3, 3, 64 + 4 * 6, 6)
    assert params["auxiliary_head"]["hidden"]["conv"]["kernel"].shape == (3, 3, 32, 256)


def test_every_map_reaches_the_logits():
    model = UPerNet(num_classes=3, backbone=SMALL, features=6)
    image = jax.random.normal(KEY, (1, 16, 24, 3))
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, KEY, image)
    variables = jax.tree.map(lambda x: jnp.asarray(np.abs(draw.normal(size=x.shape)), jnp.float32), shapes)
    apply = jax.jit(model.apply)
    logits = apply(variables, image)
    for stage in (1, 2, 3, 4):
        changed = jax.tree.map(lambda x: x, variables)
        changed["params"]["backbone"][f"norm{stage}"]["bias"] += 1.0
        assert not np.allclose(logits, apply(changed, image)), stage


@pytest.mark.parametrize(
    "backbone",
    [ResNet(depth=18, width=4), ViT(patch_size=4, width=8, depth=4, num_heads=2, hidden=8, feature_depths=(1, 2, 3, 4))],
)
def test_takes_other_backbones(backbone):
    model = UPerNet(num_classes=3, backbone=backbone, features=4, bins=(1, 2))
    image = jnp.zeros((2, 33, 40, 3))
    logits = jax.eval_shape(lambda: model.init_with_output(KEY, image))[0]
    assert logits.shape == (2, 33, 40, 3)


def test_fcn_takes_swin():
    params = parameters(FCN(num_classes=3, backbone=SMALL))
    assert params["head"]["hidden"]["conv"]["kernel"].shape == (3, 3, 64, 16)
    assert params["auxiliary_head"]["hidden"]["conv"]["kernel"].shape == (3, 3, 32, 8)


def test_needs_several_maps():
    vit = ViT(patch_size=4, width=8, depth=1, num_heads=2, hidden=8)
    with pytest.raises(InputError, match=r"UPerNet builds a pyramid of several maps, and the backbone has strides \(4,\)"):
        parameters(UPerNet(num_classes=3, backbone=vit))
