"""DeepLab v1: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs.

Chen, Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015, https://arxiv.org/abs/1412.7062

VGG16 without its last two strides, the kernels behind them spread by holes ("atrous", section 3.1), and fc6 as a small kernel
whose taps lie 12 apart: DeepLab-LargeFOV, with the field of view of VGG's own 7x7 kernel at stride 32, 224 pixels, and 20.5
million parameters in all instead of 134.3 (section 3.2, Table 2). The CRF that follows is :mod:`jaxseg.crf`.

Differs from the paper:
    - Logits are enlarged and compared at the image's size; the authors compare with labels at every 8th pixel, and enlarge at
      test alone.
    - fc6 and fc7 start from He et al.'s initialisation, like VGG16 here, and not from ImageNet's classifier.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.models import grid
from jaxseg.models.backbones.vgg import VGG16, ConvolutionalFC
from jaxseg.models.grid import rates_at
from jaxseg.models.layers import Conv
from jaxseg.types import Image, Logits


class DeepLabV1(nn.Module):
    """DeepLab v1; the defaults are DeepLab-LargeFOV.

    The paper's other forms (its Table 1 and 2): ``fc_kernel_size=7, atrous_rate=4, fc_features=4096`` is DeepLab-7x7.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map is classified; a VGG16 with ``pool_window=3``.
        fc_features: channels of fc6 and fc7.
        fc_kernel_size: side of fc6's kernel.
        atrous_rate: spacing of fc6's taps at output stride 8; half of it at 16.
        dropout: rate after fc6 and fc7.
        average_pool: averages 3x3 neighbours before fc6, as in the authors' network.
        multi_scale: also classifies what small branches see in the image and in the first four pooled maps ("MSc", section 4.3).
        dtype: compute dtype of all but the backbone; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = VGG16(output_stride=8, pool_window=3)
    fc_features: int = 1024
    fc_kernel_size: int = 3
    atrous_rate: int = 12
    dropout: float = 0.5
    average_pool: bool = True
    multi_scale: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for a VGG16 that pools over 2, or a rate that cannot be halved.
        """
        size, stride = (image.shape[1], image.shape[2]), self.backbone.strides[-1]
        if getattr(self.backbone, "pool_window", 3) != 3:
            raise InputError(
                f"backbone.pool_window={self.backbone.pool_window} puts features between pixels, and DeepLab v1 needs them on "
                "pixels: give VGG16(output_stride=8, pool_window=3)."
            )
        image = grid.extend(image, stride)
        maps = self.backbone(image, train=train)
        x = maps[-1]
        if self.average_pool:
            x = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))
        fc = ConvolutionalFC(
            self.fc_features,
            self.fc_kernel_size,
            atrous_rate=rates_at((self.atrous_rate,), stride, given_at=8)[0],
            dropout=self.dropout,
            dtype=self.dtype,
            name="fc",
        )
        x = fc(x, train=train)
        if self.multi_scale:
            strides = (1, *self.backbone.strides[:4])
            branches = zip((image, *maps[:4]), strides, strict=True)
            seen = [self._branch(y, stride // s, f"branch{n}", train=train) for n, (y, s) in enumerate(branches)]
            x = jnp.concatenate([x, *seen], axis=-1)
        x = Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier")(x)
        return grid.enlarge(x, image, size)

    def _branch(self, x: Float[Array, "b h w c"], strides: int, name: str, *, train: bool) -> Float[Array, "b h2 w2 128"]:
        """Two layers of 128 channels, 3x3 and 1x1, that bring an early map to the last one's grid."""
        for n, (kernel_size, step) in enumerate(((3, strides), (1, 1)), start=1):
            x = nn.relu(Conv(128, kernel_size, strides=step, dtype=self.dtype, name=f"{name}_conv{n}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x
