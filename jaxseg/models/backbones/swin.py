"""Swin: Hierarchical Vision Transformer using Shifted Windows.

Liu et al., ICCV 2021, https://arxiv.org/abs/2103.14030

Four stages of transformer blocks whose attention stays inside windows of 7 x 7 tokens, so that the cost grows with the pixels
and not with their square. Every second block shifts the map by half a window first, so that neighbouring windows exchange what
they know (section 3.2). Between stages, 2 x 2 neighbours become one token of twice the width.

Differs from the paper:
    - Any image size: maps are extended by zeros at the right and the bottom, to whole patches, windows and pairs. As in the
      authors' code for segmentation a window's extension comes after the norm, and its tokens are seen like others.
    - ``shrink_window``: on a map no longer than a window the code for segmentation still extends and shifts it, which is the
      default. The code for classification, which takes squares, makes it one window of the map's own size, unshifted; here so
      side by side. torchvision's extends it, but does not shift it: ``shift_small=False``. transformers' shifts neither side
      where one is as long as a window.
    - mmsegmentation puts the four neighbours that become one token in another order; its files are read in ours.
    - timm shifts a map before it extends it, and so differs where windows do not tile the map; the authors extend it first.
    - Backbone: each stage's map passes a norm of its own before it is given out, as in the authors' code for segmentation.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.models.attention import MultiHeadAttention
from jaxseg.models.drop_path import DropPath, linear_rates
from jaxseg.models.layers import Conv
from jaxseg.models.transformer import FeedForward, apply_block
from jaxseg.ops import windows
from jaxseg.types import Image

#: Width of the first stage, blocks and heads of each (section 3.3).
SIZES = {
    "T": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "S": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "B": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "L": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}

#: Of every norm: PyTorch's.
EPSILON = 1e-5

kernel_init = nn.initializers.truncated_normal(0.02)


class SwinBlock(nn.Module):
    """Attention inside (shifted) windows, then the feed-forward, each normalised before and added after (Eq. 3).

    Attributes:
        num_heads: of the attention.
        hidden: width of the feed-forward.
        window: side of the windows.
        shifted: whether by half a window.
        shrink_window: whether a side of the map that is no longer than the window is the window's, and unshifted.
        shift_small: whether a side that is no longer than the window is shifted like others, where windows do not shrink.
        dropout: rate in the feed-forward and after the attention.
        attention_dropout: rate of the attention weights.
        drop_path: probability of dropping each of the two branches, per image.
        dtype: compute dtype.
    """

    num_heads: int
    hidden: int
    window: int = 7
    shifted: bool = False
    shrink_window: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    shift_small: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], *, train: bool) -> Float[Array, "b h w d"]:
        """Return the map after the block."""
        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm1")(x)
        y = nn.Dropout(self.dropout, deterministic=not train)(self._attend(y, train=train))
        x = x + DropPath(self.drop_path)(y, train=train)
        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm2")(x)
        layers = FeedForward(self.hidden, dropout=self.dropout, kernel_init=kernel_init, dtype=self.dtype, name="feed_forward")
        return x + DropPath(self.drop_path)(layers(y, train=train), train=train)

    def _attend(self, x: Float[Array, "b h w d"], *, train: bool) -> Float[Array, "b h w d"]:
        own = (x.shape[1], x.shape[2])
        window, shift = self._windows(own)
        missing = [-side % width for side, width in zip(own, window)]
        x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        size = (own[0] + missing[0], own[1] + missing[1])
        x = windows.partition(windows.cyclic_shift(x, shift), window)
        mask = jnp.asarray(windows.shift_mask(size, window, shift))[None, :, None] if any(shift) else None
        table = self.param("relative_positions", kernel_init, ((2 * self.window - 1) ** 2, self.num_heads))
        bias = windows.relative_bias(table, self.window, window)[None, None]
        attention = MultiHeadAttention(
            self.num_heads, self.attention_dropout, kernel_init=kernel_init, dtype=self.dtype, name="attention"
        )
        if self.is_mutable_collection("intermediates"):  # for drawing: see jaxseg.attention_maps
            self.sow("intermediates", "grid", own)
            self.sow("intermediates", "places", windows.places(size, window, shift, own))
        x = windows.merge(attention(x, mask=mask, bias=bias, train=train), window, size)
        return windows.unshift(x, shift)[:, : own[0], : own[1]]

    def _windows(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the window's sides and the shift, rows first."""
        by = self.window // 2 if self.shifted else 0
        if not self.shrink_window:
            down, right = (by if self.shift_small or side > self.window else 0 for side in size)
            return (self.window, self.window), (down, right)
        (rows, columns), (down, right) = zip(*((self.window, by) if side > self.window else (side, 0) for side in size))
        return (rows, columns), (down, right)


