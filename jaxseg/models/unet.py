"""U-Net: Convolutional Networks for Biomedical Image Segmentation.

Ronneberger, Fischer, Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597

A contracting path of pairs of 3x3 convolutions, doubling the channels at each 2x2 max pooling; an expanding path that halves
them at each 2x2 up-convolution and joins the map of the same resolution from the contracting path; a 1x1 classifier. With
``depth=4`` these are the paper's 23 convolutions (Figure 1).

Differs from the paper:
    - ``padding="same"`` is the default, so that the logits have the image's size; ``padding="valid"`` is the paper's.
      Training then compares the logits with the central part of the label, and prediction tiles the image (Figure 2).
    - Batch normalisation can be switched on; the paper has none, and networks trained from scratch on colour images want it.
    - mmsegmentation's, often used, enlarges by bilinear interpolation before a 1x1 convolution (``interpolate``), and has another
      3x3 convolution before the classifier and an auxiliary head one level up: see :class:`UNet`.
    - ``up_relu``: the authors' released networks have a ReLU behind every up-convolution, of which the paper says nothing.
    - The paper places dropout "at the end of the contracting path" and does not give its rate; here 0.5, on the bottom map.
"""

import itertools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.fcn import FCNHead
from jaxseg.models.layers import BatchNorm, Conv, ConvBNAct, ConvTranspose, sow_auxiliary
from jaxseg.types import Image

