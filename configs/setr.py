"""SETR (Zheng et al., CVPR 2021, https://arxiv.org/abs/2012.15840).

scenes   python -m jaxseg.train --config configs/setr.py
"""

from functools import partial

from jaxseg.data.scenes import Scenes

from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.models import SETRNaive
from jaxseg.models.backbones import ViT
from jaxseg.ops.normalise import Normalise
from jaxseg.optimizers import adamw
from jaxseg.schedules import cosine

RECIPES = ("scenes",)


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes}[recipe]()


def scenes() -> Config:
    """A small ViT."""
    size = (96, 128)
    backbone = ViT(patch_size=8, width=128, depth=6, num_heads=4, hidden=384, image_size=size, feature_depths=(3, 6))
    return Config(
        model=SETRNaive(num_classes=6, backbone=backbone, head_features=128),
        data=Scenes(size=size),
        crop_size=size,
        window=None,
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2, 0.05)),
        normalise=Normalise(mean=(0.5,), std=(0.25,)),
        optimizer=partial(adamw, weight_decay=0.05, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=100),
        steps=2000,
        batch_size=16,
    )
