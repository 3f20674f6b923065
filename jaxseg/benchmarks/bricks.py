"""The two sets of operations that are compared: jaxseg's, and what plain JAX offers."""

import contextlib
from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxseg import ops
from jaxseg.ops.convolution_primitive import native_convolutions


class Jaxseg:
    """The operations of :mod:`jaxseg.ops`."""

    def tracing(self) -> AbstractContextManager[None]:
        """Return the context to trace in."""
        return contextlib.nullcontext()

    def conv(self, x: Array, kernel: Array, strides: int = 1, padding: int = 0, rate: int = 1, groups: int = 1) -> Array:
        """Convolve."""
        return ops.conv2d(x, kernel, strides=strides, padding=padding, atrous_rate=rate, groups=groups)

    def conv_transpose(self, x: Array, kernel: Array, strides: int, padding: int = 0) -> Array:
        """Upsample."""
        return ops.conv_transpose2d(x, kernel, strides=strides, padding=padding)

    def max_pool(self, x: Array, window: int, strides: int, padding: int = 0) -> Array:
        """Pool."""
        return ops.max_pool(x, window=window, strides=strides, padding=padding)

    def pool_with_argmax(self, x: Array) -> tuple[Array, Array]:
        """Pool by 2 and keep the positions."""
        return ops.max_pool_with_argmax(x, window=2)

    def unpool(self, x: Array, indices: Array, size: tuple[int, int]) -> Array:
        """Put values back at their positions."""
        return ops.max_unpool(x, indices, output_size=size, window=2)

    def resize(self, x: Array, size: tuple[int, int]) -> Array:
        """Interpolate bilinearly."""
        return ops.resize(x, size)


class Lax(Jaxseg):
    """The same in plain JAX, as one would write it without jaxseg."""

    def tracing(self) -> AbstractContextManager[None]:
        """Return the context in which a convolution is ``lax.conv_general_dilated``, differentiated by JAX."""
        return native_convolutions()

    def conv_transpose(self, x: Array, kernel: Array, strides: int, padding: int = 0) -> Array:
        """Upsample by ``lax.conv_transpose``."""
        side = kernel.shape[0] - 1 - padding
        return lax.conv_transpose(
            x, kernel[::-1, ::-1], (strides, strides), [(side, side)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def max_pool(self, x: Array, window: int, strides: int, padding: int = 0) -> Array:
        """Pool by ``lax.reduce_window``, as Flax does."""
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, strides, strides, 1), sides)

    def pool_with_argmax(self, x: Array) -> tuple[Array, Array]:
        """Pool by an argmax over blocks."""
        b, h, w, c = x.shape
        blocks = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(b, h // 2, w // 2, c, 4)
        tap = jnp.argmax(blocks, axis=4)
        rows, columns = jnp.arange(h // 2)[None, :, None, None], jnp.arange(w // 2)[None, None, :, None]
        indices = (2 * rows + tap // 2) * w + 2 * columns + tap % 2
        return jnp.take_along_axis(blocks, tap[..., None], axis=4)[..., 0], indices

    def unpool(self, x: Array, indices: Array, size: tuple[int, int]) -> Array:
        """Put values back by a scatter."""
        b, h, w, c = x.shape
        image, channel = jnp.arange(b)[:, None, None], jnp.arange(c)[None, None, :]
        plane = jnp.zeros((b, size[0] * size[1], c), x.dtype)
        flat = plane.at[image, indices.reshape(b, h * w, c), channel].set(x.reshape(b, h * w, c))
        return flat.reshape(b, *size, c)

    def resize(self, x: Array, size: tuple[int, int]) -> Array:
        """Interpolate by ``jax.image.resize``."""
        return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear")
