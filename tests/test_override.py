import dataclasses
from functools import partial

import jax.numpy as jnp
import pytest

from jaxseg import losses, schedules
from jaxseg.data.augment import RandomFlip, RandomScale
from jaxseg.errors import InputError
from jaxseg.models import SETRNaive, UNet
from jaxseg.models.backbones import ViT
from jaxseg.override import children, override


@dataclasses.dataclass(frozen=True)
class Run:
    model: object
    loss: object = losses.cross_entropy
    schedule: object = partial(schedules.poly, learning_rate=0.1)
    augment: tuple = (RandomFlip(), RandomScale(0.5, 2.0))
    steps: int = 10
    ema: float | None = None
    size: tuple[int, int] | None = None
    root: str = "data"
    fast: bool = False


RUN = Run(SETRNaive(num_classes=3, backbone=ViT(width=32, depth=2, num_heads=2)))


@pytest.mark.parametrize(
    ("assignment", "read", "expected"),
    [
        ("steps=20", lambda r: r.steps, 20),
        ("model.backbone.depth=3", lambda r: r.model.backbone.depth, 3),
        ("model.backbone.feature_depths=[1, 2]", lambda r: r.model.backbone.feature_depths, (1, 2)),
        ("model.dtype=bfloat16", lambda r: jnp.dtype(r.model.dtype), jnp.dtype("bfloat16")),
        ("augment.1.maximum=4", lambda r: r.augment[1].maximum, 4),
        ("augment.1.maximum=4", lambda r: r.augment[0], RandomFlip()),
        ("schedule.learning_rate=1", lambda r: r.schedule.keywords["learning_rate"], 1),
        ("schedule.power=2.0", lambda r: r.schedule.keywords, {"learning_rate": 0.1, "power": 2.0}),
        ("loss=jaxseg.losses.dice", lambda r: r.loss, losses.dice),
        ("loss.label_smoothing=0.1", lambda r: r.loss.keywords, {"label_smoothing": 0.1}),
        ("ema=0.99", lambda r: r.ema, 0.99),
        ("ema=None", lambda r: r.ema, None),
        ("size=180,240", lambda r: r.size, (180, 240)),
        ("root=2012", lambda r: r.root, "2012"),
        ("root=a=b/c", lambda r: r.root, "a=b/c"),
        ("fast=True", lambda r: r.fast, True),
    ],
)
def test_replaces_one_field(assignment, read, expected):
    assert read(override(RUN, [assignment])) == expected


def test_leaves_the_original_and_everything_else_alone():
    changed = override(RUN, ["model.backbone.depth=5", "steps=7"])
    assert RUN.steps == 10
    assert RUN.model.backbone.depth == 2
    assert changed.model.backbone == RUN.model.backbone.clone(depth=5)
    assert changed.augment == RUN.augment


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stps=20", "--set stps=20: the config has no 'stps'. Did you mean 'steps'?"),
        ("model.backbone.dept=3", "model.backbone has no 'dept'. Did you mean 'depth'?"),
        ("schedule.lerning_rate=1", "schedule has no 'lerning_rate'. Did you mean 'learning_rate'?"),
        ("augment.7.maximum=1", "augment has no '7'. Known: 0, 1."),
        ("steps=many", "a whole number (int) is needed, and 'many' is text (str)"),
        ("steps=1.5", "a whole number (int) is needed, and 1.5 is a number (float)"),
        ("steps=True", "a whole number (int) is needed, and True is True or False (bool)"),
        ("fast=1", "True or False (bool) is needed"),
        ("size=180", "tuple[int, int] | None is needed, and 180 is a whole number"),
        ("model.dtype=float17", "a dtype is needed, such as float32 or bfloat16"),
        ("model=UNet", "model is a SETRNaive. Set one of its fields (model.num_classes, "),
        ("loss=dice", "by its import path, such as jaxseg.losses.dice"),
        ("loss=jaxseg.losses.dicee", "there is no such function"),
        ("steps", "write it as path=value"),
    ],
)
def test_refuses(assignment, message):
    with pytest.raises(InputError) as error:
        override(RUN, [assignment])
    assert message in str(error.value)


def test_children_of_a_network_are_its_fields_and_not_linens_own():
    own = {"num_classes", "width", "depth", "padding", "batch_norm", "dropout", "dtype"}
    found = set(children(UNet(num_classes=2)))
    assert own <= found
    assert not {"parent", "name"} & found
