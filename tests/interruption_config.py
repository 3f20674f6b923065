"""A config whose run starts and saves as fast as it can, to be interrupted often."""

from functools import partial

from smallest_network import SmallestNetwork

from jaxseg.config import Config
from jaxseg.data.augment import RandomFlip
from jaxseg.data.folder import Folder
from jaxseg.optimizers import adamw
from jaxseg.schedules import poly

RECIPES = ("smallest",)


def get_config(recipe="smallest"):
    """Return the config."""
    return Config(
        model=SmallestNetwork(num_classes=2),
        data=Folder(root="data", num_classes=2, class_names=("ground", "blob")),
        crop_size=(8, 8),
        augment=(RandomFlip(),),
        optimizer=partial(adamw, weight_decay=0.01),
        schedule=partial(poly, learning_rate=0.02),
        ema_decay=0.9,
        steps=24,
        batch_size=8,
        eval_batch_size=4,
        log_every=2,
        eval_every=12,
        checkpoint_every=4,
    )
