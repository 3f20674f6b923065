"""DeconvNet (Noh, Hong, Han, ICCV 2015, https://arxiv.org/abs/1505.04366).

scenes   python -m jaxseg.train --config configs/deconvnet.py
         Drawn street scenes, no download. Expect 58.7 mIoU and a boundary F1 of 44.1 on val, 22 minutes after the command on
         two very busy CPU cores (measured).
camvid   python -m jaxseg.train --config configs/deconvnet.py:camvid --set data.root=DIR
         CamVid at 480x360 with fc layers of 1024 channels, as SegNet's authors compared it: rate 0.001, momentum 0.9,
         batch 5. They report 59.8 mIoU on test after 260,000 steps on 3,433 images, from ImageNet's VGG16 (not run by us).
voc2012  python -m jaxseg.train --config configs/deconvnet.py:voc2012 --set data.root=DIR
         The authors' solver (rate 0.01, momentum 0.9, weight decay 0.0005, batch 64, crops of 224) on random crops of VOC's
         trainaug; they train on crops of objects, first single ones, then proposals. Paper: 69.6 mIoU on VOC 2012's test (not
         run by us).
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import DeconvNet
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import Normalise
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import constant, cosine, poly

RECIPES = ("scenes", "camvid", "voc2012")

IMAGENET = Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "camvid": camvid, "voc2012": voc2012}[recipe]()


def scenes() -> Config:
    """A narrow mirror of VGG16 on drawn scenes: minutes on a laptop's CPU.

    The deepest map of a scene is 3x4; a fc6 of side 3 leaves 1x2 of it, nearly the paper's single vector.
    """
    return Config(
        model=DeconvNet(
            num_classes=6,
            backbone=VGG16(batch_norm=True, widths=(16, 32, 64, 128, 128)),
            width=256,
            fc_kernel_size=3,
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


def camvid() -> Config:
    """fc6 and fc7 with a quarter of the channels, as in the comparison of SegNet's authors."""
    return Config(
        model=DeconvNet(num_classes=11, width=1024),
        data=CamVid(),
        crop_size=(360, 480),
        normalise=IMAGENET,
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(constant, learning_rate=1e-3),
        steps=260_000,
        batch_size=5,
        eval_batch_size=4,
        eval_every=2000,
        checkpoint_every=500,
    )


def voc2012() -> Config:
    """The second stage's solver: the rate falls from 0.01 over 40,000 steps."""
    return Config(
        model=DeconvNet(num_classes=21),
        data=VOC2012(train_set="trainaug"),
        crop_size=(224, 224),
        augment=(RandomScale(0.5, 1.5), RandomFlip()),
        normalise=IMAGENET,
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(poly, learning_rate=0.01),
        steps=40_000,
        batch_size=64,
        window=(224, 224),
        eval_every=2000,
        checkpoint_every=500,
    )
