import json
from functools import partial

import jax.numpy as jnp
import pytest

from jaxseg import describe, losses
from jaxseg.data.augment import RandomScale
from jaxseg.errors import InputError
from jaxseg.models import SETRNaive
from jaxseg.models.backbones import ViT

TREE = (
    SETRNaive(num_classes=3, backbone=ViT(width=32, depth=2, num_heads=2, feature_depths=(1, 2), dtype=jnp.bfloat16)),
    RandomScale(0.5, 2.0),
    losses.cross_entropy,
    partial(losses.dice, smooth=0.0),
    losses.weighted_sum((1.0, losses.cross_entropy), (0.5, partial(losses.dice))),
    (1, 2.5, "text", None, True),
)


def test_json_and_back_is_the_same_config():
    text = json.dumps(describe.to_json(TREE))
    back = describe.from_json(json.loads(text))
    assert json.dumps(describe.to_json(back)) == text
    assert back[0] == TREE[0].clone(backbone=TREE[0].backbone.clone(dtype=back[0].backbone.dtype))
    assert jnp.dtype(back[0].backbone.dtype) == jnp.dtype(jnp.bfloat16)
    assert back[1:3] == TREE[1:3]
    assert back[3].func is losses.dice
    assert back[3].keywords == {"smooth": 0.0}
    logits, labels = jnp.ones((1, 2, 2, 2)), jnp.zeros((1, 2, 2), int)
    assert back[4](logits, labels) == TREE[4](logits, labels)


def local(x):
    return x


@pytest.mark.parametrize("thing", [lambda x: x, partial(lambda x: x)])
def test_refuses_what_could_not_be_found_again(thing):
    with pytest.raises(InputError, match=r"config.loss names .*which evaluation could not find again"):
        describe.to_json(thing, "config.loss")


def test_refuses_values_that_are_no_config():
    with pytest.raises(InputError, match=r"config\.0 is a list"):
        describe.to_json(([1],))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"function": "os:system"}, "names os:system, and only objects of jaxseg, optax, jax, flax are built from it"),
        ({"partial": "subprocess:run", "args": []}, "add --trust subprocess"),
        ({"function": "jaxseg.workdirs:os.remove"}, "which is not that package's own"),
        ({"object": "jaxseg.losses:cross_entropy"}, "is no dataclass"),
        ({"function": "jaxseg.losses:gone"}, "which this version does not have"),
        ({"object": "jaxseg.models.unet:UNet", "wings": 2}, "another version of jaxseg.models.unet:UNet"),
    ],
)
def test_builds_nothing_untrusted_or_unknown(node, message):
    with pytest.raises(InputError) as error:
        describe.from_json(node)
    assert message in str(error.value)


def test_trusts_a_package_on_request():
    assert describe.from_json({"function": f"{__name__}:local"}, (*describe.TRUSTED, __name__.partition(".")[0])) is local


def test_differences_name_the_fields():
    old, new = describe.to_json(TREE[0]), describe.to_json(TREE[0].clone(num_classes=4, backbone=ViT(width=64, depth=2)))
    lines = describe.differences({"model": old}, {"model": new})
    assert "model.num_classes: 3 -> 4" in lines
    assert "model.backbone.width: 32 -> 64" in lines
    assert "model.backbone.dtype: bfloat16 -> float32" in lines
    assert "model.backbone.feature_depths.0: 1 -> absent" in lines
    assert not [line for line in lines if line.startswith("model.backbone.depth:")]
    assert describe.differences(old, old) == []
