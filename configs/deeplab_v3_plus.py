"""DeepLab v3+ (Chen, Zhu, Papandreou, Schroff, Adam, ECCV 2018, https://arxiv.org/abs/1802.02611).

scenes       python -m jaxseg.train --config configs/deeplab_v3_plus.py
             A narrow and shallow Xception on drawn street scenes, no download. Expect 80.4 mIoU on val, 12 minutes after the
             command on two busy CPU cores (measured).
scenes-resnet
             python -m jaxseg.train --config configs/deeplab_v3_plus.py:scenes-resnet
             A narrow ResNet-18, and plain convolutions in pyramid and decoder.
camvid       python -m jaxseg.train --config configs/deeplab_v3_plus.py:camvid --set data.root=DIR
             CamVid at half resolution, from random weights. Expect 52.7 mIoU on val, 26 minutes after the command on two busy CPU
             cores (measured).
voc2012      python -m jaxseg.train --config configs/deeplab_v3_plus.py:voc2012 --set data.root=DIR
voc2012-os8  python -m jaxseg.train --config configs/deeplab_v3_plus.py:voc2012-os8 --set data.root=DIR \
                 --init runs/deeplab_v3_plus-voc2012
             The published recipe, that of DeepLab v3 with Xception-65: 30,000 steps of 16 crops of 513, SGD at 0.007 with "poly";
             then 30,000 at 0.001 on trainval, batch normalisation frozen, at output stride 8. From ImageNet's weights the paper
             reaches 79.79 mIoU on val after the first, evaluated at 16, and 80.02 at 8 (theirs; not run by us).
cityscapes   python -m jaxseg.train --config configs/deeplab_v3_plus.py:cityscapes --set data.root=DIR
             90,000 steps of crops of 769. The paper has 78.79 mIoU on val for Xception-65, and 79.14
             without image-level features: --set model.image_pooling=False (theirs; not run by us).
"""

import dataclasses
from functools import partial

from jaxseg import losses, objectives
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.cityscapes import Cityscapes
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import DeepLabV3Plus
from jaxseg.models.backbones import ResNet, Xception65
from jaxseg.ops.normalise import Normalise
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "scenes-resnet", "camvid", "voc2012", "voc2012-os8", "cityscapes")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": scenes,
        "scenes-resnet": scenes_resnet,
        "camvid": camvid,
        "voc2012": partial(voc2012, 16),
        "voc2012-os8": voc2012_os8,
        "cityscapes": cityscapes,
    }[recipe]()


def scenes() -> Config:
    """A quarter of Xception's width and four blocks in its middle, on drawn scenes: minutes on a laptop's CPU."""
    backbone = Xception65(width=8, middle_blocks=4)
    return Config(
        model=DeepLabV3Plus(num_classes=6, backbone=backbone, features=64, low_level_features=24),
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


def scenes_resnet() -> Config:
    """A narrow ResNet-18 in its place, and full convolutions."""
    backbone = ResNet(depth=18, output_stride=16, width=16, multi_grid=(1, 2))
    model = DeepLabV3Plus(num_classes=6, backbone=backbone, features=64, low_level_features=24, separable=False)
    return dataclasses.replace(scenes(), model=model)


def camvid() -> Config:
    """Half resolution (240 x 180) and half of ResNet-18's width, from random weights."""
    backbone = ResNet(depth=18, output_stride=16, width=32, multi_grid=(1, 2))
    return Config(
        model=DeepLabV3Plus(num_classes=11, backbone=backbone, features=128),
        data=CamVid(),
        image_size=(180, 240),
        crop_size=(145, 193),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=100),
        steps=1500,
        batch_size=8,
        eval_every=300,
        checkpoint_every=100,
    )


def voc2012(output_stride: int) -> Config:
    """The paper's first phase."""
    return Config(
        model=DeepLabV3Plus(num_classes=21, backbone=Xception65(output_stride=output_stride, momentum=0.9997), momentum=0.9997),
        data=VOC2012(train_set="trainaug"),
        crop_size=(513, 513),
        augment=(RandomScale(0.5, 2.0, step=0.25), RandomFlip()),
        normalise=Normalise(mean=(0.5,), std=(0.5,)),
        optimizer=partial(sgd, momentum=0.9, weight_decay=4e-5),
        schedule=partial(poly, learning_rate=0.007),
        steps=30_000,
        batch_size=16,
        eval_batch_size=4,
        eval_every=3000,
        checkpoint_every=1000,
    )


def voc2012_os8() -> Config:
    """The paper's second phase, whose val images are among those it learns from: its score is that of the test server."""
    return dataclasses.replace(
        voc2012(8),
        data=VOC2012(train_set="trainval"),
        objective=partial(objectives.supervised, frozen_batch_norm=True),
        schedule=partial(poly, learning_rate=0.001),
    )


def cityscapes() -> Config:
    """The VOC recipe with the crop and the steps that DeepLab v3's paper has for Cityscapes."""
    first = voc2012(16)
    return dataclasses.replace(
        first,
        model=first.model.clone(num_classes=19),
        data=Cityscapes(),
        crop_size=(769, 769),
        steps=90_000,
        eval_batch_size=1,
        eval_every=5000,
    )
