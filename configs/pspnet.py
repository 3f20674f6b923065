"""PSPNet (Zhao, Shi, Qi, Wang, Jia, CVPR 2017, https://arxiv.org/abs/1612.01105).

scenes       python -m jaxseg.train --config configs/pspnet.py
             A narrow ResNet-18 on drawn street scenes, no download. Expect 80.6 mIoU on val, a quarter of an hour after the
             command on two busy CPU cores (measured).
context      python -m jaxseg.train --config configs/pspnet.py:context
no-pyramid   python -m jaxseg.train --config configs/pspnet.py:no-pyramid
             What the pyramid is for, with and without it: scenes with posters, each a cut-out of the street with a car on it. The
             backbone has two narrow stages, so that without the pyramid a score sees 21 pixels; the parameters are as many.
             Expect 65.2 mIoU with it (poster 78.5, car 64.0) and 51.0 without (46.0 and 36.9), 4 and 2.5 minutes after the
             command (measured).
camvid       python -m jaxseg.train --config configs/pspnet.py:camvid --set data.root=DIR
             CamVid at half resolution, from random weights.
voc2012      python -m jaxseg.train --config configs/pspnet.py:voc2012 --set data.root=DIR
cityscapes   python -m jaxseg.train --config configs/pspnet.py:cityscapes --set data.root=DIR
ade20k       python -m jaxseg.train --config configs/pspnet.py:ade20k --set data.root=DIR
             The published recipes: batch 16, SGD at 0.01 with "poly", ten times that for the head, scales 0.5 to 2, rotations
             of up to 10 degrees. From ImageNet's weights the authors' PyTorch code, which counts epochs, reaches, with
             ResNet-50 in one scale, 77.05 mIoU on VOC 2012, 77.30 on Cityscapes and 41.89 on ADE20K, the last in 14 hours on 8
             RTX 2080 Ti (theirs; not run by us). The paper's figures average scales and mirrored images:
             evaluate --set "scales=(0.5,0.75,1.0,1.25,1.5,1.75)" --set flip=True.
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.ade20k import ADE20K
from jaxseg.data.augment import ColorJitter, GaussianBlur, RandomFlip, RandomRotation, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.cityscapes import Cityscapes
from jaxseg.data.scenes import Scenes
from jaxseg.data.source import Source
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import PSPNet
from jaxseg.models.backbones import VGG16, ResNet
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "context", "no-pyramid", "camvid", "voc2012", "cityscapes", "ade20k")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": scenes,
        "context": partial(context, (1, 2, 3, 6)),
        "no-pyramid": partial(context, ()),
        "camvid": camvid,
        "voc2012": partial(published, VOC2012(train_set="trainaug"), 21, 473, 30_000),
        "cityscapes": partial(published, Cityscapes(), 19, 713, 90_000, objects=False),
        "ade20k": partial(published, ADE20K(), 150, 473, 150_000),
    }[recipe]()


def scenes() -> Config:
    """A narrow ResNet-18 with PSPNet's stem on drawn scenes: minutes on a laptop's CPU."""
    backbone = ResNet(depth=18, output_stride=8, width=16, deep_stem=True, first_block_keeps_rate=False)
    return Config(
        model=PSPNet(num_classes=6, backbone=backbone, features=64),
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


def context(bins: tuple[int, ...]) -> Config:
    """The street and its picture: alike to a network that sees little around a pixel."""
    backbone = VGG16(batch_norm=True, widths=(16, 32), convolutions=(1, 1), output_stride=8, pool_window=3)
    return Config(
        # Without the pyramid, wider layers behind it: as many parameters.
        model=PSPNet(num_classes=7, backbone=backbone, bins=bins, features=32 if bins else 171),
        data=Scenes(posters=True),
        crop_size=(96, 128),
        augment=(RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=50),
        steps=1000,
        batch_size=8,
        eval_every=500,
        checkpoint_every=250,
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and half of ResNet-18's width, from random weights."""
    backbone = ResNet(depth=18, output_stride=8, width=32, deep_stem=True, first_block_keeps_rate=False)
    return Config(
        model=PSPNet(num_classes=11, backbone=backbone, features=128),
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


def published(data: Source, num_classes: int, side: int, steps: int, objects: bool = True) -> Config:
    """The authors' training: ResNet-50, whose head learns ten times as fast; on photographs of objects turned and blurred too."""
    turned = (RandomRotation(10), GaussianBlur()) if objects else ()
    return Config(
        model=PSPNet(num_classes=num_classes),
        data=data,
        crop_size=(side, side),
        window=(side, side),
        blending="mean",
        augment=(RandomScale(0.5, 2.0), *turned, RandomFlip()),
        optimizer=partial(sgd, momentum=0.9, weight_decay=1e-4, head_multiplier=10.0),
        schedule=partial(poly, learning_rate=0.01, power=0.9),
        steps=steps,
        batch_size=16,
        eval_batch_size=4,
        eval_every=5000,
        checkpoint_every=1000,
    )
