"""U-Net over the features of another network, which is how U-Net is mostly used since backbones are published with weights.

Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, https://arxiv.org/abs/1505.04597, for the shape: a decoder that doubles the
resolution step by step and joins the map of the same resolution from the encoder. The encoder is a classifier's, as in Iglovikov
and Shvets, "TernausNet", 2018, https://arxiv.org/abs/1801.05746; the decoder is that of the library segmentation_models.pytorch.

Differs from the paper:
    - The encoder; and the resolution is doubled by repeating pixels, not by up-convolutions, with batch normalisation and zero
      padding in all convolutions.
    - Where the encoder has no map of a resolution (mostly that of the image itself), the decoder goes on without.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.layers import Conv, ConvBNAct
from jaxseg.types import Image, Logits


class UNetBackbone(nn.Module):
    """U-Net whose contracting path is a backbone; the defaults are segmentation_models.pytorch's on ResNet-34.

    Attributes:
        num_classes: channels of the logits.
        backbone: any whose strides double, or stay, from one feature to the next; of several at one stride the last is used.
        decoder_features: channels of the decoder's steps, coarsest first; as many as it takes to double the backbone's last
            stride away: five for 32, four for 16.
        extend_image: extends the image by its edge to whole multiples of the last stride. ``False``, as in that library, lets the
            decoder repeat pixels unevenly up to the next map's size.
        dtype: compute dtype of the decoder; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=34)
    decoder_features: tuple[int, ...] = (256, 128, 64, 32, 16)
    extend_image: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for a number of ``decoder_features`` that does not fit the backbone's strides.
        """
        height, width = image.shape[1:3]
        stride = self._check()
        if self.extend_image:
            image = jnp.pad(image, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
        skips = dict(zip(self.backbone.strides, self.backbone(image, train=train), strict=True))
        x = skips[stride]
        for step, features in enumerate(self.decoder_features, start=1):
            stride //= 2
            if self.extend_image:
                x = x.repeat(2, axis=1).repeat(2, axis=2)
            else:
                x = ops.resize(x, (-(-height // stride), -(-width // stride)), method="nearest")
            if stride in skips:
                x = jnp.concatenate([x, skips[stride].astype(x.dtype)], axis=-1)
            for i in (1, 2):
                x = ConvBNAct(features, 0.9, 1e-5, dtype=self.dtype, name=f"decoder{step}_conv{i}")(x, train=train)
        logits = Conv(self.num_classes, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)
        return logits[:, :height, :width]

    def _check(self) -> int:
        """Return the last stride."""
        stride, steps = self.backbone.strides[-1], len(self.decoder_features)
        if stride != 2**steps:
            needed = (
                f"give {stride.bit_length() - 1}" if stride.bit_count() == 1 else "take a backbone whose stride is a power of 2"
            )
            raise InputError(
                f"decoder_features={self.decoder_features} doubles the resolution {steps} times, but the backbone's last stride "
                f"is {stride}: {needed}."
            )
        return int(stride)
