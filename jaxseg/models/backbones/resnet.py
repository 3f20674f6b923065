"""ResNet: Deep Residual Learning for Image Recognition.

He, Zhang, Ren, Sun, CVPR 2016, https://arxiv.org/abs/1512.03385, and its atrous form for segmentation: with ``output_stride`` 16
or 8 the last one or two stages keep their resolution and spread their kernels' taps instead (Chen et al., DeepLab v3, 2017,
https://arxiv.org/abs/1706.05587, section 3.1).

Differs from the paper:
    - A bottleneck strides in its 3x3 convolution, as torchvision and most do ("v1.5"); ``stride_in_1x1`` is the paper's.
    - Of atrous ResNets torchvision's, timm's and mmsegmentation's give the first block of a stage the rate of the stage before,
      segmentation_models.pytorch's and PSPNet's the new one: ``first_block_keeps_rate``. mmsegmentation's ResNetV1c has another
      stem, ``stem_features``. Its blocks of two 3x3 convolutions (ResNet-18 and -34) spread the first alone; here both.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.layers import ConvBNAct
from jaxseg.types import Image

#: Depth: whether its blocks are bottlenecks, and how many there are in each stage (the paper's Table 1).
DEPTHS = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}

#: torchvision's, for which most published weights were trained.
EPSILON = 1e-5

#: He et al.'s initialisation with the fan of the output, as torchvision has it.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 (a bottleneck), added to the input.

    Attributes:
        features: channels inside; a bottleneck has four times as many outside.
        bottleneck: the kind of block.
        strides: of the block.
        atrous_rate: of its 3x3 convolutions.
        first_rate: of the first of them, which strides or once did; ``None`` is ``atrous_rate``.
        stride_in_1x1: whether a bottleneck strides in its first 1x1 convolution, as the paper's, or in the 3x3.
        momentum: of the batch normalisations.
        dtype: compute dtype.
    """

    features: int
    bottleneck: bool
    strides: int = 1
    atrous_rate: int = 1
    first_rate: int | None = None
    stride_in_1x1: bool = False
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Return the block's map."""
        outside = 4 * self.features if self.bottleneck else self.features
        first, second = (self.strides, 1) if self.stride_in_1x1 or not self.bottleneck else (1, self.strides)
        rate = self.atrous_rate if self.first_rate is None else self.first_rate
        layers: tuple[tuple[int, int, int, int], ...]
        if self.bottleneck:
            layers = ((self.features, 1, first, 1), (self.features, 3, second, rate), (outside, 1, 1, 1))
        else:
            layers = ((outside, 3, first, rate), (outside, 3, 1, self.atrous_rate))
        y = x
        for n, (features, kernel_size, strides, rate) in enumerate(layers, start=1):
            activation = nn.relu if n < len(layers) else None
            y = self._conv(features, kernel_size, strides, rate, activation, f"conv{n}")(y, train=train)
        if x.shape[3] != outside or self.strides != 1:
            x = self._conv(outside, 1, self.strides, 1, None, "shortcut")(x, train=train)
        return nn.relu(x + y)

    def _conv(self, features: int, kernel_size: int, strides: int, rate: int, activation: Any, name: str) -> ConvBNAct:
        return ConvBNAct(
            features,
            self.momentum,
            EPSILON,
            kernel_size=kernel_size,
            strides=strides,
            atrous_rate=rate,
            activation=activation,
            kernel_init=kernel_init,
            dtype=self.dtype,
            name=name,
        )


