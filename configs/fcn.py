"""FCN (Long, Shelhamer, Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038).

scenes       python -m jaxseg.train --config configs/fcn.py
             FCN-8s on drawn street scenes, no download. Expect 81.3 mIoU and a boundary F1 of 65.7 on val, 7 minutes after
             the command on two busy CPU cores (measured).
scenes-16s   python -m jaxseg.train --config configs/fcn.py:scenes-16s
scenes-32s   python -m jaxseg.train --config configs/fcn.py:scenes-32s
             The same without the skip from pool3, and without skips: what the paper's Figure 4 compares. 32s: 61.5 mIoU,
             boundary F1 36.6; 16s with --init runs/fcn-scenes-32s: 78.4 and 57.8, in 3 min 39 s on two cores (measured).
camvid       python -m jaxseg.train --config configs/fcn.py:camvid --set data.root=DIR
             FCN-8s on CamVid at half resolution, from random weights.
voc2012-32s  python -m jaxseg.train --config configs/fcn.py:voc2012-32s --set data.root=DIR
voc2012-16s  python -m jaxseg.train --config configs/fcn.py:voc2012-16s --set data.root=DIR --init runs/fcn-voc2012-32s
voc2012      python -m jaxseg.train --config configs/fcn.py:voc2012 --set data.root=DIR --init runs/fcn-voc2012-16s
             The authors' staged training with their released solvers, each stage from the one before. The paper's networks start
             from ImageNet's VGG16 and reach 63.6, 65.0 and 65.5 mIoU on the 736 images of seg11valid (their repository; not run
             by us). From random weights they do not learn: batch 1, momentum 0.99, no normalisation.
resnet50     python -m jaxseg.train --config configs/fcn.py:resnet50 --set data.root=DIR
             The FCN of today: atrous ResNet-50 at output stride 8 with an auxiliary head, on VOC's trainaug.
"""

from functools import partial

from jaxseg import losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.camvid import CamVid
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import CAFFE, Normalise
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import constant, cosine, poly

RECIPES = ("scenes", "scenes-16s", "scenes-32s", "camvid", "voc2012-32s", "voc2012-16s", "voc2012", "resnet50")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {
        "scenes": partial(scenes, FCN8s),
        "scenes-16s": partial(scenes, FCN16s),
        "scenes-32s": partial(scenes, FCN32s),
        "camvid": camvid,
        "voc2012-32s": partial(voc2012, FCN32s, 1e-10),
        "voc2012-16s": partial(voc2012, FCN16s, 1e-12),
        "voc2012": partial(voc2012, FCN8s, 1e-14),
        "resnet50": resnet50,
    }[recipe]()


def scenes(network: type[FCN32s]) -> Config:
    """A narrow VGG16 with batch normalisation on drawn scenes: minutes on a laptop's CPU."""
    return Config(
        model=network(
            num_classes=6,
            backbone=VGG16(batch_norm=True, widths=(16, 32, 64, 128, 128)),
            fc_features=256,
            fc_kernel_size=3,
            dropout=0.1,
        ),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=2e-3, warmup_steps=50),
        steps=1200,
        batch_size=8,
        eval_every=400,
        checkpoint_every=200,
    )


def camvid() -> Config:
    """Half resolution (240 x 180) and half of VGG16's width, from random weights."""
    return Config(
        model=FCN8s(
            num_classes=11,
            backbone=VGG16(batch_norm=True, widths=(32, 64, 128, 256, 256)),
            fc_features=512,
            fc_kernel_size=3,
        ),
        data=CamVid(),
        image_size=(180, 240),
        crop_size=(144, 192),
        augment=(RandomScale(0.75, 1.5), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=1e-3, warmup_steps=100),
        steps=1800,
        batch_size=8,
        eval_every=300,
        checkpoint_every=100,
    )


def voc2012(network: type[FCN32s], rate: float) -> Config:
    """The authors' "heavy" training: one whole image at a time, a high momentum, a fixed rate, 100,000 steps.

    Their loss is the sum over pixels and ours the mean, so that their rate is multiplied by the pixels of a typical image.
    """
    return Config(
        model=network(
            num_classes=21,
            backbone=VGG16(first_padding=100),
            padding="pad 100",
            learnt_deconvolutions="none",
        ),
        data=VOC2012(train_set="trainaug"),
        crop_size=(500, 500),
        normalise=CAFFE,
        optimizer=partial(sgd, momentum=0.99, weight_decay=5e-4),
        schedule=partial(constant, learning_rate=rate * 500 * 375),
        steps=100_000,
        batch_size=1,
        eval_batch_size=1,
        eval_every=4000,
        checkpoint_every=1000,
    )


def resnet50() -> Config:
    """The schedule of mmsegmentation for FCN-R50-D8 on VOC (20,000 steps of 16), torchvision's structure."""
    return Config(
        model=FCN(num_classes=21),
        data=VOC2012(train_set="trainaug"),
        crop_size=(512, 512),
        augment=(RandomScale(0.5, 2.0), RandomFlip(), ColorJitter(0.5, 0.5, 0.5, 0.1)),
        normalise=Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        optimizer=partial(sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(poly, learning_rate=0.01, power=0.9),
        steps=20_000,
        batch_size=16,
        eval_batch_size=1,
        eval_every=2000,
        checkpoint_every=1000,
    )