PADDINGS = ("same", "valid")


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by batch normalisation (optional) and ReLU.

    Attributes:
        features: channels of both.
        padding: zeros on each side: 1 keeps the size, 0 loses two rows and columns per convolution.
        batch_norm: normalise between convolution and ReLU.
        dtype: compute dtype.
    """

    features: int
    padding: int
    batch_norm: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 features"]:
        """Return the map after both convolutions."""
        for i in (1, 2):
            conv = Conv(self.features, padding=self.padding, use_bias=not self.batch_norm, dtype=self.dtype, name=f"conv{i}")
            x = conv(x)
            if self.batch_norm:
                x = BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"bn{i}")(x, train=train)
            x = nn.relu(x)
        return x


class UNet(nn.Module):
    """U-Net of any depth and width.

    mmsegmentation's: ``UNet(num_classes, batch_norm=True, dropout=0.0, interpolate=True, head_features=64,
    auxiliary_weight=0.4)``.

    Attributes:
        num_classes: channels of the logits.
        width: channels of the first level; level i has ``width * 2**i``.
        depth: number of poolings; the paper's 4.
        padding: ``"same"``, or ``"valid"`` as in the paper (572 x 572 in, 388 x 388 out).
        batch_norm: batch normalisation after every 3x3 convolution.
        dropout: rate at the end of the contracting path.
        up_relu: ReLU after every up-convolution.
        interpolate: bilinear enlargement, 1x1 convolution, batch normalisation and ReLU in place of every up-convolution.
        head_features: channels of a 3x3 convolution with batch normalisation, ReLU and dropout of 0.1 before the classifier;
            ``None`` for none.
        auxiliary_weight: of the loss of a head with as many channels on the map of half the resolution; 0 leaves it out.
        dtype: compute dtype; logits are float32 all the same.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    padding: str = "same"
    batch_norm: bool = False
    dropout: float = 0.5
    up_relu: bool = False
    interpolate: bool = False
    head_features: int | None = None
    auxiliary_weight: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Float[Array, "b h2 w2 num_classes"]:
        """Return logits of the image's height and width (``"same"``) or of :meth:`output_size` (``"valid"``).

        Raises:
            InputError: with ``"valid"``, for a size at which a pooling would meet an odd side, naming the nearest that fit.
        """
        height, width = image.shape[1:3]
        x = self._fit(image)
        margin = 1 if self.padding == "same" else 0
        skips = []
        for level in range(self.depth):
            x = DoubleConv(self.width * 2**level, margin, self.batch_norm, self.dtype, name=f"contract{level}")(x, train=train)
            skips.append(x)
            x = ops.max_pool(x, window=2)
        x = DoubleConv(self.width * 2**self.depth, margin, self.batch_norm, self.dtype, name="bottom")(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for level in reversed(range(self.depth)):
            features = self.width * 2**level
            x = self._enlarge(x, features, f"up{level}", train=train)
            x = jnp.concatenate([ops.centre_crop(skips[level], (x.shape[1], x.shape[2])), x], axis=-1)
            x = DoubleConv(features, margin, self.batch_norm, self.dtype, name=f"expand{level}")(x, train=train)
            if level == 1 and train and self.auxiliary_weight:
                self._auxiliary(x, (height, width), train=train)
        if self.head_features is not None:
            head = FCNHead(self.num_classes, features=self.head_features, dropped_channels=True, dtype=self.dtype, name="head")
            logits = head(x, train=train).astype(jnp.float32)
        else:
            logits = Conv(self.num_classes, kernel_size=1, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)
        return logits[:, :height, :width] if self.padding == "same" else logits

    def _enlarge(self, x: Float[Array, "b h w c"], features: int, name: str, *, train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Double the resolution."""
        if self.interpolate:
            x = ops.resize(x, (2 * x.shape[1], 2 * x.shape[2]))
            return ConvBNAct(features, 0.9, 1e-5, kernel_size=1, dtype=self.dtype, name=name)(x, train=train)
        x = ConvTranspose(features, kernel_size=2, strides=2, dtype=self.dtype, name=name)(x)
        return nn.relu(x) if self.up_relu else x

    def _auxiliary(self, x: Float[Array, "b h w c"], size: tuple[int, int], *, train: bool) -> None:
        head = FCNHead(
            self.num_classes, features=self.head_features, dropped_channels=True, dtype=self.dtype, name="auxiliary_head"
        )
        logits = head(x, train=train).astype(jnp.float32)
        logits = ops.resize(logits, (2 * x.shape[1], 2 * x.shape[2]))[:, : size[0], : size[1]]
        sow_auxiliary(self, "auxiliary", self.auxiliary_weight, logits)

    def _fit(self, image: Image) -> Float[Array, "b h2 w2 c"]:
        """Check the size (valid), or extend the image at its right and bottom edge to a multiple of ``2**depth`` (same)."""
        if self.padding not in PADDINGS:
            raise InputError(f"padding={self.padding!r}: U-Net knows {PADDINGS}.")
        if self.auxiliary_weight and self.padding == "valid":
            raise InputError(
                "An auxiliary head compares its logits with the whole label: with padding='valid' set its weight to 0."
            )
        if self.auxiliary_weight and self.depth < 2:
            raise InputError(
                f"The auxiliary head reads the map of half the resolution, and depth={self.depth} has none: set its weight to 0."
            )
        sides = image.shape[1:3]
        if self.padding == "valid":
            for side in sides:
                self.output_size(side)
            return image
        missing = [-side % 2**self.depth for side in sides]
        return jnp.pad(image, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")

    @property
    def stride(self) -> int:
        """Shifts of the image by multiples of this, and by no others, shift the logits and leave them as they are."""
        return int(2**self.depth)

    def input_size(self, side: int) -> int:
        """Return the smallest side of an image whose logits have at least this side."""
        if self.padding == "same":
            return side
        return next(s for s in itertools.count(side) if (valid_output_side(s, self.depth) or 0) >= side)

    def output_size(self, side: int) -> int:
        """Return the side of the logits for an image of this side.

        Raises:
            InputError: if valid convolutions do not fit, with the nearest sides that do.
        """
        result = valid_output_side(side, self.depth) if self.padding == "valid" else side
        if result is None:
            near = [
                s for s in range(max(side - 2**self.depth, 1), side + 2 ** (self.depth + 4)) if valid_output_side(s, self.depth)
            ]
            fits = " or ".join(str(s) for s in sorted(sorted(near, key=lambda s: abs(s - side))[:2]))
            raise InputError(
                f"An image side of {side} does not fit U-Net's valid convolutions at depth {self.depth}: every pooling must meet "
                f"an even side. The nearest sides that fit: {fits}. Crop or mirror-pad the image, or take padding='same'."
            )
        return result


def valid_output_side(side: int, depth: int) -> int | None:
    """Return the side of the logits under valid convolutions, or ``None`` where a pooling meets an odd or empty side."""
    for _ in range(depth):
        side -= 4
        if side <= 0 or side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
        if side <= 0:
            return None
    return side
