"""Multi-head attention, which every transformer here is made of.

Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762, section 3.2.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.models.layers import Initializer


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in several heads, of tokens to themselves or to those of a context.

    Where the collection ``intermediates`` is asked for (``mutable=["intermediates"]``) the weights ``(*b, heads, n, m)`` go
    there as ``weights``, float32; they are not computed otherwise.

    Attributes:
        num_heads: the width is split evenly over them.
        dropout: rate of the attention weights.
        kernel_init: of the four projections.
        dtype: compute dtype; the softmax is float32.
    """

    num_heads: int
    dropout: float = 0.0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*b n d"],
        context: Float[Array, "*b m e"] | None = None,
        *,
        mask: Bool[Array, "*#b #h #n m"] | None = None,
        bias: Float[Array, "*#b #h n m"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "*b n d"]:
        """Return the attended tokens, projected back to the width.

        Args:
            x: what asks.
            context: what is looked at; ``None`` is ``x`` itself.
            mask: True where a token sees another.
            bias: added to the scores.
            causal: whether each token sees itself and those before it only.
            train: whether dropout drops.

        Raises:
            InputError: where the width is no multiple of the number of heads.
        """
        width = x.shape[-1]
        if width % self.num_heads:
            raise InputError(f"width={width} must be a multiple of num_heads={self.num_heads}.")
        heads = (self.num_heads, width // self.num_heads)
        context = x if context is None else context
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init}
        query = nn.DenseGeneral(heads, name="query", **options)(x)
        key = nn.DenseGeneral(heads, name="key", **options)(context)
        value = nn.DenseGeneral(heads, name="value", **options)(context)
        seen: dict[str, Any] = {"mask": mask, "bias": bias, "causal": causal}
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", ops.attention_weights(query, key, **seen))
        # None in evaluation too: what drops nothing would still keep flash attention away.
        drop = nn.Dropout(self.dropout, deterministic=False) if self.dropout and train else None
        mixed = ops.attention(query, key, value, drop=drop, **seen)
        return nn.DenseGeneral(width, axis=(-2, -1), name="out", **options)(mixed)
