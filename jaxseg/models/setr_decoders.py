"""The decoders of SETR, from token maps to small logits (Zheng et al., 2021, https://arxiv.org/abs/2012.15840, section 3.3)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.layers import Conv, ConvBNAct

Map = Float[Array, "b h w c"]

classifier_init = nn.initializers.normal(0.01)


class UpsamplingHead(nn.Module):
    """Layer norm; convolutions with batch norm and ReLU, an enlargement after each; 1x1 classifier.

    PUP's last doubling is left to the caller, who enlarges the logits to the image: for patches of 16 that is the last of four.

    Attributes:
        num_classes: channels of the logits.
        features: channels between.
        kernel_size: of the convolutions.
        convs: how many.
        enlarge: factor after every convolution but the last of several (``convs`` above 1), as PUP; 1 for none.
        align_corners: of the enlargements.
        dtype: compute dtype.
    """

    num_classes: int
    features: int = 256
    kernel_size: int = 1
    convs: int = 1
    enlarge: int = 1
    align_corners: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Map, *, train: bool) -> Float[Array, "b h2 w2 k"]:
        """Return logits, in the compute dtype."""
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        for i in range(1, self.convs + 1):
            name = "hidden" if self.convs == 1 else f"hidden{i}"
            conv = ConvBNAct(self.features, 0.9, 1e-5, kernel_size=self.kernel_size, dtype=self.dtype, name=name)
            x = conv(x, train=train)
            if self.enlarge > 1 and (self.convs == 1 or i < self.convs):
                x = _enlarge(x, self.enlarge, self.align_corners)
        return Conv(self.num_classes, 1, kernel_init=classifier_init, dtype=self.dtype, name="classifier")(x)


class Aggregation(nn.Module):
    """Multi-level aggregation: each map normalised and reduced, summed from the deepest up, convolved; streams put together.

    Attributes:
        num_classes: channels of the logits.
        features: channels of the sums.
        stream_features: channels of each stream that is put together.
        align_corners: of the streams' enlargement by 4.
        classifier_kernel_size: side of the classifier's kernel.
        dtype: compute dtype.
    """

    num_classes: int
    features: int = 256
    stream_features: int = 128
    align_corners: bool = True
    classifier_kernel_size: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: tuple[Float[Array, "b h w _"], ...], *, train: bool
    ) -> tuple[Float[Array, "b h2 w2 k"], list[Float[Array, "b h w _"]]]:
        """Return logits at 4 times the grid, and the streams before they are enlarged, shallowest first."""
        reduced = []
        for i, x in enumerate(maps, start=1):
            x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=f"norm{i}")(x)
            reduced.append(self._conv(self.features, 1, f"reduce{i}")(x, train=train))
        for i in reversed(range(len(maps) - 1)):
            reduced[i] = reduced[i] + reduced[i + 1]
        streams = [self._conv(self.features, 3, f"stream{i}")(x, train=train) for i, x in enumerate(reduced, start=1)]
        wide = []
        for i, x in enumerate(streams, start=1):
            x = self._conv(self.stream_features, 3, f"hidden{i}_1")(x, train=train)
            x = self._conv(self.stream_features, 3, f"hidden{i}_2")(x, train=train)
            wide.append(_enlarge(x, 4, self.align_corners))
        together = jnp.concatenate(wide, axis=-1)
        side = self.classifier_kernel_size
        classifier = Conv(self.num_classes, side, kernel_init=classifier_init, dtype=self.dtype, name="classifier")
        return classifier(together), streams

    def _conv(self, features: int, kernel_size: int, name: str) -> ConvBNAct:
        return ConvBNAct(features, 0.9, 1e-5, kernel_size=kernel_size, dtype=self.dtype, name=name)


class LinearHead(nn.Module):
    """A 1x1 convolution, MLA's auxiliary head.

    Attributes:
        num_classes: channels of the logits.
        use_bias: whether it has a bias; the authors' has none.
        dtype: compute dtype.
    """

    num_classes: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Map) -> Float[Array, "b h w k"]:
        """Return logits, in the compute dtype."""
        options: dict[str, Any] = {"use_bias": self.use_bias, "kernel_init": classifier_init, "dtype": self.dtype}
        return Conv(self.num_classes, 1, name="classifier", **options)(x)


def _enlarge(x: Map, factor: int, align_corners: bool) -> Float[Array, "b h2 w2 c"]:
    return ops.resize(x, (x.shape[1] * factor, x.shape[2] * factor), align_corners=align_corners)