class PatchMerging(nn.Module):
    """Four neighbours (0,0), (1,0), (0,1), (1,1), rows first, become one token: norm, then a linear layer to twice the width.

    Attributes:
        dtype: compute dtype.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 d2"]:
        """Return a map of half the size, rounded up, and twice the width."""
        b, h, w, d = x.shape
        x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
        x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, d).transpose(0, 1, 3, 4, 2, 5)
        x = x.reshape(b, (h + 1) // 2, (w + 1) // 2, 4 * d)
        x = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(x)
        return nn.Dense(2 * d, use_bias=False, kernel_init=kernel_init, dtype=self.dtype, name="reduction")(x)


class Swin(nn.Module):
    """Swin Transformer backbone; the defaults are Swin-T.

    Attributes:
        width: of the first stage's tokens; it doubles with every stage.
        depths: blocks of each stage.
        num_heads: of each stage.
        window: side of the windows.
        patch_size: side of the square patches.
        hidden_ratio: width of the feed-forward over that of the tokens.
        patch_norm: whether patches are normalised after their embedding.
        output_norms: whether each stage's map is normalised before it is given out.
        shrink_window: see the top of this module.
        shift_small: see the top of this module.
        dropout: rate in the blocks and after the embedding.
        attention_dropout: rate of the attention weights.
        drop_path: probability of dropping a branch in the last block; it rises linearly from 0 in the first.
        remat: computes blocks again in the backward pass instead of keeping their insides.
        dtype: compute dtype.
    """

    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    patch_size: int = 4
    hidden_ratio: int = 4
    patch_norm: bool = True
    output_norms: bool = True
    shrink_window: bool = False
    shift_small: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.2
    remat: bool = False
    dtype: Any = jnp.float32

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "Swin":
        """Return the Swin of a published size: ``Swin.of_size("B", window=12)``.

        Raises:
            InputError: for a size that is not in the table.
        """
        if size not in SIZES:
            raise InputError(f"Swin size {size!r}: one of {', '.join(SIZES)}.")
        width, depths, num_heads = SIZES[size]
        return cls(**{"width": width, "depths": depths, "num_heads": num_heads, **fields})

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each stage's map."""
        return tuple(self.patch_size * 2**stage for stage in range(len(self.depths)))

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Return the map of every stage, finest first, of sizes ``ceil(h / stride)``.

        Raises:
            InputError: if depths and heads are not of as many stages.
        """
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise InputError(f"depths={self.depths} and num_heads={self.num_heads} must name as many stages, at least one.")
        if min(self.window, self.patch_size) < 1:
            raise InputError(f"window={self.window} and patch_size={self.patch_size} must be at least 1.")
        x = self._embed(image, train=train)
        rates = iter(linear_rates(self.drop_path, sum(self.depths)))
        found = []
        for stage, (depth, num_heads) in enumerate(zip(self.depths, self.num_heads), start=1):
            if stage > 1:
                x = PatchMerging(dtype=self.dtype, name=f"merge{stage - 1}")(x)
            for i in range(depth):
                block = SwinBlock(
                    num_heads,
                    self.hidden_ratio * x.shape[-1],
                    self.window,
                    i % 2 == 1,
                    self.shrink_window,
                    self.dropout,
                    self.attention_dropout,
                    next(rates),
                    self.shift_small,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{i + 1}",
                )
                x = apply_block(block, x, train=train, remat=self.remat)
            norm = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name=f"norm{stage}") if self.output_norms else None
            found.append(x if norm is None else norm(x))
        return tuple(found)

    def _embed(self, image: Image, *, train: bool) -> Float[Array, "b h2 w2 d"]:
        missing = [-side % self.patch_size for side in image.shape[1:3]]
        image = jnp.pad(image, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        x = Conv(
            self.width,
            self.patch_size,
            strides=self.patch_size,
            padding=0,
            kernel_init=nn.initializers.lecun_normal(),
            dtype=self.dtype,
            name="patch_embedding",
        )(image)
        if self.patch_norm:
            x = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="patch_norm")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class SwinClassifier(nn.Module):
    """The paper's network for ImageNet: the mean of the last map, normalised, and a linear classifier.

    Attributes:
        num_classes: logits per image.
        backbone: without output norms, since the classifier has its own.
        dtype: compute dtype of norm and classifier; logits are float32 all the same.
    """

    num_classes: int
    backbone: Swin = Swin(output_norms=False, shrink_window=True)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Float[Array, "b num_classes"]:
        """Return logits of each image.

        Raises:
            InputError: for a backbone with output norms, of which three would learn nothing.
        """
        if self.backbone.output_norms:
            raise InputError("SwinClassifier normalises by itself: give it Swin(output_norms=False).")
        x = self.backbone(image, train=train)[-1]
        x = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(x).mean(axis=(1, 2))
        classifier = nn.Dense(self.num_classes, kernel_init=kernel_init, dtype=self.dtype, name="classifier")
        return classifier(x).astype(jnp.float32)
