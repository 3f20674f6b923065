"""VGG16: Very Deep Convolutional Networks for Large-Scale Image Recognition.

Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556 (configuration D), with batch normalisation, if asked for,
as torchvision's ``vgg16_bn``. The fully connected layers are here as the convolutions that FCN made of them (Long et al., CVPR
2015, section 3.1).

Differs from the paper:
    - Kernels start from He et al.'s normal initialisation; the paper's first networks from a normal of deviation 0.01, which a
      network of this depth does not learn from.
    - ``pool_window=3`` pools over 3x3 pixels with a margin of 1, so that features lie on pixels, and ``output_stride=8`` leaves
      out the last two strides and spreads the taps of what follows: VGG16 as DeepLab v1 and v2 have it (Chen et al., 2015,
      https://arxiv.org/abs/1412.7062, section 3.1).
    - Pooling rounds up (``ceil_mode``), as in Caffe, where FCN, SegNet and DeepLab were made; torchvision rounds down. They
      agree where height and width are multiples of 32.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.layers import BatchNorm, Conv
from jaxseg.types import Image


class Stage(NamedTuple):
    """What a stage of VGG hands on.

    Attributes:
        pooled: the maxima of its windows, after dropout.
        argmax: where they were, in the plane of ``size``; see :func:`jaxseg.ops.max_pool_with_argmax`.
        size: height and width before pooling.
    """

    pooled: Float[Array, "b h w c"]
    argmax: Int[Array, "b h w c"]
    size: tuple[Any, Any]


class VGG16(nn.Module):
    """The thirteen convolutions and five poolings of VGG16.

    Attributes:
        batch_norm: batch normalisation between each convolution and its ReLU; the convolutions keep their bias.
        widths: channels of the five stages.
        convolutions: number of 3x3 convolutions in each.
        output_stride: of the last map: 32, 16 or 8; less than 32 needs ``pool_window=3``. The parameters are the same for all.
        pool_window: side of the poolings' windows: 2, or 3 with a margin of 1.
        first_padding: zeros around the image; FCN's reference pads by 100 (:mod:`jaxseg.models.fcn`).
        ceil_mode: whether pooling rounds sizes up.
        dropout: rate after the three deepest poolings, as in the Bayesian SegNet; of three stages, after all.
        dtype: compute dtype.
    """

    batch_norm: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    output_stride: int = 32
    pool_window: int = 2
    first_padding: int = 1
    ceil_mode: bool = True
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the features."""
        return tuple(min(2**n, self.output_stride) for n in range(1, len(self.widths) + 1))

    def mirrored(self, n: int) -> tuple[int, ...]:
        """Return the channels of a decoder's stage ``n``, counted from 0, that mirrors this: its last leads to ``n - 1``."""
        return (self.widths[n],) * (self.convolutions[n] - 1) + (self.widths[max(n - 1, 0)],)

    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Return the pooled maps of the stages, finest first: sizes ``ceil(h / stride)`` with ``ceil_mode``."""
        return tuple(stage.pooled for stage in self.stages(image, train=train))

    @nn.compact
    def stages(self, image: Image, *, train: bool = False) -> tuple[Stage, ...]:
        """Return every stage with the positions of its maxima, for decoders that unpool.

        Raises:
            InputError: for windows or an output stride that there are not.
        """
        self._check()
        x, found, stride, rate = image, [], 1, 1
        for n, (features, count) in enumerate(zip(self.widths, self.convolutions, strict=True), start=1):
            for m in range(1, count + 1):
                padding = self.first_padding if (n, m) == (1, 1) else 1
                padding = rate if rate > 1 else padding
                x = Conv(features, padding=padding, atrous_rate=rate, dtype=self.dtype, name=f"conv{n}_{m}")(x)
                if self.batch_norm:
                    x = BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"bn{n}_{m}")(x, train=train)
                x = nn.relu(x)
            size = (x.shape[1], x.shape[2])
            strides, rate = (2, rate) if stride < self.output_stride else (1, 2 * rate)
            stride *= strides
            window, margin = self.pool_window, self.pool_window // 3
            x, argmax = ops.max_pool_with_argmax(x, window=window, strides=strides, padding=margin, ceil_mode=self.ceil_mode)
            if n > len(self.widths) - 3:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            found.append(Stage(x, argmax, size))
        return tuple(found)

    def _check(self) -> None:
        if len(self.widths) != len(self.convolutions):
            raise InputError(f"widths={self.widths} and convolutions={self.convolutions} must name as many stages.")
        if self.pool_window not in (2, 3):
            raise InputError(f"pool_window={self.pool_window}: VGG16 pools over 2 or 3.")
        if self.output_stride not in (8, 16, 32):
            raise InputError(f"output_stride={self.output_stride}: VGG16 takes 8, 16 and 32.")
        if self.output_stride < 32 and self.pool_window == 2:
            raise InputError(
                f"output_stride={self.output_stride} with pool_window=2: pooling over 2 without a stride shifts the map by half "
                "a pixel. Set pool_window=3."
            )


class ConvolutionalFC(nn.Module):
    """fc6 and fc7 of VGG16 as convolutions, each with ReLU and dropout.

    Attributes:
        features: channels of both; VGG's 4096.
        kernel_size: side of fc6's kernel; VGG's 7. fc7's is 1.
        padding: zeros around fc6's input; ``None`` keeps the size.
        atrous_rate: spacing of fc6's taps.
        dropout: rate after each.
        batch_norm: batch normalisation before each ReLU.
        dtype: compute dtype.
    """

    features: int = 4096
    kernel_size: int = 7
    padding: int | None = None
    atrous_rate: int = 1
    dropout: float = 0.5
    batch_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 features"]:
        """Return fc7's map."""
        fc6 = Conv(
            self.features,
            self.kernel_size,
            padding=self.padding,
            atrous_rate=self.atrous_rate,
            dtype=self.dtype,
            name="fc6",
        )
        for number, layer in ((6, fc6), (7, Conv(self.features, 1, dtype=self.dtype, name="fc7"))):
            x = layer(x)
            if self.batch_norm:
                x = BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"bn{number}")(x, train=train)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return x
