"""The Transformer: Attention is all you need.

Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762

The blocks that every transformer here is made of, encoder and decoder, and the paper's own network over sequences of tokens. ViT
and Swin take the encoder's block with the norm before each branch (``pre_norm``); the paper has it after each sum.

Differs from the paper:
    - ``pre_norm`` is a choice; with it both stacks end in a norm, and no warm-up is needed to train them.
    - Dropout also lies between the two layers of the feed-forward, as in most code since.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxseg.models.attention import MultiHeadAttention
from jaxseg.models.drop_path import DropPath
from jaxseg.models.layers import Initializer
from jaxseg.models.positions import sinusoids

Activation = Callable[[Array], Array]

#: By the error function, as the published networks; JAX's own default is an approximation.
exact_gelu = partial(nn.gelu, approximate=False)


class FeedForward(nn.Module):
    """Two dense layers with an activation between (section 3.3).

    Attributes:
        hidden: width between the two.
        activation: the paper's is ``nn.relu``, ViT's and Swin's the exact GELU.
        dropout: rate after each layer.
        kernel_init: of both layers.
        dtype: compute dtype.
    """

    hidden: int
    activation: Activation = exact_gelu
    dropout: float = 0.0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"], *, train: bool) -> Float[Array, "*b d"]:
        """Return the tokens after both layers."""
        dense = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.normal(1e-6)}
        width = x.shape[-1]
        x = self.activation(nn.Dense(self.hidden, name="dense1", **dense)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(width, name="dense2", **dense)(x)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class Block(nn.Module):
    """What encoder and decoder blocks share: branches that are normalised, dropped and added alike.

    Attributes:
        num_heads: of the attention.
        hidden: width of the feed-forward.
        dropout: rate in the feed-forward and after the attention.
        attention_dropout: rate of the attention weights.
        drop_path: probability of dropping each of the branches, per image.
        pre_norm: ``x + f(norm(x))`` instead of the paper's ``norm(x + f(x))``.
        activation: of the feed-forward.
        epsilon: of the norms.
        dtype: compute dtype.
    """

    num_heads: int
    hidden: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    pre_norm: bool = True
    activation: Activation = exact_gelu
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    def _add(self, x: Float[Array, "b n d"], branch: Callable[[Array], Array], norm: str, *, train: bool) -> Array:
        normalise = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name=norm)
        y = branch(normalise(x) if self.pre_norm else x)
        x = x + DropPath(self.drop_path)(y, train=train)
        return x if self.pre_norm else normalise(x)

    def _attend(self, name: str, *, train: bool, **seen: Any) -> Callable[[Array], Array]:
        attention = MultiHeadAttention(self.num_heads, self.attention_dropout, dtype=self.dtype, name=name)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        return lambda y: drop(attention(y, train=train, **seen))

    def _feed_forward(self, *, train: bool) -> Callable[[Array], Array]:
        layers = FeedForward(self.hidden, self.activation, self.dropout, dtype=self.dtype, name="feed_forward")
        return partial(layers, train=train)


class EncoderBlock(Block):
    """Attention of the tokens to each other, then the feed-forward (section 3.1); see :class:`Block` for the attributes."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "#b #h #n n"] | None = None, *, train: bool
    ) -> Float[Array, "b n d"]:
        """Return the tokens after the block; ``mask`` is True where a token sees another."""
        x = self._add(x, self._attend("attention", mask=mask, train=train), "norm1", train=train)
        return self._add(x, self._feed_forward(train=train), "norm2", train=train)


class DecoderBlock(Block):
    """Causal attention to the tokens before, attention to the encoder's, feed-forward; see :class:`Block` for the attributes."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        memory: Float[Array, "b m e"],
        memory_mask: Bool[Array, "#b #h #n m"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Return the tokens after the block; ``memory_mask`` is True where a token sees one of the encoder's."""
        x = self._add(x, self._attend("attention", causal=True, train=train), "norm1", train=train)
        x = self._add(x, self._attend("cross_attention", context=memory, mask=memory_mask, train=train), "norm2", train=train)
        return self._add(x, self._feed_forward(train=train), "norm3", train=train)


