"""DeepLab v1 (Chen, Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015, https://arxiv.org/abs/1412.7062).

scenes       python -m jaxseg.train --config configs/deeplab_v1.py
             LargeFOV on a narrow VGG16 and drawn street scenes, no download. Expect 76.6 mIoU on val, 12 minutes after the
             command on two busy CPU cores (measured).
scenes-msc   python -m jaxseg.train --config configs/deeplab_v1.py:scenes-msc
             The same with the branches of "MSc", which see the image and the early maps.
camvid       python -m jaxseg.train --config configs/deeplab_v1.py:camvid --set data.root=DIR
             CamVid at half resolution, from random weights.
voc2012      python -m jaxseg.train --config configs/deeplab_v1.py:voc2012 --set data.root=DIR
voc2012-msc  python -m jaxseg.train --config configs/deeplab_v1.py:voc2012-msc --set data.root=DIR --init runs/deeplab_v1-voc2012
             The published recipe: 6,000 steps of 20 crops of 321, SGD at 0.001, a tenth of that every 2,000 steps, ten times for
             the classifier, twice for biases. From ImageNet's VGG16 the paper reaches 62.25 mIoU on val, 67.64 with its CRF; MSc
             64.21 and 68.70 (theirs; not run by us). Theirs trains the new branches alone; here all weights learn, the branches
             ten times as fast, and the classifier, which has more channels, starts anew.
cityscapes   python -m jaxseg.train --config configs/deeplab_v1.py:cityscapes --set data.root=DIR
             The paper has no Cityscapes: this is the VOC recipe with "poly" and 20,000 steps of 10, which the paper of v2 found
             better on VOC (65.88 mIoU), on crops of 713. That paper has 64.89 on Cityscapes for VGG16 at full resolution.
"""

import dataclasses
from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.cityscapes import Cityscapes
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import DeepLabV1
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import CAFFE
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly, step_decay

RECIPES = ("scenes", "scenes-msc", "camvid", "voc2012", "voc2012-msc", "cityscapes")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": partial(scenes, multi_scale=False),
        "scenes-msc": partial(scenes, multi_scale=True),
        "camvid": camvid,
        "voc2012": partial(voc2012, multi_scale=False),
        "voc2012-msc": partial(voc2012, multi_scale=True),
        "cityscapes": cityscapes,
    }[recipe]()


def scenes(multi_scale: bool) -> Config:
    """A narrow VGG16 with batch normalisation on drawn scenes: minutes on a laptop's CPU."""
    backbone = VGG16(batch_norm=True, widths=(16, 32, 64, 128, 128), output_stride=8, pool_window=3)
    return Config(
        model=DeepLabV1(num_classes=6, backbone=backbone, fc_features=128, dropout=0.1, multi_scale=multi_scale),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=50),
        steps=1600,
        batch_size=8,
        eval_every=400,
        checkpoint_every=200,
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and half of VGG16's width, from random weights."""
    backbone = VGG16(batch_norm=True, widths=(32, 64, 128, 256, 256), output_stride=8, pool_window=3)
    return Config(
        model=DeepLabV1(num_classes=11, backbone=backbone, fc_features=256, dropout=0.1),
        data=CamVid(),
        image_size=(180, 240),
        crop_size=(145, 193),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=100),
        steps=1800,
        batch_size=8,
        eval_every=300,
        checkpoint_every=100,
    )


def voc2012(multi_scale: bool) -> Config:
    """The paper's training."""
    branches = tuple(f"branch{n}_conv{m}" for n in range(5) for m in (1, 2)) if multi_scale else ()
    return Config(
        model=DeepLabV1(num_classes=21, multi_scale=multi_scale),
        data=VOC2012(train_set="trainaug"),
        crop_size=(321, 321),
        augment=(RandomFlip(),),
        normalise=CAFFE,
        optimizer=partial(
            sgd, momentum=0.9, weight_decay=5e-4, head_multiplier=10.0, head=("classifier", *branches), bias_multiplier=2.0
        ),
        schedule=partial(step_decay, learning_rate=0.001, every=2000),
        steps=6000,
        batch_size=20,
        eval_batch_size=4,
        eval_every=1000,
        checkpoint_every=500,
    )


def cityscapes() -> Config:
    """The VOC recipe with the schedule of DeepLab v2."""
    return dataclasses.replace(
        voc2012(multi_scale=False),
        model=DeepLabV1(num_classes=19),
        data=Cityscapes(),
        crop_size=(713, 713),
        schedule=partial(poly, learning_rate=0.001),
        steps=20_000,
        batch_size=10,
        eval_batch_size=1,
    )
