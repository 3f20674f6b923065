"""SETR: Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers.

Zheng et al., CVPR 2021, https://arxiv.org/abs/2012.15840

A ViT encodes the image as a sequence at one constant resolution; the decoder is simple. This file holds the naive decoder
(section 3.3): a two-layer network of 1x1 convolutions and one bilinear enlargement to the image's size. Auxiliary heads of the
same form read earlier blocks.

Differs from the paper:
    - Enlargement is with half-pixel centres (``align_corners=False``), as in mmsegmentation; the authors' code aligns corners.
    - Any image size: the grid is padded to whole patches and the logits are cropped.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.backbones.vit import ViT
from jaxseg.models.layers import Conv, ConvBNAct, sow_auxiliary
from jaxseg.types import Image, Logits


class NaiveHead(nn.Module):
    """Layer norm, 1x1 convolution with batch norm and ReLU, 1x1 classifier, bilinear enlargement.

    Attributes:
        num_classes: channels of the logits.
        features: channels between; the reference's 256.
        dtype: compute dtype.
    """

    num_classes: int
    features: int = 256
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b gh gw d"], size: tuple[int, int], *, train: bool) -> Logits:
        """Return float32 logits of the given height and width."""
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        x = ConvBNAct(self.features, 0.9, 1e-5, kernel_size=1, dtype=self.dtype, name="hidden")(x, train=train)
        x = Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier")(x)
        return ops.resize(x.astype(jnp.float32), size, method="bilinear")


class SETRNaive(nn.Module):
    """SETR with the naive decoder; the defaults are the paper's SETR-Naive on ViT-L/16 at 768 x 768.

    The last map of the backbone feeds the main head, each earlier one an auxiliary head.

    Attributes:
        num_classes: channels of the logits.
        backbone: its ``feature_depths`` place the heads; the paper's are after blocks 10, 15, 20 and 24.
        head_features: channels inside the heads.
        auxiliary_weight: of each auxiliary head's loss; the reference's 0.4.
        dtype: compute dtype of the heads.
    """

    num_classes: int
    backbone: ViT = ViT(image_size=(768, 768), feature_depths=(10, 15, 20, 24))
    head_features: int = 256
    auxiliary_weight: float = 0.4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        height, width = image.shape[1:3]
        *earlier, last = self.backbone(image, train=train)
        stride = self.backbone.strides[-1]
        padded = (last.shape[1] * stride, last.shape[2] * stride)
        if train:
            for i, x in enumerate(earlier, start=1):
                logits = self._head(f"auxiliary_head{i}")(x, padded, train=True)
                sow_auxiliary(self, f"auxiliary{i}", self.auxiliary_weight, logits[:, :height, :width])
        return self._head("head")(last, padded, train=train)[:, :height, :width]

    def _head(self, name: str) -> NaiveHead:
        return NaiveHead(self.num_classes, self.head_features, dtype=self.dtype, name=name)
