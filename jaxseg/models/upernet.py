"""UPerNet: Unified Perceptual Parsing for Scene Understanding.

Xiao et al., ECCV 2018, https://arxiv.org/abs/1807.10221

A feature pyramid over four maps of a backbone, whose coarsest first goes through pyramid pooling: 1x1 laterals are added from
the top down, each sum is convolved, all are enlarged to the finest and fused (section 3.1). It is how Swin segments.

Differs from the paper:
    - Of the paper's heads the one for semantic segmentation, in mmsegmentation's form: 512 channels, an auxiliary head of 256
      on the third map with weight 0.4, dropout, enlargements without aligned corners. transformers' is the same without
      dropout: ``dropout=0.0``.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.backbones.swin import Swin
from jaxseg.models.fcn import FCNHead
from jaxseg.models.layers import Conv, ConvBNAct, sow_auxiliary
from jaxseg.models.pyramid import PyramidPooling
from jaxseg.types import Image, Logits

Maps = tuple[Float[Array, "b _ _ _"], ...]


class UPerNet(nn.Module):
    """UPerNet; the defaults are mmsegmentation's on Swin-T.

    segmentation_models.pytorch's: ``backbone=ResNet(50), features=256, dropout=0.0, auxiliary_weight=0.0, feature_norms=True,
    align_corners=True``.

    Attributes:
        num_classes: channels of the logits.
        backbone: two maps or more, none finer than the one before; the last four are read.
        features: channels of every map of the pyramid.
        bins: of the pyramid pooling.
        dropout: rate before the classifier, and before the auxiliary one, of whole channels.
        auxiliary_features: channels inside the auxiliary head, on the last map but one.
        auxiliary_weight: of its loss; 0 leaves the head out.
        feature_norms: a layer norm on each map of the backbone, as segmentation_models.pytorch has it for all backbones.
        align_corners: of the enlargement of the logits, and of no other; that library's is ``True``.
        dtype: compute dtype of all but the backbone; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = Swin(drop_path=0.3)
    features: int = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    auxiliary_features: int = 256
    auxiliary_weight: float = 0.4
    feature_norms: bool = False
    align_corners: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for a backbone of a single map.
        """
        size = (image.shape[1], image.shape[2])
        maps = self.backbone(image, train=train)[-4:]
        if len(maps) < 2:
            raise InputError(
                f"UPerNet builds a pyramid of several maps, and the backbone has strides {self.backbone.strides}: give one with "
                "two or more."
            )
        if train and self.auxiliary_weight:
            head = FCNHead(
                self.num_classes,
                self.dropout,
                self.auxiliary_features,
                dropped_channels=True,
                dtype=self.dtype,
                name="auxiliary_head",
            )
            logits = head(maps[-2], train=train).astype(jnp.float32)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, ops.resize(logits, size))
        if self.feature_norms:
            norms = (nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=f"norm{i}") for i in range(1, len(maps) + 1))
            maps = tuple(norm(x) for norm, x in zip(norms, maps, strict=True))
        x = self._fuse(self._pyramid(maps, train=train), train=train)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        classifier = Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier")
        return ops.resize(classifier(x).astype(jnp.float32), size, align_corners=self.align_corners)

    def _pyramid(self, maps: Maps, *, train: bool) -> Maps:
        """Return laterals and pooled map summed from the top down, each but the top convolved."""
        pooling = PyramidPooling(self.bins, self.features, dtype=self.dtype, name="pyramid_pooling")
        x = self._conv(3, "pooled")(pooling(maps[-1], train=train), train=train)
        levels = [x]
        for i in reversed(range(1, len(maps))):
            lateral = self._conv(1, f"lateral{i}")(maps[i - 1], train=train)
            x = lateral + ops.resize(x, (lateral.shape[1], lateral.shape[2]))
            levels.insert(0, self._conv(3, f"smooth{i}")(x, train=train))
        return tuple(levels)

    def _fuse(self, levels: Maps, *, train: bool) -> Float[Array, "b h w c"]:
        finest = (levels[0].shape[1], levels[0].shape[2])
        x = jnp.concatenate([ops.resize(level, finest) for level in levels], axis=-1)
        return self._conv(3, "fuse")(x, train=train)

    def _conv(self, kernel_size: int, name: str) -> ConvBNAct:
        return ConvBNAct(self.features, 0.9, 1e-5, kernel_size=kernel_size, dtype=self.dtype, name=name)
