"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597).

scenes   python -m jaxseg.train --config configs/unet.py
         Drawn street scenes, no download. Expect 86.5 mIoU on val, 6 min 17 s after the command on two CPU cores (measured).
scenes-device-augment
         python -m jaxseg.train --config configs/unet.py:scenes-device-augment
         The same, but that scales, crops, flips and colours are drawn on the device: the host only reads and decodes.
camvid   python -m jaxseg.train --config configs/unet.py:camvid --set data.root=DIR
         CamVid in the SegNet layout (367 training images, 11 classes), at half resolution, from random weights.
         Expect 49.9 mIoU on val, 42 minutes after the command on two busy CPU cores (measured).
folder   python -m jaxseg.train --config configs/unet.py:folder --set data.root=DIR --set data.num_classes=N \
             --set model.num_classes=N
         Your own images and masks; the README says how the folder must look.
pets     python -m jaxseg.train --config configs/unet.py:pets
         Oxford-IIIT Pet as TFDS prepares it.

isbi2012 python -m jaxseg.train --config configs/unet.py:isbi2012 --set data.root=DIR
         Neuronal membranes in electron microscopy, the data of the paper, at a quarter of its width for a laptop's CPU. Expect
         a pixel error of 7.9 %, and a Dice of 0.950 for cells and 0.809 for membranes, on val (22 slices to train, 3 in val), 41
         minutes after the command on two busy cores (measured). With Adam, and with border weights of 2 instead of 10 and
         unbalanced classes: nearly all background lies between two cells here, so that the paper's make membranes weigh 14
         times as much as cells, and they come out too thick where pixels are counted.
isbi2012-paper
         python -m jaxseg.train --config configs/unet.py:isbi2012-paper --set data.root=DIR
         The same with the paper's width, for a GPU. What the paper publishes: 572 x 572 tiles of valid convolutions (388 x 388
         out), mirrored borders, batches of one tile, momentum 0.99, He initialisation, elastic deformation on a 3 x 3 grid with
         sigma 10, rotations, grey values, and weights at borders. It publishes neither the learning rate nor the number of
         steps: these are ours. The paper's pixel error is 6.11 %, on the challenge's test images, whose labels are not public;
         this recipe was not run by us.

The first five use batch normalisation, which the paper does not have: without it, from random weights on colour images, training
is slow.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxseg import device_augment, losses
from jaxseg.config import Config
from jaxseg.data.augment import (
    BorderWeights,
    ColorJitter,
    ElasticDeformation,
    MirrorMargin,
    RandomFlip,
    RandomRotate90,
    RandomRotation,
    RandomScale,
)
from jaxseg.data.camvid import CamVid
from jaxseg.data.folder import Folder
from jaxseg.data.isbi2012 import ISBI2012
from jaxseg.data.pets import OxfordIIITPet
from jaxseg.data.scenes import Scenes
from jaxseg.models import UNet
from jaxseg.ops.normalise import Normalise
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "scenes-device-augment", "camvid", "folder", "pets", "isbi2012", "isbi2012-paper")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    recipes = {"scenes": scenes, "scenes-device-augment": scenes_device_augment, "camvid": camvid, "folder": folder, "pets": pets}
    return {**recipes, "isbi2012": isbi2012, "isbi2012-paper": isbi2012_paper}[recipe]()


def scenes() -> Config:
    """A narrow U-Net on drawn scenes: minutes on a laptop's CPU."""
    return Config(
        model=UNet(num_classes=6, width=16, depth=3, batch_norm=True, dropout=0.1),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=50),
        steps=1200,
        batch_size=8,
        log_every=50,
        eval_every=400,
        checkpoint_every=200,
    )


def scenes_device_augment() -> Config:
    """The same augmentation in the compiled step; its window is scaled and cut by one resampling."""
    return dataclasses.replace(
        scenes(),
        augment=(),
        device_augment=(
            device_augment.RandomScaleCrop((96, 128), 0.8, 1.25),
            device_augment.RandomFlip(),
            device_augment.ColorJitter(0.2, 0.2, 0.2),
        ),
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and a quarter of the paper's width, so that a laptop's CPU gets there within the hour."""
    return Config(
        model=UNet(num_classes=11, width=16, batch_norm=True, dropout=0.1),
        data=CamVid(),
        image_size=(180, 240),
        crop_size=(144, 192),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=100),
        steps=1800,
        batch_size=8,
        eval_every=300,
        checkpoint_every=100,
    )


def folder() -> Config:
    """Anybody's images and masks: two classes until told otherwise."""
    return Config(
        model=UNet(num_classes=2, width=32, batch_norm=True),
        data=Folder(root="data", num_classes=2),
        crop_size=(256, 256),
        augment=(RandomScale(0.5, 2.0), RandomRotation(10), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(poly, learning_rate=1e-3, warmup_steps=200),
        steps=10_000,
        batch_size=16,
        ema_decay=0.999,
    )


def pets() -> Config:
    """Pet against background; the trimap's border is void."""
    return Config(
        model=UNet(num_classes=2, width=32, batch_norm=True),
        data=OxfordIIITPet(),
        image_size=(256, 256),
        crop_size=(256, 256),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=200),
        steps=10_000,
        batch_size=32,
    )


def isbi2012() -> Config:
    """The paper's tiles and deformations at a quarter of its width: within the hour on a laptop's CPU."""
    return Config(
        model=UNet(num_classes=2, width=16, padding="valid"),
        data=ISBI2012(),
        crop_size=(572, 572),
        window=(572, 572),
        augment=_deformed(BorderWeights(w0=2.0, sigma=5.0, balance=False)),
        normalise=Normalise(mean=(0.5,), std=(0.25,)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(poly, learning_rate=1e-3, warmup_steps=50),
        steps=1200,
        batch_size=1,
        eval_batch_size=2,
        log_every=25,
        eval_every=200,
        checkpoint_every=100,
    )


def isbi2012_paper() -> Config:
    """The published recipe, with 31.0 million parameters."""
    return dataclasses.replace(
        isbi2012(),
        model=UNet(num_classes=2, padding="valid"),
        augment=_deformed(BorderWeights(w0=10.0, sigma=5.0)),
        optimizer=partial(sgd, momentum=0.99, clip_norm=1.0),
        schedule=partial(poly, learning_rate=1e-3, warmup_steps=500),
        steps=20_000,
        log_every=100,
        eval_every=1000,
        checkpoint_every=1000,
    )


def _deformed(weights: BorderWeights) -> tuple[Callable[..., Any], ...]:
    """Weights follow the deformation; the mirrored margin, which has no labels, comes last."""
    grey_values = ColorJitter(brightness=0.2, contrast=0.2)
    margin = MirrorMargin(92)
    return (RandomRotate90(), RandomFlip(0.5, 0.5), ElasticDeformation(grid=3, sigma=10.0), grey_values, weights, margin)
