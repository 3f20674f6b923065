"""SETR: Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers.

Zheng et al., CVPR 2021, https://arxiv.org/abs/2012.15840

A ViT encodes the image as a sequence at one constant resolution; the decoder is simple. Three of them (section 3.3): naive, a
two-layer network of 1x1 convolutions and one bilinear enlargement; PUP, progressive upsampling, which convolves and doubles in
turns; MLA, multi-level aggregation, which sums the maps of four depths from the deepest up. Auxiliary heads read earlier blocks.

Differs from the paper:
    - Any image size: the grid is padded to whole patches and the logits are cropped. The authors' code takes squares.
    - ``align_corners`` is False, as in the authors' configs and mmsegmentation; MLA's enlargement of its streams by 4 aligns
      corners, as the authors' code does whatever the config says (mmsegmentation's does not).
    - Logits of whole patches are cropped to the image; mmsegmentation stretches them.
    - No bias in convolutions before a batch norm, which takes it out again; the authors have one in naive and PUP.
    - MLA has no class token. The authors' adds its position and drops it before the first block, so that it learns nothing. In
      naive and PUP it goes through all blocks, and the heads leave it out.
    - The heads of the authors' code each hold another classifier of 512 channels, never used. With it, MLA's class token and
      those biases, 150 classes, 512 x 512 pixels and all auxiliary heads, the counts are the paper's: 305.67, 318.31, 310.57 M.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.backbones.vit import ViT
from jaxseg.models.layers import sow_auxiliary
from jaxseg.models.setr_decoders import Aggregation, LinearHead, UpsamplingHead
from jaxseg.types import Image, Logits

Maps = tuple[Float[Array, "b gh gw _"], ...]

#: Each of a size of its own.
SmallLogits = Float[Array, "b _ _ k"]


class SETR(nn.Module):
    """What the three have in common: a ViT, a main head, and auxiliary heads that count in training.

    Attributes:
        num_classes: channels of the logits.
        backbone: its ``feature_depths`` place the heads.
        head_features: channels inside the heads; the reference's 256.
        auxiliary_weight: of each auxiliary head's loss; the reference's 0.4.
        align_corners: of enlargements.
        dtype: compute dtype of the heads; logits are float32 all the same.
    """

    num_classes: int
    backbone: ViT = ViT(image_size=(768, 768), feature_depths=(10, 15, 20, 24), class_token=True)
    head_features: int = 256
    auxiliary_weight: float = 0.4
    align_corners: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        height, width = image.shape[1:3]
        maps = self.backbone(image, train=train)
        stride = self.backbone.strides[-1]
        size = (maps[-1].shape[1] * stride, maps[-1].shape[2] * stride)
        logits, auxiliary = self._decode(maps, train=train)
        for i, small in enumerate(auxiliary, start=1):
            sow_auxiliary(self, f"auxiliary{i}", self.auxiliary_weight, self._enlarge(small, size)[:, :height, :width])
        return self._enlarge(logits, size)[:, :height, :width]

    def _decode(self, maps: Maps, *, train: bool) -> tuple[SmallLogits, list[SmallLogits]]:
        """Return small logits, and in training those of the auxiliary heads."""
        raise NotImplementedError

    def _enlarge(self, logits: SmallLogits, size: tuple[Any, Any]) -> Logits:
        return ops.resize(logits.astype(jnp.float32), size, align_corners=self.align_corners)

    def _head(self, name: str, kernel_size: int, convs: int = 1, enlarge: int = 1) -> UpsamplingHead:
        return UpsamplingHead(
            self.num_classes,
            self.head_features,
            kernel_size=kernel_size,
            convs=convs,
            enlarge=enlarge,
            align_corners=self.align_corners,
            dtype=self.dtype,
            name=name,
        )


class SETRNaive(SETR):
    """SETR-Naive; the defaults are on ViT-L/16 at 768 x 768. See :class:`SETR` for the attributes.

    The last map feeds the main head, each earlier one (after blocks 10, 15 and 20) an auxiliary head of the same form.

    mmsegmentation's: ``backbone=ViT(..., class_token=True, patch_bias=False), enlarge=4``, and on ADE20K
    ``auxiliary_convolutions=2``.

    Attributes:
        enlarge: of the maps before the classifiers; the rest of the way follows behind them.
        auxiliary_convolutions: of each auxiliary head, with an enlargement after each.
    """

    enlarge: int = 1
    auxiliary_convolutions: int = 1

    def _decode(self, maps: Maps, *, train: bool) -> tuple[SmallLogits, list[SmallLogits]]:
        auxiliary = []
        for i, x in enumerate(maps[:-1] if train else (), start=1):
            head = self._head(f"auxiliary_head{i}", 1, convs=self.auxiliary_convolutions, enlarge=self.enlarge)
            auxiliary.append(head(x, train=train))
        return self._head("head", 1, enlarge=self.enlarge)(maps[-1], train=train), auxiliary


class SETRPUP(SETR):
    """SETR-PUP; the defaults are on ViT-L/16 at 768 x 768. See :class:`SETR` for the attributes.

    Four 3x3 convolutions with a doubling after each. Every map, the last one too, feeds an auxiliary head: one 3x3 convolution,
    an enlargement by 4, the classifier.

    mmsegmentation's: ``backbone=ViT(..., class_token=True, patch_bias=False), auxiliary_last=False, auxiliary_convolutions=2``.

    Attributes:
        auxiliary_last: whether the last map feeds an auxiliary head too.
        auxiliary_convolutions: of each auxiliary head, with an enlargement after each.
    """

    auxiliary_last: bool = True
    auxiliary_convolutions: int = 1

    def _decode(self, maps: Maps, *, train: bool) -> tuple[SmallLogits, list[SmallLogits]]:
        auxiliary, read = [], maps if self.auxiliary_last else maps[:-1]
        for i, x in enumerate(read if train else (), start=1):
            head = self._head(f"auxiliary_head{i}", 3, convs=self.auxiliary_convolutions, enlarge=4)
            auxiliary.append(head(x, train=train))
        return self._head("head", 3, convs=4, enlarge=2)(maps[-1], train=train), auxiliary


class SETRMLA(SETR):
    """SETR-MLA; the defaults are on ViT-L/16 at 768 x 768, four streams from blocks 6, 12, 18 and 24.

    See :class:`SETR` for the other attributes. Every stream feeds an auxiliary head, a 1x1 convolution without bias.

    mmsegmentation's: ``backbone=ViT(..., patch_bias=False), stream_align_corners=False, classifier_kernel_size=1,
    auxiliary_bias=True``.

    Attributes:
        stream_features: channels of each stream before they are put together.
        stream_align_corners: of the enlargement of the streams by 4.
        classifier_kernel_size: side of the classifier's kernel.
        auxiliary_bias: whether the auxiliary heads have a bias.
    """

    backbone: ViT = ViT(image_size=(768, 768), feature_depths=(6, 12, 18, 24))
    stream_features: int = 128
    stream_align_corners: bool = True
    classifier_kernel_size: int = 3
    auxiliary_bias: bool = False

    def _decode(self, maps: Maps, *, train: bool) -> tuple[SmallLogits, list[SmallLogits]]:
        if len(maps) < 2:
            raise InputError(
                f"SETRMLA sums the maps of several depths, and the backbone has feature_depths={self.backbone.feature_depths}: "
                "give two or more."
            )
        decoder = Aggregation(
            self.num_classes,
            self.head_features,
            self.stream_features,
            align_corners=self.stream_align_corners,
            classifier_kernel_size=self.classifier_kernel_size,
            dtype=self.dtype,
            name="head",
        )
        logits, streams = decoder(maps, train=train)
        auxiliary = []
        for i, x in enumerate(streams if train else (), start=1):
            head = LinearHead(self.num_classes, self.auxiliary_bias, dtype=self.dtype, name=f"auxiliary_head{i}")
            auxiliary.append(head(x))
        return logits, auxiliary
