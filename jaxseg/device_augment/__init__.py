"""Augmentation of a whole batch on the device, compiled into the train step: what the host then need not do.

Every transform is a frozen dataclass, called as ``transform(batch, key)``, with the quantities and ranges of its namesake in
:mod:`jaxseg.data.augment`: it keeps the dtype (uint8, uint16 or float32), draws for every image apart, and moves the label, and
every other ``(b, h, w)`` array such as ``pixel_weights``, with the image: labels by nearest neighbour, ``VOID`` beyond the image,
other arrays 0 there. A config's field ``device_augment`` is a tuple of them, applied from first to last:

    load_size=(512, 512), device_augment=(RandomScaleCrop((360, 360)), RandomFlip(), ColorJitter(0.4, 0.4)), crop_size=(360, 360)

What is drawn for an image depends on the key and on the image's number in the global batch, ``batch["row"]``, alone: not on how
many devices or processes share the batch, nor on whether the step was compiled by ``jit`` or by ``pmap``.
"""

from jaxseg.device_augment.batches import Batch, Transform, augment, on_host, output_size, step_key
from jaxseg.device_augment.colour import ColorJitter
from jaxseg.device_augment.geometry import RandomCrop, RandomFlip, RandomScaleCrop

__all__ = [
    "Batch",
    "ColorJitter",
    "RandomCrop",
    "RandomFlip",
    "RandomScaleCrop",
    "Transform",
    "augment",
    "on_host",
    "output_size",
    "step_key",
]
