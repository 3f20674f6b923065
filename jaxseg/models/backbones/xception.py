"""Xception-65, aligned and modified for segmentation, as in DeepLab v3+.

Chollet, "Xception: Deep learning with depthwise separable convolutions", CVPR 2017, https://arxiv.org/abs/1610.02357; modified by
Qi et al. (MSRA's entry to COCO 2017) and by Chen et al., DeepLab v3+, 2018, https://arxiv.org/abs/1802.02611, section 3.2 and
Figure 4: more blocks, separable convolutions with strides in place of all max pooling, batch normalisation after each depthwise
convolution, and ReLU there in the last block alone. Details as in the authors' code.

Differs from the paper:
    - Running statistics keep 0.9 per step; the authors' keep 0.9997, for long runs from published weights: set ``momentum``.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.models.layers import ConvBNAct, SeparableConv
from jaxseg.types import Image

kernel_init = nn.initializers.truncated_normal(0.09)


class Block(nn.Module):
    """Three separable convolutions, the last with the stride, added to the input.

    Attributes:
        features: channels of the three.
        strides: of the block.
        atrous_rate: of its depthwise kernels.
        shortcut: ``"conv"`` (1x1, with the stride), ``"sum"`` (the input itself) or ``"none"``.
        activation_inside: ReLU after each depthwise and each pointwise convolution; else one before each separable convolution.
        momentum: of the batch normalisations.
        dtype: compute dtype.
    """

    features: tuple[int, int, int]
    strides: int = 1
    atrous_rate: int = 1
    shortcut: str = "conv"
    activation_inside: bool = False
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> tuple[Float[Array, "b h w c2"], Float[Array, "b h2 w2 c3"]]:
        """Return the map of the second convolution, the last before the stride, and the block's own."""
        activation = nn.relu if self.activation_inside else None
        shared: dict[str, Any] = {"momentum": self.momentum, "epsilon": 1e-3, "dtype": self.dtype}
        y, before = x, x
        for n, features in enumerate(self.features, start=1):
            before = y
            conv = SeparableConv(
                features,
                strides=self.strides if n == 3 else 1,
                atrous_rate=self.atrous_rate,
                depthwise_activation=activation,
                activation=activation,
                depthwise_init=kernel_init,
                pointwise_init=kernel_init,
                name=f"conv{n}",
                **shared,
            )
            y = conv(y if self.activation_inside else nn.relu(y), train=train)
        if self.shortcut == "conv":
            x = ConvBNAct(
                self.features[2],
                kernel_size=1,
                strides=self.strides,
                activation=None,
                kernel_init=kernel_init,
                name="shortcut",
                **shared,
            )(x, train=train)
        return before, y if self.shortcut == "none" else x + y


class Xception65(nn.Module):
    """Xception-65 without its classifier.

    Attributes:
        output_stride: of the last map: 32, 16 or 8. The parameters are the same for all.
        middle_blocks: number of blocks of the middle flow; 16.
        width: channels of the first convolution, to which all others are in proportion; 32.
        momentum: share of the old running statistics that is kept per step.
        dtype: compute dtype.
    """

    output_stride: int = 16
    middle_blocks: int = 16
    width: int = 32
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the features: of the maps before each of the last four steps down, then of the last map."""
        return tuple(min(stride, self.output_stride) for stride in (2, 4, 8, 16, 32))

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Return the maps, finest first, of sizes ``ceil(h / stride)``; that of stride 4 is DeepLab v3+'s low-level map.

        Raises:
            InputError: for an output stride that there is not, or sizes below the least.
        """
        if self.output_stride not in (8, 16, 32):
            raise InputError(f"output_stride={self.output_stride}: Xception65 takes 8, 16 and 32.")
        if self.width < 1 or self.middle_blocks < 0:
            raise InputError(f"width={self.width} must be at least 1, and middle_blocks={self.middle_blocks} at least 0.")
        x = self._stem(image, 32, 2, "stem1", train=train)
        x = self._stem(x, 64, 1, "stem2", train=train)
        found, stride, rate = [], 2, 1
        for name, features, shortcut in self._blocks():
            strides = 2 if shortcut == "conv" else 1
            atrous = strides == 2 and stride == self.output_stride
            block = Block(
                features,
                strides=1 if atrous else strides,
                atrous_rate=rate,
                shortcut=shortcut,
                activation_inside=shortcut == "none",
                momentum=self.momentum,
                dtype=self.dtype,
                name=name,
            )
            before, x = block(x, train=train)
            if strides == 2:
                found.append(before)
                stride, rate = (stride, 2 * rate) if atrous else (2 * stride, rate)
        return (*found, x)

    def _stem(self, x: Image, features: int, strides: int, name: str, *, train: bool) -> Float[Array, "b h2 w2 c2"]:
        conv = ConvBNAct(
            self._scaled(features), self.momentum, 1e-3, strides=strides, kernel_init=kernel_init, dtype=self.dtype, name=name
        )
        return conv(x, train=train)

    def _blocks(self) -> list[tuple[str, tuple[int, int, int], str]]:
        entry = [(f"entry{n}", (f, f, f), "conv") for n, f in enumerate((128, 256, 728), start=1)]
        middle = [(f"middle{n}", (728, 728, 728), "sum") for n in range(1, self.middle_blocks + 1)]
        end = [("exit1", (728, 1024, 1024), "conv"), ("exit2", (1536, 1536, 2048), "none")]
        return [
            (name, (self._scaled(a), self._scaled(b), self._scaled(c)), kind) for name, (a, b, c), kind in (*entry, *middle, *end)
        ]

    def _scaled(self, features: int) -> int:
        return features * self.width // 32
