"""ViT: An Image is Worth 16x16 Words.

Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929

As a backbone: patches, learnt position embeddings resized to the image's own grid, pre-norm encoder blocks, and the token
maps after chosen blocks.

Differs from the paper:
    - No class token: SETR, which this backbone carries, drops it before the encoder. No final norm: SETR's heads have their own.
    - Position embeddings are resized bilinearly (half-pixel centres) at run time where the image's grid is not the learnt one.
    - Images whose sides the patch size does not divide are extended by zeros at the right and the bottom.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.layers import Conv
from jaxseg.models.transformer import EncoderBlock
from jaxseg.types import Image

#: Width, depth, heads, feed-forward width (Table 1; Ti and S from DeiT, https://arxiv.org/abs/2012.12877, Table 1).
SIZES = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
}


class ViT(nn.Module):
    """Vision Transformer backbone; the defaults are ViT-L/16.

    Attributes:
        patch_size: side of the square patches.
        width: of the tokens.
        depth: number of encoder blocks.
        num_heads: of each attention.
        hidden: width of the feed-forward layers.
        image_size: height and width for which position embeddings are learnt.
        feature_depths: after which blocks (1 is the first) the token maps are given out, rising; ``()`` for the last only.
        dropout: rate in the blocks and after the position embeddings.
        drop_path: probability of dropping a branch in the last block; it rises linearly from 0 in the first.
        dtype: compute dtype.
    """

    patch_size: int = 16
    width: int = 1024
    depth: int = 24
    num_heads: int = 16
    hidden: int = 4096
    image_size: tuple[int, int] = (224, 224)
    feature_depths: tuple[int, ...] = ()
    dropout: float = 0.0
    drop_path: float = 0.0
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

    @nn.compact
    def __call__(self, image: Image, *, train: bool = False) -> tuple[Float[Array, "b gh gw d"], ...]:
        """Return the token maps after ``feature_depths``; the grid is the image over the patch size, rounded up."""
        wanted = self.feature_depths or (self.depth,)
        self._check(wanted)
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
        x = x + self._positions(x.shape[1:3]).astype(self.dtype)
        batch, grid_height, grid_width = x.shape[:3]
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(batch, -1, self.width))
        maps = []
        for i in range(self.depth):
            drop_path = self.drop_path * i / max(self.depth - 1, 1)
            block = EncoderBlock(self.num_heads, self.hidden, self.dropout, drop_path, dtype=self.dtype, name=f"block{i + 1}")
            x = block(x, train=train)
            if i + 1 in wanted:
                maps.append(x.reshape(batch, grid_height, grid_width, self.width))
        return tuple(maps)

    def _check(self, wanted: tuple[int, ...]) -> None:
        if self.width % self.num_heads:
            raise InputError(f"width={self.width} must be a multiple of num_heads={self.num_heads}.")
        if not all(1 <= d <= self.depth for d in wanted) or list(wanted) != sorted(set(wanted)):
            raise InputError(f"feature_depths={wanted} must rise and lie between 1 and depth={self.depth}.")

    def _positions(self, grid: tuple[int, ...]) -> Float[Array, "1 gh gw d"]:
        learnt = tuple(-(-side // self.patch_size) for side in self.image_size)
        table = self.param("position_embedding", nn.initializers.normal(0.02), (1, *learnt, self.width))
        return table if grid == learnt else ops.resize(table, (grid[0], grid[1]), method="bilinear")
