"""SegNet (Badrinarayanan, Kendall, Cipolla, 2015, https://arxiv.org/abs/1511.00561), plain and Bayesian.

scenes           python -m jaxseg.train --config configs/segnet.py
                 Drawn street scenes, no download. Expect 67.4 mIoU and a boundary F1 of 51.2 on val, 21 minutes after the
                 command on two very busy CPU cores (measured).
scenes-bayesian  python -m jaxseg.train --config configs/segnet.py:scenes-bayesian
                 With dropout, for `python -m jaxseg.predict --samples 16`, which draws the network's uncertainty.
basic            python -m jaxseg.train --config configs/segnet.py:basic --set data.root=DIR
                 SegNet-Basic on CamVid at 480x360 as in the paper's Table 1: SGD, rate 0.1, momentum 0.9, batch 12, 10,000
                 steps, median-frequency class weights. The paper: 47.7 mIoU on test (not run by us).
camvid           python -m jaxseg.train --config configs/segnet.py:camvid --set data.root=DIR
                 SegNet on CamVid at 480x360 with the authors' released solver: rate 0.001, batch 4, 40,000 steps, VGG16 from
                 ImageNet. Trained on CamVid alone it is known at 46.4 mIoU on test (not run by us); the paper's 60.1 needs 3,433
                 images.
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.scenes import Scenes
from jaxseg.models import SegNet, SegNetBasic
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import Normalise
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import constant, cosine

RECIPES = ("scenes", "scenes-bayesian", "basic", "camvid")

#: The class weights of the authors' released networks, in the order of CamVid's classes.
CLASS_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "scenes-bayesian": partial(scenes, 0.5), "basic": basic, "camvid": camvid}[recipe]()


def scenes(dropout: float = 0.0) -> Config:
    """A narrow VGG16 on drawn scenes: minutes on a laptop's CPU."""
    return Config(
        model=SegNet(
            num_classes=6,
            backbone=VGG16(batch_norm=True, widths=(16, 32, 64, 128, 128), dropout=dropout),
            dropout=dropout,
        ),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=50),
        steps=1200,
        batch_size=8,
        eval_every=400,
        checkpoint_every=200,
    )


def basic() -> Config:
    """SegNet-Basic as in Table 1: 8-bit values into the local response normalisation, median-frequency balancing."""
    return Config(
        model=SegNetBasic(num_classes=11),
        data=CamVid(),
        crop_size=(360, 480),
        normalise=Normalise(mean=(0.0,), std=(1 / 255,)),
        loss=partial(losses.cross_entropy, class_weights=CLASS_WEIGHTS),
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(constant, learning_rate=0.1),
        steps=10_000,
        batch_size=12,
        eval_batch_size=4,
        eval_every=1000,
        checkpoint_every=200,
    )


def camvid() -> Config:
    """SegNet with the authors' released solver."""
    return Config(
        model=SegNet(num_classes=11),
        data=CamVid(),
        crop_size=(360, 480),
        normalise=Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        loss=partial(losses.cross_entropy, class_weights=CLASS_WEIGHTS),
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(constant, learning_rate=1e-3),
        steps=40_000,
        batch_size=4,
        eval_batch_size=4,
        eval_every=1000,
        checkpoint_every=200,
    )
