"""The pyramid pooling module: a map beside the averages of the whole image, of its halves, its thirds and its sixths.

Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, https://arxiv.org/abs/1612.01105, section 3.2. PSPNet's head, and the
first part of UPerNet's.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.models.layers import Conv, ConvBNAct


class PyramidPooling(nn.Module):
    """Averages over grids of several sizes, each through a 1x1 convolution, enlarged to the map and put behind it.

    Attributes:
        bins: sides of the grids; the paper's 1, 2, 3 and 6. A grid finer than the map repeats pixels.
        features: channels of each; the paper's a quarter of the map's.
        align_corners: of the enlargement; PSPNet's authors align them, UPerNet's code in mmsegmentation does not.
        whole_norm: whether the whole map's average is normalised too. It is one value per channel and image; instead of the norm
            segmentation_models.pytorch has a bias there.
        dtype: compute dtype.
    """

    bins: tuple[int, ...] = (1, 2, 3, 6)
    features: int = 512
    align_corners: bool = False
    whole_norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c2"]:
        """Return the map followed by its pyramid: ``c2 = c + len(bins) * features`` channels, in the compute dtype."""
        x = x.astype(self.dtype)
        size = (x.shape[1], x.shape[2])
        levels = [x]
        for side in self.bins:
            pooled = ops.adaptive_avg_pool(x, side)
            if side == 1 and not self.whole_norm:
                pooled = nn.relu(Conv(self.features, 1, dtype=self.dtype, name="bin1")(pooled))
            else:
                level = ConvBNAct(self.features, 0.9, 1e-5, kernel_size=1, dtype=self.dtype, name=f"bin{side}")
                pooled = level(pooled, train=train)
            levels.append(ops.resize(pooled, size, align_corners=self.align_corners))
        return jnp.concatenate(levels, axis=-1)
