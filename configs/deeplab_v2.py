"""DeepLab v2 (Chen, Papandreou, Kokkinos, Murphy, Yuille, TPAMI 2017, https://arxiv.org/abs/1606.00915).

scenes       python -m jaxseg.train --config configs/deeplab_v2.py
             ASPP with summed classifiers on a narrow ResNet-18 and drawn street scenes, no download. Expect 78.5 mIoU on val, 6
             minutes after the command on two busy CPU cores (measured).
scenes-msc   python -m jaxseg.train --config configs/deeplab_v2.py:scenes-msc
             The same with the image at 0.5, 0.75 and 1 of its size, fused by the largest score, and a loss on each.
camvid       python -m jaxseg.train --config configs/deeplab_v2.py:camvid --set data.root=DIR
             CamVid at half resolution, from random weights.
voc2012      python -m jaxseg.train --config configs/deeplab_v2.py:voc2012 --set data.root=DIR
             ResNet-101 with ASPP-L and multi-scale inputs: 20,000 steps of 10 crops of 321, SGD at 2.5e-4 with "poly", ten times
             that for the classifiers, twice for biases, batch normalisation frozen. From COCO's weights the paper reaches 76.35
             mIoU on val, 77.69 with its CRF (theirs; not run by us). Frozen normalisation makes sense from such weights alone.
voc2012-vgg  python -m jaxseg.train --config configs/deeplab_v2.py:voc2012-vgg --set data.root=DIR
             VGG16 with ASPP-L, at 0.001: 68.96 mIoU, 71.57 with the CRF (theirs; not run by us).
cityscapes   python -m jaxseg.train --config configs/deeplab_v2.py:cityscapes --set data.root=DIR
             As voc2012, with one scale and overlapping windows, as the paper there: 71.0 mIoU on val (theirs; not run by us). It
             does not give the crop; 513 is ours.
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
from jaxseg.models import DeepLabV2
from jaxseg.models.backbones import VGG16, ResNet
from jaxseg.ops.normalise import CAFFE
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "scenes-msc", "camvid", "voc2012", "voc2012-vgg", "cityscapes")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": partial(scenes, (1.0,)),
        "scenes-msc": partial(scenes, (0.5, 0.75, 1.0)),
        "camvid": camvid,
        "voc2012": voc2012,
        "voc2012-vgg": voc2012_vgg,
        "cityscapes": cityscapes,
    }[recipe]()


def scenes(scales: tuple[float, ...]) -> Config:
    """A narrow ResNet-18 on drawn scenes: minutes on a laptop's CPU."""
    backbone = ResNet(depth=18, output_stride=8, width=16, first_block_keeps_rate=False)
    return Config(
        model=DeepLabV2(num_classes=6, backbone=backbone, scales=scales),
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
    """Half resolution (240 x 180) and half of ResNet-18's width, from random weights."""
    backbone = ResNet(depth=18, output_stride=8, width=32, first_block_keeps_rate=False)
    return Config(
        model=DeepLabV2(num_classes=11, backbone=backbone, scales=(1.0,)),
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


def voc2012() -> Config:
    """The paper's ResNet-101, with the solver of the PyTorch reimplementation that reaches its scores (kazuto1011)."""
    return Config(
        model=DeepLabV2(num_classes=21),
        data=VOC2012(train_set="trainaug"),
        crop_size=(321, 321),
        augment=(RandomScale(0.5, 1.5), RandomFlip()),
        normalise=CAFFE,
        objective=partial(objectives.supervised, frozen_batch_norm=True),
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4, head_multiplier=10.0, bias_multiplier=2.0),
        schedule=partial(poly, learning_rate=2.5e-4),
        steps=20_000,
        batch_size=10,
        eval_batch_size=1,
        eval_every=2000,
        checkpoint_every=1000,
    )


def voc2012_vgg() -> Config:
    """The paper's VGG16: no batch normalisation, one scale, no random scales, and fc6 and fc7 learn at the backbone's rate."""
    classifiers = tuple(f"classifier{n}" for n in (1, 2, 3, 4))
    backbone = VGG16(output_stride=8, pool_window=3)
    return dataclasses.replace(
        voc2012(),
        model=DeepLabV2(num_classes=21, backbone=backbone, fc_features=1024, scales=(1.0,)),
        augment=(RandomFlip(),),
        objective=objectives.supervised,
        eval_batch_size=4,
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4, head_multiplier=10.0, head=classifiers, bias_multiplier=2.0),
        schedule=partial(poly, learning_rate=1e-3),
    )


def cityscapes() -> Config:
    """The VOC recipe on larger crops, with one scale and in windows."""
    size = (513, 513)
    return dataclasses.replace(
        voc2012(), model=DeepLabV2(num_classes=19, scales=(1.0,)), data=Cityscapes(), crop_size=size, window=size, blending="mean"
    )
