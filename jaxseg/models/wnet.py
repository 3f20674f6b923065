"""W-Net: A Deep Model for Fully Unsupervised Image Segmentation.

Xia and Kulis, 2017, https://arxiv.org/abs/1711.08506

Two U-Nets in a row, an autoencoder whose code is a segmentation: the first gives every pixel a probability of each of K
segments, the second makes the image from these alone. Each has nine modules of two 3x3 convolutions, each followed by ReLU and
then batch normalisation; max poolings and 2x2 transposed convolutions between them, and a 1x1 convolution at the end: with
``depth=4``, 46 convolutions. All modules but 1, 9, 10 and 18, the first and the last of each U-Net, are depthwise separable.
:func:`jaxseg.objectives.segment_and_reconstruct` trains it without labels.

Not to be confused with W-Net of Chen et al., 2018, a bridged pair of U-Nets that is trained with labels.

Differs from the paper:
    - Any image size, where the paper has 224 x 224: each U-Net extends its input to a multiple of ``2**depth`` and crops.
    - The paper does not say where its dropout of 0.65 is; here on the bottom map of each U-Net, where U-Net has it.
    - Skip connections are U-Net's, from the end of a contracting module to the beginning of the expanding one.
    - A separable convolution has one bias, after its 1x1 convolution, and nothing between its halves.
    - The smoothing of the result by a dense CRF and the hierarchical merging of segments are no part of the network.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.layers import BatchNorm, Conv, ConvTranspose
from jaxseg.types import Image, Logits


class ConvModule(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU and then batch normalisation.

    Attributes:
        features: channels of both.
        separable: convolve every channel by itself, then mix them by a 1x1 convolution.
        dtype: compute dtype.
    """

    features: int
    separable: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w features"]:
        """Return the map after both convolutions."""
        for i in (1, 2):
            if self.separable:
                channels = x.shape[-1]
                x = Conv(channels, groups=channels, use_bias=False, dtype=self.dtype, name=f"depthwise{i}")(x)
                x = Conv(self.features, kernel_size=1, dtype=self.dtype, name=f"pointwise{i}")(x)
            else:
                x = Conv(self.features, dtype=self.dtype, name=f"conv{i}")(x)
            x = BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"bn{i}")(nn.relu(x), train=train)
        return x


class SeparableUNet(nn.Module):
    """One half of W-Net, from a map to a map of its size.

    Attributes:
        width: channels of the first level; level i has ``width * 2**i``.
        depth: number of poolings.
        dropout: rate on the bottom map.
        dtype: compute dtype; the result is float32 all the same.
    """

    width: int
    depth: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], features: int, *, train: bool) -> Float[Array, "b h w features"]:
        """Return a float32 map of ``features`` channels."""
        height, width = x.shape[1:3]
        missing = [-side % 2**self.depth for side in (height, width)]
        x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        skips = []
        for level in range(self.depth):
            x = ConvModule(self.width * 2**level, level > 0, self.dtype, name=f"contract{level}")(x, train=train)
            skips.append(x)
            x = ops.max_pool(x, window=2)
        x = ConvModule(self.width * 2**self.depth, True, self.dtype, name="bottom")(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for level in reversed(range(self.depth)):
            x = ConvTranspose(self.width * 2**level, kernel_size=2, strides=2, dtype=self.dtype, name=f"up{level}")(x)
            x = jnp.concatenate([skips[level], x], axis=-1)
            x = ConvModule(self.width * 2**level, level > 0, self.dtype, name=f"expand{level}")(x, train=train)
        x = Conv(features, kernel_size=1, dtype=self.dtype, name="classifier")(x)
        return x[:, :height, :width].astype(jnp.float32)


class WNet(nn.Module):
    """W-Net of any depth and width.

    Attributes:
        num_classes: number of segments, the paper's K; there it is 64, of which most come out empty.
        width: channels of the first level of both U-Nets; level i has ``width * 2**i``.
        depth: number of poolings of each; the paper's 4.
        dropout: rate on the bottom map of each.
        dtype: compute dtype; logits and reconstruction are float32 all the same.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    dropout: float = 0.65
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Make both U-Nets."""
        self.encoder = SeparableUNet(self.width, self.depth, self.dropout, self.dtype)
        self.decoder = SeparableUNet(self.width, self.depth, self.dropout, self.dtype)

    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return the logits of the segments, of the image's height and width; the decoder does not run."""
        logits = self.encoder(image, self.num_classes, train=train)
        if self.is_initializing():  # the decoder's parameters are made with the encoder's
            self.decoder(logits, image.shape[-1], train=train)
        return logits

    def reconstruct(
        self, probabilities: Float[Array, "b h w k"], channels: int, *, train: bool = False
    ) -> Float[Array, "b h w {channels}"]:
        """Return the normalised image that the decoder makes of a segmentation.

        Args:
            probabilities: of the segments, ``softmax(logits)``.
            channels: of the image.
            train: whether dropout is on and statistics are the batch's.
        """
        return self.decoder(probabilities, channels, train=train)
