"""The Transformer's blocks: multi-head attention, feed-forward, drop path, and the pre-norm encoder block that ViT is made of.

Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762
Pre-norm placement as in ViT (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, Eq. 2 and 3).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch, per image (Huang et al., 2016, https://arxiv.org/abs/1603.09382).

    The branch is divided by the probability of keeping it, so that its expectation stays.

    Attributes:
        rate: probability of dropping, in ``[0, 1)``.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *rest"], *, train: bool) -> Float[Array, "b *rest"]:
        """Return the branch, or zeros for the images for which it is dropped."""
        if not train or self.rate == 0.0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros_like(x))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in several heads (section 3.2), of ``x`` to itself.

    Attributes:
        num_heads: the width is split evenly over them.
        dtype: compute dtype; the softmax is float32.
    """

    num_heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Return the attended tokens, projected back to the width."""
        width = x.shape[-1]
        heads = (self.num_heads, width // self.num_heads)
        project = {
            part: nn.DenseGeneral(heads, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name=part)(x)
            for part in ("query", "key", "value")
        }
        x = jax.nn.dot_product_attention(project["query"], project["key"], project["value"])
        return nn.DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform(), name="out")(
            x
        )


class FeedForward(nn.Module):
    """Two dense layers with a GELU (exact, by the error function) between (section 3.3; ViT, Eq. 3).

    Attributes:
        hidden: width between the two.
        dropout: rate after each.
        dtype: compute dtype.
    """

    hidden: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool) -> Float[Array, "b n d"]:
        """Return the tokens after both layers."""
        dense = {"dtype": self.dtype, "kernel_init": nn.initializers.xavier_uniform(), "bias_init": nn.initializers.normal(1e-6)}
        width = x.shape[-1]
        x = nn.gelu(nn.Dense(self.hidden, name="dense1", **dense)(x), approximate=False)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(width, name="dense2", **dense)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class EncoderBlock(nn.Module):
    """Attention and feed-forward, each normalised before and added after.

    Attributes:
        num_heads: of the attention.
        hidden: width of the feed-forward.
        dropout: rate in the feed-forward and after the attention.
        drop_path: probability of dropping each of the two branches, per image.
        dtype: compute dtype.
    """

    num_heads: int
    hidden: int
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool) -> Float[Array, "b n d"]:
        """Return the tokens after the block."""
        y = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm1")(x)
        y = MultiHeadAttention(self.num_heads, dtype=self.dtype, name="attention")(y)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        x = x + DropPath(self.drop_path)(y, train=train)
        y = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm2")(x)
        y = FeedForward(self.hidden, self.dropout, dtype=self.dtype, name="feed_forward")(y, train=train)
        return x + DropPath(self.drop_path)(y, train=train)
