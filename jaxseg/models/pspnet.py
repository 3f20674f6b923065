"""PSPNet: Pyramid Scene Parsing Network.

Zhao, Shi, Qi, Wang, Jia, CVPR 2017, https://arxiv.org/abs/1612.01105

An atrous ResNet's map beside its averages over the whole image and over parts of it (section 3.2): what a pixel is depends on
what the scene is, and the averages tell it. An auxiliary head reads the stage before the last (section 3.3).

Differs from the paper:
    - The heads end in a 3x3 convolution with dropout and a 1x1 classifier, and images have sides ``8 k + 1``, as in the authors'
      PyTorch code; :mod:`jaxseg.models.grid` extends others.
    - segmentation_models.pytorch's reads stride 8 of a strided ResNet, before its last two stages: see :class:`PSPNet`.
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
    segmentation_models.pytorch's, which is much smaller: ``backbone=ResNet(50, stages=2), level_features=128,
    hidden_kernel_size=1, classifier_kernel_size=3, whole_norm=False, dropout=0.2, auxiliary_weight=0.0, extend_image=False``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map is pooled, the one before feeds the auxiliary head.
        bins: sides of the pooled grids; ``()`` leaves the pyramid out.
        features: channels of each level of the pyramid, and of the 3x3 convolution behind it.
        level_features: channels of each level, where they are others.
        hidden_kernel_size: side of that convolution's kernel.
        classifier_kernel_size: side of the classifier's kernel.
        whole_norm: see :class:`jaxseg.models.pyramid.PyramidPooling`.
        dropout: rate before the classifiers, of whole channels.
        auxiliary_weight: of the auxiliary head's loss; 0 leaves the head out.
        align_corners: of all enlargements; ``False`` is mmsegmentation's.
        extend_image: whether, where corners are aligned, an image is extended to sides ``stride * k + 1``, as
            :mod:`jaxseg.models.grid` says; segmentation_models.pytorch does not, and takes only multiples of the stride.
        dtype: compute dtype of the heads; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=50, output_stride=8, deep_stem=True, first_block_keeps_rate=False)
    bins: tuple[int, ...] = (1, 2, 3, 6)
    features: int = 512
    level_features: int | None = None
    hidden_kernel_size: int = 3
    classifier_kernel_size: int = 1
    whole_norm: bool = True
    dropout: float = 0.1
    auxiliary_weight: float = 0.4
    align_corners: bool = True
    extend_image: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        size = (image.shape[1], image.shape[2])
        aligned = self.align_corners and self.extend_image
        image = grid.extend(image, self.backbone.strides[-1], align_corners=aligned)
        maps = self.backbone(image, train=train)
        if train and self.auxiliary_weight:
            head = FCNHead(self.num_classes, self.dropout, dropped_channels=True, dtype=self.dtype, name="auxiliary_head")
            logits = grid.enlarge(head(before_last(maps), train=train), image, size, align_corners=self.align_corners)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, logits)
        x = maps[-1]
        if self.bins:
            features = self.features if self.level_features is None else self.level_features
            pyramid = PyramidPooling(self.bins, features, self.align_corners, self.whole_norm, dtype=self.dtype, name="pyramid")
            x = pyramid(x, train=train)
        hidden = ConvBNAct(self.features, 0.9, 1e-5, kernel_size=self.hidden_kernel_size, dtype=self.dtype, name="hidden")
        x = hidden(x, train=train)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        side, init = self.classifier_kernel_size, nn.initializers.normal(0.01)
        x = Conv(self.num_classes, side, kernel_init=init, dtype=self.dtype, name="classifier")(x)
        return grid.enlarge(x, image, size, align_corners=self.align_corners)
