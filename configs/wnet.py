"""W-Net (Xia and Kulis, 2017, https://arxiv.org/abs/1711.08506): training without labels.

scenes   python -m jaxseg.train --config configs/wnet.py
         Drawn street scenes, no download. Expect segments that follow bright and dark regions, and only in part the classes: 18.5
         mIoU and 47.4 % of the pixels after naming 8 segments, 5 minutes after the command on two very busy CPU cores
         (measured once).
camvid   python -m jaxseg.train --config configs/wnet.py:camvid --set data.root=DIR
         CamVid at a third of its resolution, 16 segments. Not run by us.
voc2012  python -m jaxseg.train --config configs/wnet.py:voc2012 --set data.root=DIR
         The paper's training: Pascal VOC 2012 at 224 x 224, 64 segments, an iteration in two steps. Not run by us. The paper
         divides its learning rate of 0.003 by ten every 1,000 of 50,000 iterations, after which it soon stands still; here it
         falls to 0 over the whole run. The paper scores segmentations of BSDS, after a dense CRF and hierarchical merging (PRI
         0.86 with the best scale for each data set), not classes, so it has no mIoU to expect. With SBD there are seven times
         the images: --set data.train_set=trainaug --set data.sbd_root=DIR.

Labels serve the evaluation alone, which gives every segment the class that fits it best, and scores that. The best checkpoint is
chosen by that score: --checkpoint latest evaluates and predicts with what no label has touched.
"""

import dataclasses
from functools import partial

from jaxseg import losses, objectives
from jaxseg.config import Config
from jaxseg.data.augment import RandomFlip
from jaxseg.data.camvid import CamVid
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import WNet
from jaxseg.optimizers import adamw
from jaxseg.schedules import cosine, poly

RECIPES = ("scenes", "camvid", "voc2012")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "camvid": camvid, "voc2012": voc2012}[recipe]()


def scenes() -> Config:
    """A narrow W-Net on drawn scenes: minutes on a laptop's CPU.

    The reconstruction weighs little, since regions are wanted rather than colours.
    """
    return Config(
        model=WNet(num_classes=8, width=12, dropout=0.0),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomFlip(),),
        objective=partial(objectives.segment_and_reconstruct, reconstruction_weight=0.1),
        loss=losses.soft_normalised_cut,
        optimizer=partial(adamw, weight_decay=0.0, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=3e-3, warmup_steps=20),
        steps=300,
        batch_size=4,
        eval_every=150,
        checkpoint_every=150,
        match_classes=True,
    )


def camvid() -> Config:
    """The recipe of the scenes on real streets, with more segments and steps."""
    return dataclasses.replace(
        scenes(),
        model=WNet(num_classes=16, width=16, dropout=0.0),
        data=CamVid(),
        image_size=(120, 160),
        crop_size=(120, 160),
        steps=2000,
        eval_every=500,
        checkpoint_every=250,
    )


def voc2012() -> Config:
    """The paper's hyperparameters; the optimizer, which it does not name, is ours."""
    return Config(
        model=WNet(num_classes=64),
        data=VOC2012(),
        image_size=(224, 224),
        crop_size=(224, 224),
        objective=objectives.segment_and_reconstruct,
        loss=partial(losses.soft_normalised_cut, radius=5.0, sigma_intensity=10.0, sigma_position=4.0),
        optimizer=partial(adamw, weight_decay=0.0, clip_norm=1.0),
        schedule=partial(poly, learning_rate=3e-3),
        steps=100_000,
        batch_size=10,
        eval_every=5_000,
        checkpoint_every=1_000,
        match_classes=True,
    )
