"""DeepLab v3+: Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation.

Chen, Zhu, Papandreou, Schroff, Adam, ECCV 2018, https://arxiv.org/abs/1802.02611

DeepLab v3 as the encoder, and a small decoder: its map, enlarged to stride 4, beside 48 channels of the backbone's map there, two
3x3 convolutions, and the classifier (section 3.1, Figure 2). With Xception as the backbone, the 3x3 convolutions of pyramid and
decoder are depthwise separable (section 3.2).

Differs from the paper:
    - Running statistics keep 0.9 per step, not 0.9997; see :mod:`jaxseg.models.deeplab_v3`.
    - Dropout of single values behind the pyramid; mmsegmentation drops whole channels, before the classifiers of both heads.
    - segmentation_models.pytorch's separable convolutions have a norm behind both their parts together: ``depthwise_norm``.
    - ResNet's low-level map is the end of its first stage. In the authors' code a stage strides in its last block, so that theirs
      is one block earlier, and of its residual branch before the sum; their ResNet has a stem of three 3x3 convolutions.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models import grid
from jaxseg.models.backbones.xception import Xception65
from jaxseg.models.deeplab_v3 import ASPP, separable_conv
from jaxseg.models.fcn import FCNHead, before_last
from jaxseg.models.grid import rates_at
from jaxseg.models.layers import Conv, ConvBNAct, SeparableConv, sow_auxiliary
from jaxseg.types import Image, Logits


class DeepLabV3Plus(nn.Module):
    """DeepLab v3+; the defaults are the paper's best, Xception-65 with separable convolutions.

    - Over a ResNet: ``DeepLabV3Plus(num_classes=21, backbone=ResNet(101, 16, multi_grid=(1, 2, 4)), separable=False)``.
    - mmsegmentation's: ``backbone=ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64)), features=512,
      projection_kernel_size=3, auxiliary_weight=0.4, align_corners=False``.
    - segmentation_models.pytorch's: ``backbone=ResNet(50, 16, first_block_keeps_rate=False), atrous_rates=(12, 24, 36),
      dropout=0.5, depthwise_norm=False, hidden_convolution=True, decoder_convolutions=1, extend_image=False``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map, and the one at stride 4, are read.
        atrous_rates: at output stride 16; doubled at 8, halved at 32.
        features: channels of pyramid and decoder.
        image_pooling: adds the average of the whole map to the pyramid.
        projection_kernel_size: see :class:`jaxseg.models.deeplab_v3.ASPP`.
        low_level_features: channels that the map at stride 4 is reduced to.
        separable: makes the 3x3 convolutions of pyramid and decoder depthwise separable.
        depthwise_norm: of the separable convolutions, see :class:`jaxseg.models.layers.SeparableConv`.
        hidden_convolution: another 3x3 convolution behind the pyramid and its dropout.
        decoder_convolutions: 3x3 convolutions of the decoder; the paper's best are 2.
        dropout: rate after the pyramid.
        auxiliary_weight: of the loss of a head on the backbone's map before the last; 0, as in the paper, leaves it out.
        momentum: of the head's batch normalisations.
        align_corners: of all enlargements.
        extend_image: whether, where corners are aligned, an image is extended to sides ``stride * k + 1``, as
            :mod:`jaxseg.models.grid` says; segmentation_models.pytorch does not, and takes only multiples of the stride.
        dtype: compute dtype of the head; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = Xception65(output_stride=16)
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    features: int = 256
    image_pooling: bool = True
    projection_kernel_size: int = 1
    low_level_features: int = 48
    separable: bool = True
    depthwise_norm: bool = True
    hidden_convolution: bool = False
    decoder_convolutions: int = 2
    dropout: float = 0.1
    auxiliary_weight: float = 0.0
    momentum: float = 0.9
    align_corners: bool = True
    extend_image: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for a backbone without a map at stride 4, or rates that cannot be halved.
        """
        stride, size = self.backbone.strides[-1], (image.shape[1], image.shape[2])
        if 4 not in self.backbone.strides:
            raise InputError(
                f"The backbone has maps at strides {self.backbone.strides}, and the decoder of DeepLab v3+ reads one at stride "
                "4: take a ResNet, Xception65 or Swin."
            )
        image = grid.extend(image, stride, align_corners=self.align_corners and self.extend_image)
        maps = self.backbone(image, train=train)
        if train and self.auxiliary_weight:
            head = FCNHead(self.num_classes, dtype=self.dtype, name="auxiliary_head")
            logits = grid.enlarge(head(before_last(maps), train=train), image, size, align_corners=self.align_corners)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, logits)
        low = maps[self.backbone.strides.index(4)]
        x = ASPP(
            rates_at(self.atrous_rates, stride, given_at=16),
            self.features,
            self.image_pooling,
            separable=self.separable,
            projection_kernel_size=self.projection_kernel_size,
            depthwise_norm=self.depthwise_norm,
            momentum=self.momentum,
            dtype=self.dtype,
            name="aspp",
        )(maps[-1], train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.hidden_convolution:
            x = self._conv("hidden")(x, train=train)
        x = self._decode(x, low, train=train)
        x = Conv(self.num_classes, 1, kernel_init=nn.initializers.truncated_normal(0.01), dtype=self.dtype, name="classifier")(x)
        return grid.enlarge(x, image, size, align_corners=self.align_corners)

    def _decode(
        self, x: Float[Array, "b h w c"], low: Float[Array, "b h2 w2 c2"], *, train: bool
    ) -> Float[Array, "b h2 w2 features"]:
        """Put the encoder's map on the grid of the low-level one, and refine both together."""
        shared: dict[str, Any] = {"momentum": self.momentum, "epsilon": 1e-5, "dtype": self.dtype}
        low = ConvBNAct(self.low_level_features, kernel_size=1, name="low_level", **shared)(low, train=train)
        x = ops.resize(x, (low.shape[1], low.shape[2]), align_corners=self.align_corners)
        x = jnp.concatenate([x, low], axis=-1)
        for n in range(1, self.decoder_convolutions + 1):
            x = self._conv(f"decoder{n}")(x, train=train)
        return x

    def _conv(self, name: str) -> ConvBNAct | SeparableConv:
        """Return a 3x3 convolution of the decoder."""
        if self.separable:
            return separable_conv(self.features, self.momentum, self.dtype, name, depthwise_norm=self.depthwise_norm)
        return ConvBNAct(self.features, self.momentum, 1e-5, dtype=self.dtype, name=name)
