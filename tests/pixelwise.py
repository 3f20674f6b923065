"""A network that compiles in a moment, for tests of everything around networks: two layers on every pixel, with batch norm."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class Pixelwise(nn.Module):
    """Dense, batch norm, ReLU, dropout, dense; of the library's model contract."""

    num_classes: int
    width: int = 8
    batch_norm: bool = True
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image, *, train=False):
        x = nn.Dense(self.width, use_bias=not self.batch_norm, dtype=self.dtype, name="hidden")(image)
        if self.batch_norm:
            x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype, name="bn")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="classifier")(x).astype(jnp.float32)
