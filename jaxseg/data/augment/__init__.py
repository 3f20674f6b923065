"""Augmentation of one example on the host: image and label always move together, and no class is invented.

Every transform is a frozen dataclass, called as ``transform(example, rng)``, that keeps the dtype (uint8, uint16 or float32),
the number of channels and the name, and never writes into what it is given. Labels are moved by nearest neighbour; where a
transform reaches beyond the image they are ``VOID``, or the mirror of the labels inside. Further ``(h, w)`` arrays that an
example holds, such as the ``pixel_weights`` of a transform before, move as the label does, and are 0 beyond the image. What a
transform does depends on its example and on the state of ``rng`` alone. A recipe is a tuple of them, applied from first to last:

    (RandomScale(0.5, 2.0), RandomCrop((360, 360)), RandomFlip(), ColorJitter(brightness=0.4, contrast=0.4))
"""

from jaxseg.data.augment.borders import BorderWeights, MirrorMargin
from jaxseg.data.augment.colour import ColorJitter, GaussianBlur, GaussianNoise
from jaxseg.data.augment.geometry import RandomCrop, RandomFlip, RandomRotate90, RandomScale, Resize, resize_image
from jaxseg.data.augment.warp import ElasticDeformation, RandomRotation

__all__ = [
    "BorderWeights",
    "ColorJitter",
    "ElasticDeformation",
    "GaussianBlur",
    "GaussianNoise",
    "MirrorMargin",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate90",
    "RandomRotation",
    "RandomScale",
    "Resize",
    "resize_image",
]
