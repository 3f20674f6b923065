"""SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation.

Badrinarayanan, Kendall, Cipolla, 2015, https://arxiv.org/abs/1511.00561; the Bayesian variant is Kendall, Badrinarayanan,
Cipolla, 2015, https://arxiv.org/abs/1511.02680.

The encoder is VGG16 without its fully connected layers. The decoder mirrors it: each pooling is undone by putting values back at
the stored positions of the maxima, which costs no parameters and keeps boundaries, and convolutions then make the sparse map
dense. 13 convolutions each; the decoder's last is the classifier. SegNet-Basic has four 7x7 convolutions each, of 64 channels.

Differs from the paper:
    - The running statistics of batch normalisation are moving averages; the authors recompute them over the training set
      before testing.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.backbones.vgg import VGG16
from jaxseg.models.layers import BatchNorm, Conv
from jaxseg.types import Image, Logits

MOMENTUM, EPSILON = 0.9, 1e-5


class SegNet(nn.Module):
    """SegNet on VGG16.

    The Bayesian SegNet is ``SegNet(backbone=VGG16(batch_norm=True, dropout=0.5), dropout=0.5)``: dropout that stays on at
    prediction makes samples, whose spread is the network's uncertainty (``python -m jaxseg.predict --samples 16``).

    Attributes:
        num_classes: channels of the logits.
        backbone: the encoder, which the decoder mirrors.
        dropout: rate after the three deepest stages of the decoder.
        dtype: compute dtype of the decoder; logits are float32 all the same.
    """

    num_classes: int
    backbone: VGG16 = VGG16(batch_norm=True)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        stages = self.backbone.stages(image, train=train)
        x = stages[-1].pooled
        for n in reversed(range(len(stages))):
            x = ops.max_unpool(x, stages[n].argmax, output_size=stages[n].size, window=2)
            widths = self.backbone.mirrored(n)
            for m, features in enumerate(widths if n else widths[:-1]):
                number = f"{n + 1}_{len(widths) - m}"
                x = Conv(features, dtype=self.dtype, name=f"decoder_conv{number}")(x)
                x = nn.relu(BatchNorm(MOMENTUM, EPSILON, dtype=self.dtype, name=f"decoder_bn{number}")(x, train=train))
            if n >= len(stages) - 3:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Conv(self.num_classes, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)


class SegNetBasic(nn.Module):
    """SegNet-Basic, the small network of the paper's comparisons.

    Local response normalisation; four encoders of 7x7 convolution, batch norm, ReLU and 2x2 pooling; four decoders of unpooling,
    7x7 convolution and batch norm, without ReLU; a 1x1 classifier.

    Attributes:
        num_classes: channels of the logits.
        width: channels of every convolution; the paper's 64.
        depth: number of encoders; the paper's 4.
        use_bias: of the convolutions. The paper has none, the authors' released network has.
        dropout: rate after the two deepest encoders and the two deepest decoders; 0.5 is the Bayesian SegNet-Basic.
        dtype: compute dtype; logits are float32 all the same.
    """

    num_classes: int
    width: int = 64
    depth: int = 4
    use_bias: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        x, kept = local_response_norm(image), []
        for n in range(self.depth):
            x = nn.relu(self._block(x, f"{n + 1}", train=train))
            size = (x.shape[1], x.shape[2])
            x, argmax = ops.max_pool_with_argmax(x, window=2, ceil_mode=True)
            kept.append((argmax, size))
            x = self._drop(x, n, train=train)
        for n in reversed(range(self.depth)):
            argmax, size = kept[n]
            x = self._block(ops.max_unpool(x, argmax, output_size=size, window=2), f"{n + 1}_decoder", train=train)
            x = self._drop(x, n, train=train)
        return Conv(self.num_classes, 1, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)

    def _block(self, x: Float[Array, "b h w c"], name: str, *, train: bool) -> Float[Array, "b h w width"]:
        x = Conv(self.width, 7, use_bias=self.use_bias, dtype=self.dtype, name=f"conv{name}")(x)
        return BatchNorm(MOMENTUM, EPSILON, dtype=self.dtype, name=f"bn{name}")(x, train=train)

    def _drop(self, x: Float[Array, "b h w c"], n: int, *, train: bool) -> Float[Array, "b h w c"]:
        return nn.Dropout(self.dropout, deterministic=not train)(x) if n >= self.depth - 2 else x


def local_response_norm(
    x: Float[Array, "b h w c"], size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "b h w c"]:
    """Divide each value by ``(1 + alpha / size * sum(x'^2))^beta``, the sum over the ``size`` channels around its own.

    Krizhevsky, Sutskever, Hinton, 2012, section 3.3, with Caffe's division by ``size``. On 8-bit values it evens out contrast; on
    values of about 1 it changes little.

    Args:
        x: any float dtype; computed in float32.
        size: number of neighbouring channels, odd.
        alpha: weight of the sum.
        beta: exponent.
    """
    wide = x.astype(jnp.float32)
    squares = jnp.pad(wide**2, ((0, 0), (0, 0), (0, 0), (size // 2, size // 2)))
    total = sum(squares[..., n : n + x.shape[3]] for n in range(size))
    return (wide * (1.0 + alpha / size * total) ** -beta).astype(x.dtype)
