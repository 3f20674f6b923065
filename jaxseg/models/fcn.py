"""FCN: Fully Convolutional Networks for Semantic Segmentation.

Long, Shelhamer, Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038

VGG16 whose fully connected layers are convolutions scores every 32nd pixel. FCN-32s enlarges these scores; FCN-16s enlarges
them by 2, adds scores made from pool4, and enlarges the sum by 16; FCN-8s does so once more with pool3 (section 4.2).
Enlargements are deconvolutions that start as bilinear interpolation. Layer names are the authors'.

Differs from the paper:
    - ``padding="same"`` is the default: every layer keeps its alignment by its own padding. ``padding="pad 100"`` is the
      authors': 100 zeros around the image, a fc6 without padding, and crops at the offsets of their networks.
    - fc6 and fc7 start from He et al.'s initialisation, like VGG16 here, and not from ImageNet's classifier.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.vgg import VGG16, ConvolutionalFC
from jaxseg.models.layers import Conv, ConvBNAct, sow_auxiliary
from jaxseg.types import Image, Logits

PADDINGS = ("same", "pad 100")
LEARNT = ("all", "intermediate", "none")

#: The authors' crop offsets with 100 pixels of padding, of the scores at these strides and of the final enlargement by each.
SKIP_OFFSETS = {16: 5, 8: 9}
FINAL_OFFSETS = {32: 19, 16: 27, 8: 31}

#: The factors that the at-once networks put before the scores of these strides (section 4.3 of the 2016 version).
AT_ONCE_SCALES = {32: 1.0, 16: 0.01, 8: 0.0001}


class FCN32s(nn.Module):
    """FCN-32s: scores at stride 32, enlarged at once.

    Attributes:
        num_classes: channels of the logits.
        backbone: maps at strides 8, 16 and 32 among its features. With ``padding="pad 100"`` it is VGG16, whose
            ``first_padding`` must then be 100.
        fc_features: channels of fc6 and fc7; ``None`` leaves them out, as for a ResNet.
        fc_kernel_size: side of fc6's kernel.
        dropout: rate after fc6 and fc7.
        padding: ``"same"``, or ``"pad 100"`` as the authors'.
        learnt_deconvolutions: ``"all"``; ``"intermediate"`` fixes the last enlargement to bilinear, as the paper says; ``"none"``
            fixes all, as in the authors' released networks.
        at_once: multiplies pool4 by 0.01 and pool3 by 0.0001 before scoring, for training all streams in one stage.
        dtype: compute dtype of all but the backbone; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = VGG16()
    fc_features: int | None = 4096
    fc_kernel_size: int = 7
    dropout: float = 0.5
    padding: str = "same"
    learnt_deconvolutions: str = "all"
    at_once: bool = False
    dtype: Any = jnp.float32

    @property
    def final_stride(self) -> int:
        """Stride of the finest scores."""
        return 32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width.

        Raises:
            InputError: for an unknown mode, or a backbone that has not the strides or the padding that are needed.
        """
        self._check()
        same, size = self.padding == "same", image.shape[1:3]
        maps = dict(zip(self.backbone.strides, self.backbone(image, train=train), strict=True))
        x = maps[32]
        if self.fc_features is not None:
            padding = None if same else 0
            fc = ConvolutionalFC(
                self.fc_features, self.fc_kernel_size, padding=padding, dropout=self.dropout, dtype=self.dtype, name="fc"
            )
            x = fc(x, train=train)
        x, stride = self._score(x, "score_fr"), 32
        while stride > self.final_stride:
            stride //= 2
            x = self._upsample(x, 2, f"upscore{stride}")
            scale = AT_ONCE_SCALES[stride] if self.at_once else 1.0
            skip = self._score(maps[stride] * scale, f"score_pool{stride.bit_length() - 1}")
            if same:
                x = x[:, : skip.shape[1], : skip.shape[2]]
            else:
                skip = _crop(skip, SKIP_OFFSETS[stride], x.shape[1:3])
            x = x + skip
        x = self._upsample(x, stride, "upscore_final").astype(jnp.float32)
        return _crop(x, 0 if same else FINAL_OFFSETS[stride], size)

    def _check(self) -> None:
        if self.padding not in PADDINGS:
            raise InputError(f"padding={self.padding!r}: FCN knows {PADDINGS}.")
        if self.learnt_deconvolutions not in LEARNT:
            raise InputError(f"learnt_deconvolutions={self.learnt_deconvolutions!r}: FCN knows {LEARNT}.")
        missing = {32, 16, 8} - set(self.backbone.strides)
        if missing:
            raise InputError(
                f"The backbone has maps at strides {self.backbone.strides}, and FCN needs 8, 16 and 32: set output_stride=32, or "
                "take jaxseg.models.FCN, which scores a single map."
            )
        given = getattr(self.backbone, "first_padding", 1)
        if (self.padding == "pad 100") != (given == 100):
            raise InputError(
                f"padding={self.padding!r} with a backbone whose first_padding is {given}: "
                "'pad 100' needs VGG16(first_padding=100), and 'same' needs 1."
            )
        if self.padding == "pad 100" and self.fc_features is None:
            raise InputError("padding='pad 100' needs fc6, whose 7x7 kernel takes the padding off again: give fc_features.")

    def _score(self, x: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w num_classes"]:
        return Conv(self.num_classes, 1, kernel_init=nn.initializers.zeros_init(), dtype=self.dtype, name=name)(x)

    def _upsample(self, x: Float[Array, "b h w k"], factor: int, name: str) -> Float[Array, "b h2 w2 k"]:
        """Enlarge by a deconvolution of kernel ``2 factor``; with same padding to exactly ``factor`` times the size."""
        shape = (2 * factor, 2 * factor, self.num_classes, self.num_classes)
        final = name == "upscore_final"
        if self.learnt_deconvolutions == "all" or (self.learnt_deconvolutions == "intermediate" and not final):
            kernel = self.param(name, lambda _, shape: ops.bilinear_kernel(shape[0], shape[2]), shape)
        else:
            kernel = ops.bilinear_kernel(shape[0], shape[2])
        padding = factor // 2 if self.padding == "same" else 0
        return ops.conv_transpose2d(x.astype(self.dtype), kernel.astype(self.dtype), strides=factor, padding=padding)


class FCN16s(FCN32s):
    """FCN-16s: the scores of pool4 added to those of fc7; see :class:`FCN32s` for the attributes."""

    @property
    def final_stride(self) -> int:
        """Stride of the finest scores."""
        return 16


class FCN8s(FCN32s):
    """FCN-8s: the scores of pool4 and pool3 added to those of fc7; see :class:`FCN32s` for the attributes."""

    @property
    def final_stride(self) -> int:
        """Stride of the finest scores."""
        return 8


class FCNHead(nn.Module):
    """A 3x3 convolution, batch norm, ReLU, dropout, 1x1 classifier; or more than one convolution.

    Attributes:
        num_classes: channels of the logits.
        dropout: rate before the classifier.
        features: channels of the convolution; ``None`` for a quarter of the map's.
        dropped_channels: drops whole channels, as PSPNet's code and mmsegmentation's, and not single values, as torchvision's.
        convolutions: how many, each with norm and ReLU.
        joins_input: one convolution more, over the head's input beside what the others made of it.
        dtype: compute dtype.
    """

    num_classes: int
    dropout: float = 0.1
    features: int | None = None
    dropped_channels: bool = False
    convolutions: int = 1
    joins_input: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w num_classes"]:
        """Return logits of the map's size, in the compute dtype."""
        features = x.shape[3] // 4 if self.features is None else self.features
        given = x
        for n in range(1, self.convolutions + 1):
            name = "hidden" if n == 1 else f"hidden{n}"
            x = ConvBNAct(features, 0.9, 1e-5, dtype=self.dtype, name=name)(x, train=train)
        if self.joins_input:
            x = jnp.concatenate([given.astype(x.dtype), x], axis=-1)
            x = ConvBNAct(features, 0.9, 1e-5, dtype=self.dtype, name="joined")(x, train=train)
        places = (1, 2) if self.dropped_channels else ()
        x = nn.Dropout(self.dropout, broadcast_dims=places, deterministic=not train)(x)
        return Conv(self.num_classes, 1, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier")(x)


def before_last(maps: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
    """Return the backbone's map before the last, which auxiliary heads read.

    Raises:
        InputError: for a backbone of a single map.
    """
    if len(maps) < 2:
        raise InputError(
            "The auxiliary head reads the backbone's map before the last, and there is but one: set auxiliary_weight=0, or for a "
            "ViT give feature_depths, such as (6, 12)."
        )
    return maps[-2]


class FCN(nn.Module):
    """The FCN of today's libraries: a head on the last map of an atrous ResNet or other backbone, an auxiliary one before.

    The defaults are torchvision's. mmsegmentation's: ``backbone=ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64)),
    auxiliary_weight=0.4, convolutions=2, joins_input=True, dropped_channels=True``.

    Attributes:
        num_classes: channels of the logits.
        backbone: its last two maps are scored.
        auxiliary_weight: of the auxiliary head's loss; torchvision's 0.5. 0 leaves the head out.
        convolutions: of the head; the auxiliary one has one.
        joins_input: see :class:`FCNHead`; likewise of the head alone.
        dropped_channels: see :class:`FCNHead`.
        dtype: compute dtype of the heads; logits are float32 all the same.
    """

    num_classes: int
    backbone: Any = ResNet(depth=50, output_stride=8)
    auxiliary_weight: float = 0.5
    convolutions: int = 1
    joins_input: bool = False
    dropped_channels: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Logits:
        """Return logits of the image's height and width."""
        size = (image.shape[1], image.shape[2])
        maps = self.backbone(image, train=train)
        if train and self.auxiliary_weight:
            head = FCNHead(self.num_classes, dropped_channels=self.dropped_channels, dtype=self.dtype, name="auxiliary_head")
            logits = head(before_last(maps), train=train)
            sow_auxiliary(self, "auxiliary", self.auxiliary_weight, ops.resize(logits.astype(jnp.float32), size))
        head = FCNHead(
            self.num_classes,
            dropped_channels=self.dropped_channels,
            convolutions=self.convolutions,
            joins_input=self.joins_input,
            dtype=self.dtype,
            name="head",
        )
        logits = head(maps[-1], train=train)
        return ops.resize(logits.astype(jnp.float32), size)


def _crop(x: Float[Array, "b h w k"], offset: int, size: tuple[Any, ...]) -> Float[Array, "b h2 w2 k"]:
    return x[:, offset : offset + size[0], offset : offset + size[1]]
