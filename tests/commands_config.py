"""A config that trains in seconds, for the tests of the commands: two classes of blobs in a folder."""

from functools import partial

from jaxseg.config import Config
from jaxseg.data.augment import RandomFlip
from jaxseg.data.folder import Folder
from jaxseg.models import UNet
from jaxseg.optimizers import adamw
from jaxseg.schedules import poly

RECIPES = ("tiny", "other")


def get_config(recipe="tiny"):
    """Return the config of a recipe."""
    return Config(
        model=UNet(num_classes=2, width=2 if recipe == "tiny" else 4, depth=1, batch_norm=True, dropout=0.2),
        data=Folder(root="data", num_classes=2, class_names=("ground", "blob")),
        crop_size=(16, 16),
        augment=(RandomFlip(),),
        optimizer=partial(adamw, weight_decay=0.01),
        schedule=partial(poly, learning_rate=0.02),
        steps=12,
        batch_size=8,
        eval_batch_size=4,
        log_every=4,
        eval_every=6,
        checkpoint_every=3,
    )