class ResNet(nn.Module):
    """ResNet without its classifier.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        output_stride: of the last map: 32, 16 or 8. The parameters are the same for all.
        multi_grid: the rates of the fourth stage's blocks, and of later ones', as multiples of its own (DeepLab v3, section
            3.2.1); ``None`` is 1 each.
        extra_stages: copies of the fourth stage after it, each with the stride of 2, or twice the rate, that it brings (DeepLab
            v3, "going deeper", section 3.2: its block5 to block7 are 3).
        stages: how many of the four stages there are, and of the maps after the stem's.
        deep_stem: three 3x3 convolutions (64, 64, 128), as PSPNet, instead of one 7x7 of 64.
        stem_features: channels of the deep stem's three; ``None`` is PSPNet's. mmsegmentation's ResNetV1c has (32, 32, 64).
        stride_in_1x1: see :class:`Block`.
        first_block_keeps_rate: whether the first block of a stage whose stride became a rate still has the rate of the stage
            before: then every value of the strided network is also one of the atrous one, as in torchvision's and DeepLab v3's
            code. PSPNet's has the new rate there. Stages with ``multi_grid`` have the new rate in any case, as have bottlenecks
            with ``stride_in_1x1``, whose 3x3 convolution comes after the stride, as in DeepLab v2.
        width: channels of the stem and inside the first stage; the paper's 64.
        momentum: share of the old running statistics that is kept per step; torchvision's 0.9.
        dtype: compute dtype.
    """

    depth: int = 50
    output_stride: int = 32
    multi_grid: tuple[int, ...] | None = None
    extra_stages: int = 0
    stages: int = 4
    deep_stem: bool = False
    stem_features: tuple[int, int, int] | None = None
    stride_in_1x1: bool = False
    first_block_keeps_rate: bool = True
    width: int = 64
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the features: of the stem, then of the stages."""
        strides = ((4, 8, 16, 32) + (32,) * self.extra_stages)[: self.stages + self.extra_stages]
        return (2, *(min(stride, self.output_stride) for stride in strides))

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Return the maps of the stem and of the stages, finest first, of sizes ``ceil(h / stride)``.

        Raises:
            InputError: for a depth or an output stride that there is not, or rates that do not fit the last stage.
        """
        bottleneck, counts = self._check()
        x = self._stem(image, train=train)
        found = [x]
        x = ops.max_pool(x, window=3, strides=2, padding=1)
        stride, rate = 4, 1
        for stage, count in enumerate(counts):
            strides, before = (1, rate) if stage == 0 else (2, rate)
            if strides == 2 and stride == self.output_stride:
                strides, rate = 1, 2 * rate
            stride *= strides
            grid = self.multi_grid if stage >= 3 else None
            for n in range(count):
                strides_first = bottleneck and self.stride_in_1x1
                keeps = n == 0 and self.first_block_keeps_rate and not grid and not strides_first
                block = Block(
                    self.width * 2 ** min(stage, 3),
                    bottleneck,
                    strides=strides if n == 0 else 1,
                    atrous_rate=rate * (grid[n] if grid else 1),
                    first_rate=before if keeps else None,
                    stride_in_1x1=self.stride_in_1x1,
                    momentum=self.momentum,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{n + 1}",
                )
                x = block(x, train=train)
            found.append(x)
        return tuple(found)

    def _stem(self, x: Image, *, train: bool) -> Float[Array, "b h2 w2 c2"]:
        layers: tuple[tuple[int, int, int], ...] = ((self.width, 7, 2),)
        if self.deep_stem:
            first, second, third = self.stem_features or (self.width, self.width, 2 * self.width)
            layers = ((first, 3, 2), (second, 3, 1), (third, 3, 1))
        for n, (features, kernel_size, strides) in enumerate(layers, start=1):
            name = f"stem{n}" if self.deep_stem else "stem"
            conv = ConvBNAct(
                features,
                self.momentum,
                EPSILON,
                kernel_size=kernel_size,
                strides=strides,
                kernel_init=kernel_init,
                dtype=self.dtype,
                name=name,
            )
            x = conv(x, train=train)
        return x

    def _check(self) -> tuple[bool, tuple[int, ...]]:
        if self.depth not in DEPTHS:
            raise InputError(f"depth={self.depth}: ResNet has the depths {', '.join(map(str, DEPTHS))}.")
        if self.output_stride not in (8, 16, 32):
            raise InputError(f"output_stride={self.output_stride}: ResNet takes 8, 16 and 32.")
        if self.stem_features is not None and not self.deep_stem:
            raise InputError(f"stem_features={self.stem_features} are those of a deep stem: give deep_stem=True too.")
        if self.extra_stages < 0:
            raise InputError(f"extra_stages={self.extra_stages} must be at least 0.")
        bottleneck, counts = DEPTHS[self.depth]
        if self.multi_grid is not None and len(self.multi_grid) != counts[3]:
            raise InputError(
                f"multi_grid={self.multi_grid} gives {len(self.multi_grid)} rates, but the last stage of ResNet-{self.depth} has "
                f"{counts[3]} blocks: give one per block."
            )
        if not 1 <= self.stages <= 4 or (self.stages < 4 and (self.extra_stages or self.multi_grid)):
            raise InputError(
                f"stages={self.stages}: ResNet has 1 to 4; extra_stages and multi_grid are about the fourth, and need it."
            )
        return bottleneck, counts[: self.stages] + counts[3:] * self.extra_stages
