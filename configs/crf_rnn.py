"""CRF as RNN (Zheng et al., ICCV 2015, https://arxiv.org/abs/1502.03240): FCN-8s and mean field, trained together.

scenes   python -m jaxseg.train --config configs/crf_rnn.py
         Drawn street scenes, no download. Add --init runs/fcn-scenes, a run of configs/fcn.py, and FCN-8s is trained first, as in
         the paper. Measured on val, one run each: FCN-8s 81.3 mIoU, 81.7 after 200 more steps of its own; 84.1 with a CRF of
         these parameters behind it (evaluate --crf); 86.2 trained together for 200 steps.
voc2012  python -m jaxseg.train --config configs/crf_rnn.py:voc2012 --set data.root=DIR --init runs/fcn-voc2012
         The paper's training: one whole image at a time, momentum 0.99, a fixed rate of 1e-13 for the sum of the loss over the
         pixels, from a trained FCN-8s. Not run by us. The paper goes from 61.3 mIoU (FCN-8s) to 69.6 on its validation set, and
         to 63.7 with the CRF behind the network, not trained with it.
"""

from functools import partial

from jaxseg import crf, losses
from jaxseg.config import Config
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.scenes import Scenes
from jaxseg.data.voc2012 import VOC2012
from jaxseg.models import CRFRNN, FCN8s
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import CAFFE
from jaxseg.optimizers import adamw, sgd
from jaxseg.schedules import constant, cosine

RECIPES = ("scenes", "voc2012")


def get_config(recipe: str = "scenes") -> Config:
    """Return the config of a recipe."""
    return {"scenes": scenes, "voc2012": voc2012}[recipe]()


def scenes() -> Config:
    """The narrow FCN-8s of configs/fcn.py; standard deviations for images of 96 x 128."""
    network = FCN8s(
        num_classes=6,
        backbone=VGG16(batch_norm=True, widths=(16, 32, 64, 128, 128)),
        fc_features=256,
        fc_kernel_size=3,
        dropout=0.1,
    )
    return Config(
        model=CRFRNN(
            num_classes=6,
            network=network,
            parameters=crf.Parameters(w1=2.0, sigma_alpha=16.0, sigma_beta=10.0, w2=1.0, sigma_gamma=1.0),
        ),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.8, 1.25), RandomFlip(), ColorJitter(0.2, 0.2, 0.2)),
        loss=losses.weighted_sum((1.0, losses.cross_entropy), (1.0, losses.dice)),
        optimizer=partial(adamw, weight_decay=1e-2, clip_norm=1.0),
        schedule=partial(cosine, learning_rate=5e-4, warmup_steps=20),
        steps=200,
        batch_size=8,
        eval_every=100,
        checkpoint_every=100,
    )


def voc2012() -> Config:
    """The authors' solver; their rate is for the sum of the loss, and is multiplied by the pixels of a typical image."""
    return Config(
        model=CRFRNN(
            num_classes=21,
            network=FCN8s(
                num_classes=21,
                backbone=VGG16(first_padding=100),
                padding="pad 100",
                learnt_deconvolutions="none",
            ),
            normalise=CAFFE,
        ),
        data=VOC2012(train_set="trainaug"),
        crop_size=(500, 500),
        normalise=CAFFE,
        optimizer=partial(sgd, momentum=0.99, weight_decay=5e-4),
        schedule=partial(constant, learning_rate=1e-13 * 500 * 375),
        steps=100_000,
        batch_size=1,
        eval_batch_size=1,
        eval_every=4000,
        checkpoint_every=1000,
    )