def apply_block(block: nn.Module, *inputs: Any, train: bool, remat: bool) -> Any:
    """Apply a block; with ``remat`` the backward pass computes its insides again instead of keeping them."""
    if not remat:
        return block(*inputs, train=train)
    return nn.remat(lambda module, *given: module(*given, train=train))(block, *inputs)


class Transformer(nn.Module):
    """Encoder and decoder over sequences of tokens; the defaults are the paper's base model (Table 3).

    One table embeds the source and the target, multiplied by ``sqrt(width)``, and is the last layer's kernel (section 3.4).

    Attributes:
        num_tokens: size of the vocabulary.
        width: of the embedded tokens.
        depth: blocks in the encoder, and in the decoder.
        num_heads: of each attention.
        hidden: width of the feed-forward layers.
        dropout: rate after each branch and of the embedded tokens.
        attention_dropout: rate of the attention weights.
        pre_norm: norm before each branch, and at the end of both stacks.
        activation: of the feed-forward layers.
        remat: computes blocks again in the backward pass instead of keeping their insides.
        dtype: compute dtype; logits are float32 all the same.
    """

    num_tokens: int
    width: int = 512
    depth: int = 6
    num_heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    attention_dropout: float = 0.0
    pre_norm: bool = False
    activation: Activation = nn.relu
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name the parts, which encoding and decoding share."""
        table = nn.initializers.normal(self.width**-0.5)
        self.embedding = nn.Embed(self.num_tokens, self.width, embedding_init=table, dtype=self.dtype)
        fields: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("num_heads", "hidden", "dropout", "attention_dropout", "pre_norm", "activation", "dtype")
        }
        self.encoder = [EncoderBlock(**fields) for _ in range(self.depth)]
        self.decoder = [DecoderBlock(**fields) for _ in range(self.depth)]
        self.drop = nn.Dropout(self.dropout)
        if self.pre_norm:
            self.encoder_norm = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)
            self.decoder_norm = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype)

    def __call__(
        self,
        source: Int[Array, "b m"],
        target: Int[Array, "b n"],
        *,
        source_mask: Bool[Array, "b m"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n k"]:
        """Return logits of the token that follows each of the target's, from it, those before it and the whole source.

        Args:
            source: tokens to read.
            target: tokens so far, the first of them a start token; for training, the answer shifted right by one.
            source_mask: True where the source is no padding.
            train: whether dropout drops.
        """
        return self.decode(target, self.encode(source, source_mask=source_mask, train=train), source_mask, train=train)

    def encode(
        self, source: Int[Array, "b m"], *, source_mask: Bool[Array, "b m"] | None = None, train: bool = False
    ) -> Float[Array, "b m d"]:
        """Return the encoder's tokens."""
        x = self._embed(source, train=train)
        for block in self.encoder:
            x = apply_block(block, x, _keys(source_mask), train=train, remat=self.remat)
        return self.encoder_norm(x) if self.pre_norm else x

    def decode(
        self,
        target: Int[Array, "b n"],
        memory: Float[Array, "b m d"],
        source_mask: Bool[Array, "b m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b n k"]:
        """Return logits from the target so far and the encoder's tokens."""
        x = self._embed(target, train=train)
        for block in self.decoder:
            x = apply_block(block, x, memory, _keys(source_mask), train=train, remat=self.remat)
        x = self.decoder_norm(x) if self.pre_norm else x
        return self.embedding.attend(x).astype(jnp.float32)

    def _embed(self, tokens: Int[Array, "b n"], *, train: bool) -> Float[Array, "b n d"]:
        x = self.embedding(tokens) * np.asarray(self.width**0.5, self.dtype)
        positions = jnp.asarray(sinusoids(tokens.shape[1], self.width)[None], self.dtype)
        return self.drop(x + positions, deterministic=not train)


def _keys(mask: Bool[Array, "b m"] | None) -> Bool[Array, "b 1 1 m"] | None:
    """Say of every query alike which keys it sees."""
    return None if mask is None else mask[:, None, None, :]
