"""DeepLab v3 (Chen, Papandreou, Schroff, Adam, 2017, https://arxiv.org/abs/1706.05587).

scenes       python -m jaxseg.train --config configs/deeplab_v3.py
             A narrow ResNet-18 at output stride 8 on drawn street scenes, no download. Expect 78.5 mIoU on val, 11 minutes after
             the command on two busy CPU cores (measured).
cascade      python -m jaxseg.train --config configs/deeplab_v3.py:cascade
             The same with block5 to block7 in place of the pyramid ("going deeper", section 3.2).
os16         python -m jaxseg.train --config configs/deeplab_v3.py:os16
os8          python -m jaxseg.train --config configs/deeplab_v3.py:os8 --init runs/deeplab_v3-os16
             The paper's two phases in small: output stride 16, then batch normalisation frozen and output stride 8.
camvid       python -m jaxseg.train --config configs/deeplab_v3.py:camvid --set data.root=DIR
             CamVid at half resolution, from random weights.
voc2012      python -m jaxseg.train --config configs/deeplab_v3.py:voc2012 --set data.root=DIR
voc2012-os8  python -m jaxseg.train --config configs/deeplab_v3.py:voc2012-os8 --set data.root=DIR --init runs/deeplab_v3-voc2012
             The published recipe: ResNet-101 with a multi-grid of (1, 2, 4), 30,000 steps of 16 crops of 513 at output stride 16,
             SGD at 0.007 with "poly"; then 30,000 more at 0.001 on trainval, batch normalisation frozen, at output stride 8. From
             ImageNet's weights the paper reaches 77.21 mIoU on val after the first, evaluated at 16, and 78.51 evaluated at 8:
             --set model.backbone.output_stride=8; 79.45 with --set "scales=(0.5,0.75,1.0,1.25,1.5,1.75)", and 79.77 with
             --set flip=True too (theirs; not run by us). Statistics keep 0.9997 per step. Weight decay and the steps of the
             scales are those of the authors' code, the normalisation is torchvision's.
cityscapes   python -m jaxseg.train --config configs/deeplab_v3.py:cityscapes --set data.root=DIR
             90,000 steps of 16 crops of 769: 77.23 mIoU on val at output stride 16 (theirs; not run by us).
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
from jaxseg.models import DeepLabV3
from jaxseg.models.backbones import ResNet
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "cascade", "os16", "os8", "camvid", "voc2012", "voc2012-os8", "cityscapes")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": partial(scenes, 8),
        "cascade": cascade,
        "os16": partial(scenes, 16),
        "os8": os8,
        "camvid": camvid,
        "voc2012": partial(voc2012, 16),
        "voc2012-os8": voc2012_os8,
        "cityscapes": cityscapes,
    }[recipe]()


def scenes(output_stride: int) -> Config:
    """A narrow ResNet-18 on drawn scenes: minutes on a laptop's CPU. The last stage has two blocks, so the multi-grid has two."""
    backbone = ResNet(depth=18, output_stride=output_stride, width=16, multi_grid=(1, 2))
    return Config(
        model=DeepLabV3(num_classes=6, backbone=backbone, features=64),
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


def cascade() -> Config:
    """Seven stages, each at twice the rate of the one before, and no pyramid."""
    backbone = ResNet(depth=18, output_stride=8, width=16, multi_grid=(1, 2), extra_stages=3)
    return dataclasses.replace(scenes(8), model=DeepLabV3(num_classes=6, backbone=backbone, aspp=False))


def os8() -> Config:
    """The second phase: the parameters of the first at output stride 8, with what normalises them frozen."""
    return dataclasses.replace(
        scenes(8),
        objective=partial(objectives.supervised, frozen_batch_norm=True),
        schedule=partial(cosine, learning_rate=3e-4, warmup_steps=50),
        steps=800,
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and half of ResNet-18's width, from random weights."""
    backbone = ResNet(depth=18, output_stride=8, width=32, multi_grid=(1, 2))
    return Config(
        model=DeepLabV3(num_classes=11, backbone=backbone, features=128),
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


def voc2012(output_stride: int) -> Config:
    """The paper's first phase."""
    backbone = ResNet(depth=101, output_stride=output_stride, multi_grid=(1, 2, 4), momentum=0.9997)
    return Config(
        model=DeepLabV3(num_classes=21, backbone=backbone, momentum=0.9997),
        data=VOC2012(train_set="trainaug"),
        crop_size=(513, 513),
        augment=(RandomScale(0.5, 2.0, step=0.25), RandomFlip()),
        optimizer=partial(sgd, momentum=0.9, weight_decay=1e-4),
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
    """The VOC recipe with the paper's crop and steps for Cityscapes."""
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
