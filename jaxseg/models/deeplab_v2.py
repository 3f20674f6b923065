"""DeepLab v2: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs.

Chen, Papandreou, Kokkinos, Murphy, Yuille, TPAMI 2017, https://arxiv.org/abs/1606.00915

Atrous spatial pyramid pooling: several branches read one map at different rates, each ends in a classifier of its own, and the
scores are summed (section 3.2, Figure 7). Over VGG16 a branch is fc6, fc7 and fc8; over ResNet-101 it is one 3x3 classifier. The
network may look at the image in several scales, of which each pixel takes the largest score (section 4.1.2, "multi-scale
inputs").

Differs from the paper:
    - Logits are compared with labels at the image's size, not at every 8th pixel. Scales are fused at the image's size too, as
      section 4.1.2 says; the PyTorch code that reaches the paper's scores fuses them at every 8th pixel.
    - ResNet's batch normalisation learns; the authors' is frozen at ImageNet's statistics: bind ``frozen_batch_norm=True`` to the
      objective :func:`jaxseg.objectives.supervised` for that.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models import grid
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.vgg import ConvolutionalFC
from jaxseg.models.grid import rates_at
from jaxseg.models.layers import Conv, sow_auxiliary
from jaxseg.types import Image, Logits


class SummedASPP(nn.Module):
    """Branches at several rates, each with its own classifier; the scores are summed.

    Attributes:
        num_classes: channels of the logits.
        atrous_rates: one branch each, as they are used; (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S, and (12,) LargeFOV.
        fc_features: channels of fc6 and fc7 in each branch, over VGG16; ``None`` is a 3x3 classifier alone, over ResNet.
        dropout: rate after fc6 and fc7.
        dtype: compute dtype.
    """

    num_classes: int
    atrous_rates: tuple[int, ...] = (6, 12, 18, 24)
    fc_features: int | None = None
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w num_classes"]:
        """Return logits of the map's size, in the compute dtype."""
        scores = []
        for n, rate in enumerate(self.atrous_rates, start=1):
            y, kernel_size, atrous_rate = x, 3, rate
            if self.fc_features is not None:
                fc = ConvolutionalFC(self.fc_features, 3, atrous_rate=rate, dropout=self.dropout, dtype=self.dtype, name=f"fc{n}")
                y, kernel_size, atrous_rate = fc(x, train=train), 1, 1
            classifier = Conv(
                self.num_classes,
                kernel_size,
                atrous_rate=atrous_rate,
                kernel_init=nn.initializers.normal(0.01),
                dtype=self.dtype,
                name=f"classifier{n}",
            )
            scores.append(classifier(y))
        return sum(scores[1:], start=scores[0])


class DeepLabV2(nn.Module):
    """DeepLab v2; the defaults are its ResNet-101 with ASPP-L and multi-scale inputs.

    Over VGG16: ``DeepLabV2(num_classes=21, backbone=VGG16(output_stride=8, pool_window=3), fc_features=1024, scales=(1.0,))``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map is classified.
        atrous_rates: see :class:`SummedASPP`; at output stride 8, and half of it at 16.
        fc_features: see :class:`SummedASPP`.
        dropout: rate after fc6 and fc7.
        scales: of the image; each pixel takes its largest score of all. In training each scale has a loss too.
        dtype: compute dtype of all but the backbone; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=101, output_stride=8, stride_in_1x1=True, first_block_keeps_rate=False)
    atrous_rates: tuple[int, ...] = (6, 12, 18, 24)
    fc_features: int | None = None
    dropout: float = 0.5
    scales: tuple[float, ...] = (0.5, 0.75, 1.0)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for no rate, no scale, scales that are not positive or not different, or rates that cannot be halved.
        """
        if not self.atrous_rates:
            raise InputError("atrous_rates=() leaves nothing to classify: give at least one, such as (12,).")
        if not self.scales or min(self.scales) <= 0 or len(set(self.scales)) < len(self.scales):
            raise InputError(
                f"scales={self.scales} must be at least one, each above 0, all different: (1.0,) is the image alone."
            )
        rates = rates_at(self.atrous_rates, self.backbone.strides[-1], given_at=8)
        aspp = SummedASPP(self.num_classes, rates, self.fc_features, self.dropout, dtype=self.dtype, name="aspp")
        found = [self._at_scale(image, scale, aspp, train=train) for scale in self.scales]
        if train and len(found) > 1:
            for scale, logits in zip(self.scales, found, strict=True):
                sow_auxiliary(self, f"scale_{scale:g}".replace(".", "_"), 1.0, logits)
        fused = found[0]
        for logits in found[1:]:
            fused = jnp.maximum(fused, logits)
        return fused

    def _at_scale(self, image: Image, scale: float, head: Callable[..., Any], *, train: bool) -> Logits:
        """Logits of the image at another scale, enlarged to the image; the corner pixels of all scales coincide."""
        size = (image.shape[1], image.shape[2])
        scaled = (int((size[0] - 1) * scale) + 1, int((size[1] - 1) * scale) + 1)
        extended = grid.extend(ops.resize(image, scaled, align_corners=True), self.backbone.strides[-1])
        logits = head(self.backbone(extended, train=train)[-1], train=train)
        return ops.resize(grid.enlarge(logits, extended, scaled), size, align_corners=True)
