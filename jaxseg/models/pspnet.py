"""PSPNet: Pyramid Scene Parsing Network.

Zhao, Shi, Qi, Wang, Jia, CVPR 2017, https://arxiv.org/abs/1612.01105

An atrous ResNet's map beside its averages over the whole image and over parts of it (section 3.2): what a pixel is depends on
what the scene is, and the averages tell it. An auxiliary head reads the stage before the last (section 3.3).

Differs from the paper:
    - The heads end in a 3x3 convolution with dropout and a 1x1 classifier, and images have sides ``8 k + 1``, as in the authors'
      PyTorch code; :mod:`jaxseg.models.grid` extends others.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxseg.models import grid
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.fcn import FCNHead, before_last
from jaxseg.models.layers import Conv, ConvBNAct, sow_auxiliary
from jaxseg.models.pyramid import PyramidPooling
from jaxseg.types import Image, Logits


class PSPNet(nn.Module):
    """PSPNet; the defaults are the authors' PSPNet-50.

    mmsegmentation's: ``backbone=ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64)), align_corners=False``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map is pooled, the one before feeds the auxiliary head.
        bins: sides of the pooled grids; ``()`` leaves the pyramid out.
        features: channels of each level of the pyramid, and of the 3x3 convolution behind it.
        dropout: rate before the classifiers, of whole channels.
        auxiliary_weight: of the auxiliary head's loss; 0 leaves the head out.
        align_corners: of all enlargements; ``False`` is mmsegmentation's.
        dtype: compute dtype of the heads; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=50, output_stride=8, deep_stem=True, first_block_keeps_rate=False)
    bins: tuple[int, ...] = (1, 2, 3, 6)
    features: int = 512
    dropout: float = 0.1
    auxiliary_weight: float = 0.4
    align_corners: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        size = (image.shape[1], image.shape[2])
        image = grid.extend(image, self.backbone.strides[-1], align_corners=self.align_corners)
        maps = self.backbone(image, train=train)
        if train and self.auxiliary_weight:
            head = FCNHead(self.num_classes, self.dropout, dropped_channels=True, dtype=self.dtype, name="auxiliary_head")
            logits = grid.enlarge(head(before_last(maps), train=train), image, size, align_corners=self.align_corners)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, logits)
        x = maps[-1]
        if self.bins:
            pyramid = PyramidPooling(self.bins, self.features, self.align_corners, dtype=self.dtype, name="pyramid")
            x = pyramid(x, train=train)
        x = ConvBNAct(self.features, 0.9, 1e-5, dtype=self.dtype, name="hidden")(x, train=train)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        x = Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier")(x)
        return grid.enlarge(x, image, size, align_corners=self.align_corners)
