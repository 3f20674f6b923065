"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597).

scenes   python -m jaxseg.train --config configs/unet.py
         Drawn street scenes, no download.
camvid   python -m jaxseg.train --config configs/unet.py:camvid --set data.root=DIR
         CamVid in the SegNet layout (367 training images, 11 classes), at half resolution, from random weights.
         Expect 49.9 mIoU on val, 42 minutes after the command on two busy CPU cores (measured).
folder   python -m jaxseg.train --config configs/unet.py:folder --set data.root=DIR --set data.num_classes=N \
             --set model.num_classes=N
         Your own images and masks; the README says how the folder must look.
pets     python -m jaxseg.train --config configs/unet.py:pets
         Oxford-IIIT Pet as TFDS prepares it.

All use batch normalisation, which the paper does not have: without it, from random weights on colour images, training is slow.
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomRotation, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.folder import Folder
from jaxseg.data.pets import OxfordIIITPet
from jaxseg.data.scenes import Scenes
from jaxseg.models import UNet
from jaxseg.optimizers import adamw
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "camvid", "folder", "pets")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "camvid": camvid, "folder": folder, "pets": pets}[recipe]()


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
