"""ViT: An Image is Worth 16x16 Words.

Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929

Patches, learnt position embeddings resized to the image's own grid, pre-norm encoder blocks. As a backbone it gives the maps of
tokens after chosen blocks; ``ViTClassifier`` is the paper's network.

Differs from the paper:
    - As a backbone it has no class token unless asked for, and no final norm: SETR's heads have their own, and so has the
      classifier.
    - Position embeddings are resized bilinearly (half-pixel centres) at run time where the image's grid is not the learnt one.
      The class token's is a parameter apart. ``positions.split_table`` and ``resize_table`` do it for a stored table. timm
      resizes bicubically, as :func:`jaxseg.weights.load` does for an ``image_size`` other than the file's.
    - Images whose sides the patch size does not divide are extended by zeros at the right and the bottom.
    - The classifier is one linear layer, without the hidden one that the paper has in pre-training. ``pooling="mean"`` averages
      normalised tokens, where timm normalises their average (its ``fc_norm``).
    - transformers' norms add 1e-12 to the variance, here 1e-6; mmsegmentation's patches have no bias, ``patch_bias=False``.
    - No distillation token, which DeiT's distilled networks have.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.models.drop_path import linear_rates
from jaxseg.models.layers import Conv
from jaxseg.models.positions import resize_table
from jaxseg.models.transformer import EncoderBlock, apply_block
from jaxseg.types import Image

#: Width, depth, heads, feed-forward width (Table 1; Ti and S from DeiT, https://arxiv.org/abs/2012.12877, Table 1).
SIZES = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
}

POOLINGS = ("class", "mean")


class ViT(nn.Module):
    """Vision Transformer backbone; the defaults are ViT-L/16.

    Attributes:
        patch_size: side of the square patches; the published ones are 8, 14, 16 and 32.
        width: of the tokens.
        depth: number of encoder blocks.
        num_heads: of each attention.
        hidden: width of the feed-forward layers.
        image_size: height and width for which position embeddings are learnt.
        feature_depths: after which blocks (1 is the first) the token maps are given out, rising; ``()`` for the last only.
        class_token: whether a learnt token goes through the blocks before the patches'.
        patch_bias: whether the patches' embedding has a bias; mmsegmentation's has none.
        dropout: rate in the blocks and after the position embeddings.
        attention_dropout: rate of the attention weights.
        drop_path: probability of dropping a branch in the last block; it rises linearly from 0 in the first.
        remat: computes blocks again in the backward pass instead of keeping their insides: less memory, a third more time.
        dtype: compute dtype.
    """

    patch_size: int = 16
    width: int = 1024
    depth: int = 24
    num_heads: int = 16
    hidden: int = 4096
    image_size: tuple[int, int] = (224, 224)
    feature_depths: tuple[int, ...] = ()
    class_token: bool = False
    patch_bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @classmethod
    def of_size(cls, size: str, **fields: Any) -> "ViT":
        """Return the ViT of a published size: ``ViT.of_size("B", patch_size=16)``.

        Raises:
            InputError: for a size that is not in the table.
        """
        if size not in SIZES:
            raise InputError(f"ViT size {size!r}: one of {', '.join(SIZES)}.")
        width, depth, num_heads, hidden = SIZES[size]
        return cls(**{"width": width, "depth": depth, "num_heads": num_heads, "hidden": hidden, **fields})

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each map that is given out."""
        return (self.patch_size,) * max(len(self.feature_depths), 1)

    def grid(self, size: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return how many patches cover an image of this height and width."""
        return -(-size[0] // self.patch_size), -(-size[1] // self.patch_size)

    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b gh gw d"], ...]:
        """Return the token maps after ``feature_depths``; the grid is the image over the patch size, rounded up."""
        sequences = self.tokens(image, train=train)
        shape = (image.shape[0], *self.grid(image.shape[1:3]), self.width)
        return tuple(x[:, int(self.class_token) :].reshape(shape) for x in sequences)

    @nn.compact
    def tokens(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b n d"], ...]:
        """Return the sequences after ``feature_depths``: the class token's, if there is one, then the patches', row by row."""
        wanted = self.feature_depths or (self.depth,)
        self._check(wanted)
        x = self._embed(image)
        self.sow("intermediates", "grid", self.grid(image.shape[1:3]))  # for drawing: see jaxseg.attention_maps
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        found = []
        for i, drop_path in enumerate(linear_rates(self.drop_path, self.depth), start=1):
            block = EncoderBlock(
                self.num_heads,
                self.hidden,
                self.dropout,
                self.attention_dropout,
                drop_path,
                dtype=self.dtype,
                name=f"block{i}",
            )
            x = apply_block(block, x, train=train, remat=self.remat)
            if i in wanted:
                found.append(x)
        return tuple(found)

    def _embed(self, image: Image) -> Float[Array, "b n d"]:
        missing = [-side % self.patch_size for side in image.shape[1:3]]
        image = jnp.pad(image, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        x = Conv(
            self.width,
            self.patch_size,
            strides=self.patch_size,
            padding=0,
            use_bias=self.patch_bias,
            kernel_init=nn.initializers.lecun_normal(),
            dtype=self.dtype,
            name="patch_embedding",
        )(image)
        learnt, init = self.grid(self.image_size), nn.initializers.normal(0.02)
        table = self.param("position_embedding", init, (1, *learnt, self.width))
        x = x + resize_table(table, (x.shape[1], x.shape[2])).astype(self.dtype)
        x = x.reshape(x.shape[0], -1, self.width)
        if not self.class_token:
            return x
        token = self.param("class_token", nn.initializers.zeros_init(), (1, 1, self.width))
        place = self.param("class_position", init, (1, 1, self.width))
        first = jnp.broadcast_to((token + place).astype(self.dtype), (x.shape[0], 1, self.width))
        return jnp.concatenate([first, x], axis=1)

    def _check(self, wanted: tuple[int, ...]) -> None:
        if self.patch_size < 1:
            raise InputError(f"patch_size={self.patch_size} must be at least 1.")
        if self.width % self.num_heads:
            raise InputError(f"width={self.width} must be a multiple of num_heads={self.num_heads}.")
        if not all(1 <= d <= self.depth for d in wanted) or list(wanted) != sorted(set(wanted)):
            raise InputError(f"feature_depths={wanted} must rise and lie between 1 and depth={self.depth}.")


class ViTClassifier(nn.Module):
    """The paper's network: a class for the whole image.

    Attributes:
        num_classes: logits per image.
        backbone: its last block's tokens are classified.
        pooling: ``"class"``, the class token's, which the backbone must then have, or ``"mean"`` of the patches'.
        dtype: compute dtype of norm and classifier; logits are float32 all the same.
    """

    num_classes: int
    backbone: ViT = ViT.of_size("B", class_token=True)
    pooling: str = "class"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> Float[Array, "b num_classes"]:
        """Return logits of each image.

        Raises:
            InputError: for an unknown pooling, or the class token's where there is none.
        """
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling={self.pooling!r}: ViTClassifier knows {POOLINGS}.")
        if self.pooling == "class" and not self.backbone.class_token:
            raise InputError("pooling='class' needs ViT(class_token=True); without it, give pooling='mean'.")
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(self.backbone.tokens(image, train=train)[-1])
        x = x[:, 0] if self.pooling == "class" else x[:, int(self.backbone.class_token) :].mean(axis=1)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros_init(), dtype=self.dtype, name="classifier")(
            x
        ).astype(jnp.float32)
