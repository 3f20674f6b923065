import json
from functools import partial

import jax.numpy as jnp
import pytest

from jaxseg import describe, losses
from jaxseg.config import load as load_config
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
        ({"function": "jaxseg.workdirs:os.remove"}, "of jaxseg only what cannot do harm is built from it"),
        ({"partial": "jax.numpy:load", "args": ["x.npy"], "allow_pickle": True}, "names jax.numpy:load, and of jax only what"),
        ({"partial": "jaxseg.config:load", "args": ["evil.py"]}, "names jaxseg.config:load, and of jaxseg only what"),
        (
            {"function": "flax.io:rmtree"},
            "names flax.io:rmtree, and of flax only what cannot do harm is built from it (flax.linen)",
        ),
        ({"object": "optax.losses:Thing"}, "of optax only what cannot do harm is built from it (nothing of this kind)"),
        ({"function": "jaxseg.ops.normalise:jnp.load"}, "names jaxseg.ops.normalise:jnp.load, which is not that package's own"),
        ({"function": "jaxseg.ops.resize:np.load"}, "which is not that package's own"),
        ({"function": "jaxseg.ops.normalise:dataclasses"}, "which is not that package's own"),
        ({"function": "jaxseg.losses:cross_entropy.__globals__"}, "which is not that package's own"),
        ({"function": "jaxseg.models:UNet.__class__"}, "which is not that package's own"),
        ({"function": "jaxseg.losses.__builtins__:eval"}, "which this version does not have"),
        ({"function": "jaxseg.losses:"}, "which this version does not have"),
        ({"partial": "jaxseg.losses:cross_entropy"}, "binds arguments to jaxseg.losses:cross_entropy in a way that cannot be"),
        ({"partial": "jaxseg.losses:__doc__", "args": []}, "which is not that package's own"),
        ({"dtype": "nonsense"}, "names the dtype 'nonsense'. It was not written by jaxseg"),
        ({"call": "jaxseg.losses:cross_entropy"}, "holds {'call': 'jaxseg.losses:cross_entropy'}. It was not written by jaxseg"),
        ({"object": ["jaxseg"]}, "It was not written by jaxseg"),
        ({}, "holds {}. It was not written by jaxseg"),
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
    assert describe.from_json({"function": f"{__name__}:local"}, (__name__.partition(".")[0],)) is local


def test_trust_of_a_package_is_not_of_what_it_imports():
    """Nor does --trust jaxseg make os its own."""
    with pytest.raises(InputError, match="which is not that package's own"):
        describe.from_json({"function": "jaxseg.workdirs:os.remove"}, ("jaxseg",))
    assert callable(describe.from_json({"function": "jax.numpy:tanh"}, ("jax",)))


def test_a_run_from_elsewhere_runs_nothing(tmp_path):
    """Every callable field of a real config, replaced by one that executes a file beside it."""
    from jaxseg.inference import load

    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'done')!r}, 'w')")
    config = describe.to_json(load_config("configs/unet.py"))
    for field in ("loss", "objective", "optimizer", "schedule", "normalise", "data", "model"):
        for path in (
            "jaxseg.config_files:import_config",
            "jaxseg.config:import_config",
            "runpy:run_path",
            "jaxseg.train:import_config",
        ):
            evil = {**config, field: {"partial": path, "args": [str(tmp_path / "evil.py")]}}
            (tmp_path / "config.json").write_text(json.dumps(evil))
            with pytest.raises(InputError, match=r"The run's config\.json names"):
                load(tmp_path)
    assert not (tmp_path / "done").exists()


def test_differences_name_the_fields():
    old, new = describe.to_json(TREE[0]), describe.to_json(TREE[0].clone(num_classes=4, backbone=ViT(width=64, depth=2)))
    lines = describe.differences({"model": old}, {"model": new})
    assert "model.num_classes: 3 -> 4" in lines
    assert "model.backbone.width: 32 -> 64" in lines
    assert "model.backbone.dtype: bfloat16 -> float32" in lines
    assert "model.backbone.feature_depths.0: 1 -> absent" in lines
    assert not [line for line in lines if line.startswith("model.backbone.depth:")]
    assert describe.differences(old, old) == []
