"""DeepLab v3: Rethinking Atrous Convolution for Semantic Image Segmentation.

Chen, Papandreou, Schroff, Adam, 2017, https://arxiv.org/abs/1706.05587

An atrous ResNet with a multi-grid, and atrous spatial pyramid pooling: 3x3 convolutions at several rates beside a 1x1 convolution
and the whole image's average, each with batch normalisation, concatenated and projected (section 3.3). Or the cascade of section
3.2: copies of the last stage, each at twice the rate of the one before.

Differs from the paper:
    - Running statistics keep 0.9 per step; the paper's 0.9997, for long runs from ImageNet: set ``momentum`` here and in the
      backbone.
    - mmsegmentation concatenates the image's average before the other branches; its files are read in our order.
    - Dropout of 0.1 before the classifier, as in the authors' code. mmsegmentation drops whole channels before the classifiers of
      both heads, here single values are dropped.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.models import grid
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.fcn import FCNHead, before_last
from jaxseg.models.grid import rates_at
from jaxseg.models.layers import Conv, ConvBNAct, SeparableConv, sow_auxiliary
from jaxseg.types import Image, Logits

#: Of the authors' code, for depthwise and pointwise kernels outside of Xception.
depthwise_init = nn.initializers.truncated_normal(0.33)
pointwise_init = nn.initializers.truncated_normal(0.06)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with batch normalisation and image-level features.

    Attributes:
        atrous_rates: of the 3x3 branches, as they are used: nothing is doubled here.
        features: channels of every branch and of the projection.
        image_pooling: adds the average of the whole map as a branch. It is one value per channel and image, so that batches of
            one leave its batch normalisation nothing to learn from.
        separable: the 3x3 branches are depthwise separable, as in DeepLab v3+.
        projection_kernel_size: side of the projection's kernel; the paper's 1, mmsegmentation's 3.
        depthwise_norm: see :class:`jaxseg.models.layers.SeparableConv`.
        momentum: of the batch normalisations.
        dtype: compute dtype.
    """

    atrous_rates: tuple[int, ...]
    features: int = 256
    image_pooling: bool = True
    separable: bool = False
    projection_kernel_size: int = 1
    depthwise_norm: bool = True
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w features"]:
        """Return the projected map."""
        shared: dict[str, Any] = {"momentum": self.momentum, "epsilon": 1e-5, "dtype": self.dtype}
        branches = [ConvBNAct(self.features, kernel_size=1, name="branch1x1", **shared)(x, train=train)]
        for n, rate in enumerate(self.atrous_rates, start=1):
            name = f"branch{n}"  # not by its rate, which changes with the output stride while the parameters stay
            branch = (
                separable_conv(
                    self.features, self.momentum, self.dtype, name, atrous_rate=rate, depthwise_norm=self.depthwise_norm
                )
                if self.separable
                else ConvBNAct(self.features, atrous_rate=rate, name=name, **shared)
            )
            branches.append(branch(x, train=train))
        if self.image_pooling:
            pooled = ConvBNAct(self.features, kernel_size=1, name="image_pooling", **shared)
            average = pooled(x.mean((1, 2), keepdims=True), train=train)
            branches.append(jnp.broadcast_to(average, (*x.shape[:3], self.features)))
        x = jnp.concatenate(branches, axis=-1)
        return ConvBNAct(self.features, kernel_size=self.projection_kernel_size, name="projection", **shared)(x, train=train)


def separable_conv(
    features: int, momentum: float, dtype: Any, name: str, *, atrous_rate: int = 1, depthwise_norm: bool = True
) -> SeparableConv:
    """Return a separable 3x3 convolution with ReLU after both its parts, as the heads of DeepLab v3+ have them."""
    return SeparableConv(
        features,
        momentum,
        1e-5,
        atrous_rate=atrous_rate,
        depthwise_norm=depthwise_norm,
        depthwise_init=depthwise_init,
        pointwise_init=pointwise_init,
        dtype=dtype,
        name=name,
    )


class DeepLabV3(nn.Module):
    """DeepLab v3; the defaults are the paper's best, ResNet-101 with a multi-grid of (1, 2, 4).

    - The cascade with block7: ``backbone=ResNet(101, 16, multi_grid=(1, 2, 1), extra_stages=3), aspp=False``.
    - torchvision's: ``backbone=ResNet(50, output_stride=8), dropout=0.5, hidden_convolution=True, auxiliary_weight=0.5,
      align_corners=False``.
    - mmsegmentation's: ``backbone=ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64)), features=512,
      projection_kernel_size=3, auxiliary_weight=0.4, align_corners=False``.
    - segmentation_models.pytorch's: ``backbone=ResNet(50, 8, first_block_keeps_rate=False), dropout=0.5,
      hidden_convolution=True, extend_image=False``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last map is classified, the one before feeds the auxiliary head.
        aspp: atrous spatial pyramid pooling before the classifier; ``False`` classifies the backbone's map, as the cascade.
        atrous_rates: at output stride 16; doubled at 8, halved at 32.
        features: channels of the head.
        image_pooling: see :class:`ASPP`.
        projection_kernel_size: see :class:`ASPP`.
        dropout: rate before the classifier.
        hidden_convolution: a 3x3 convolution between projection and classifier, as in torchvision, which then has its dropout
            before it.
        auxiliary_weight: of an auxiliary head's loss; 0, as in the paper, leaves the head out.
        momentum: of the head's batch normalisations.
        align_corners: of the enlargement.
        extend_image: whether, where corners are aligned, an image is extended to sides ``stride * k + 1``, as
            :mod:`jaxseg.models.grid` says; segmentation_models.pytorch does not, and takes only multiples of the stride.
        dtype: compute dtype of the heads; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=101, output_stride=16, multi_grid=(1, 2, 4))
    aspp: bool = True
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    features: int = 256
    image_pooling: bool = True
    projection_kernel_size: int = 1
    dropout: float = 0.1
    hidden_convolution: bool = False
    auxiliary_weight: float = 0.0
    momentum: float = 0.9
    align_corners: bool = True
    extend_image: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for rates that cannot be halved.
        """
        stride, size = self.backbone.strides[-1], (image.shape[1], image.shape[2])
        image = grid.extend(image, stride, align_corners=self.align_corners and self.extend_image)
        maps = self.backbone(image, train=train)
        if train and self.auxiliary_weight:
            head = FCNHead(self.num_classes, dtype=self.dtype, name="auxiliary_head")
            logits = grid.enlarge(head(before_last(maps), train=train), image, size, align_corners=self.align_corners)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, logits)
        x = maps[-1]
        if self.aspp:
            x = ASPP(
                rates_at(self.atrous_rates, stride, given_at=16),
                self.features,
                self.image_pooling,
                projection_kernel_size=self.projection_kernel_size,
                momentum=self.momentum,
                dtype=self.dtype,
                name="aspp",
            )(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.hidden_convolution:
            x = ConvBNAct(self.features, self.momentum, 1e-5, dtype=self.dtype, name="hidden")(x, train=train)
        x = Conv(self.num_classes, 1, kernel_init=nn.initializers.truncated_normal(0.01), dtype=self.dtype, name="classifier")(x)
        return grid.enlarge(x, image, size, align_corners=self.align_corners)
