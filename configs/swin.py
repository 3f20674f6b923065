"""Swin (Liu et al., ICCV 2021, https://arxiv.org/abs/2103.14030) with UPerNet (Xiao et al., ECCV 2018).

scenes      python -m jaxseg.train --config configs/swin.py
            Drawn street scenes, no download: a narrow Swin of three stages with windows of 4 x 4. Expect 80.2 mIoU on val, 4
            and a half minutes after the command on two CPU cores (measured).
camvid      python -m jaxseg.train --config configs/swin.py:camvid --set data.root=DIR
            A narrow Swin of four stages on CamVid at half resolution, from random weights.
ade20k      python -m jaxseg.train --config configs/swin.py:ade20k --set data.root=DIR
            The paper's: Swin-T, 160,000 steps of 16 crops of 512 x 512. From ImageNet-1k it reaches 44.5 mIoU on val, Swin-S
            47.6 (--set "model.backbone.depths=(2, 2, 18, 2)"), Swin-B 48.1 (that, --set model.backbone.width=128 and
            --set "model.backbone.num_heads=(4, 8, 16, 32)"). Not run by us.
cityscapes  python -m jaxseg.train --config configs/swin.py:cityscapes --set data.root=DIR
            The same for 80,000 steps of 8 crops of 512 x 1024. The authors publish no figure; not run by us.

The last two are the authors' training: AdamW at 6e-5 with weight decay 0.01 (on kernels, not on norms and position tables), a
linear warm-up of 1,500 steps and a linear decay to 0, stochastic depth of 0.3. They have no layer-wise decay of the learning
rate, which many use when they fine-tune: add --set optimizer.layer_decay=0.9. Their figures are from pre-trained weights.
Theirs also decays biases, gives images a shorter side of 512 first, in training and at test, and changes colours half the
time, by sums.
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.ade20k import ADE20K
from jaxseg.data.augment import ColorJitter, RandomCrop, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.cityscapes import Cityscapes
from jaxseg.data.scenes import Scenes
from jaxseg.models import UPerNet
from jaxseg.models.backbones import Swin
from jaxseg.optimizers import adamw
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "camvid", "ade20k", "cityscapes")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "camvid": camvid, "ade20k": ade20k, "cityscapes": cityscapes}[recipe]()


def scenes() -> Config:
    """A narrow Swin on drawn scenes: minutes on a laptop's CPU."""
    return Config(
        model=UPerNet(
            num_classes=6,
            backbone=Swin(width=48, depths=(2, 2, 2), num_heads=(3, 6, 12), window=4, drop_path=0.1),
            features=64,
            bins=(1, 2, 3),
            auxiliary_features=48,
        ),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=0.05, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1.5e-3, warmup_steps=100),
        steps=1200,
        batch_size=8,
        eval_every=400,
        checkpoint_every=200,
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and half the width of Swin-T, from random weights."""
    return Config(
        model=UPerNet(
            num_classes=11,
            backbone=Swin(width=48, depths=(2, 2, 4, 2), num_heads=(3, 6, 12, 24), drop_path=0.1),
            features=96,
            auxiliary_features=64,
        ),
        data=CamVid(),
        image_size=(180, 240),
        crop_size=(144, 192),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=0.05, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=100),
        steps=2400,
        batch_size=8,
        eval_every=400,
        checkpoint_every=100,
    )


def published(num_classes: int, size: tuple[int, int]) -> dict[str, object]:
    """Return what the authors' recipe does on any data."""
    return {
        "model": UPerNet(num_classes=num_classes, backbone=Swin.of_size("T", drop_path=0.3)),
        "crop_size": size,
        "augment": (
            RandomScale(0.5, 2.0),
            RandomCrop(size, max_class_share=0.75),
            RandomFlip(),
            ColorJitter(0.125, 0.5, 0.5, 0.1),
        ),
        "optimizer": partial(adamw, weight_decay=0.01, layer_decay=1.0),
        "schedule": partial(poly, learning_rate=6e-5, power=1.0, warmup_steps=1500, warmup_start=6e-11),
        "eval_batch_size": 1,
        "checkpoint_every": 1000,
    }


def ade20k() -> Config:
    """The authors' 160,000 steps; evaluation sees whole images."""
    return Config(data=ADE20K(), steps=160_000, batch_size=16, eval_every=16_000, **published(150, (512, 512)))


def cityscapes() -> Config:
    """The same on Cityscapes, for 80,000 steps."""
    return Config(data=Cityscapes(), steps=80_000, batch_size=8, eval_every=8000, **published(19, (512, 1024)))
