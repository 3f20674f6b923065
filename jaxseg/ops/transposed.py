"""Transposed convolution, and the bilinear kernel that fully convolutional networks start it from."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxseg.errors import InputError
from jaxseg.ops.convolution_native import Geometry
from jaxseg.ops.convolution_primitive import input_gradient
from jaxseg.ops.geometry import Pair, pair


def conv_transpose2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    *,
    strides: Pair,
    padding: Pair = 0,
    output_padding: Pair = 0,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "b h2 w2 o"]:
    """Upsample by a transposed convolution: the adjoint of a convolution of the same strides and padding.

    ``out[b, s y + i - p, s x + j - p, o] += x[b, y, x, c] kernel[i, j, c, o]`` over all ``y, x, i, j, c``, cut to size.

    Args:
        x: Feature maps, any float dtype.
        kernel: Of ``x``'s dtype. PyTorch's ``ConvTranspose2d`` weight ``(c, o, kh, kw)``, axes moved, not flipped.
        strides: Upsampling factor.
        padding: Rows and columns cut from each side of the full result.
        output_padding: Rows and columns more at the bottom and right; below the stride.
        precision: As in ``jax.lax``; matters on GPU and TPU.

    Returns:
        Feature maps of PyTorch's size, ``h2 = (h - 1) s - 2 p + kh + output_padding``.

    Raises:
        InputError: If channels, dtypes or sizes do not fit.
    """
    s, p = pair(strides, "strides"), pair(padding, "padding", 0)
    extra = pair(output_padding, "output_padding", 0)
    _check(x, kernel, s, extra)
    h, w = ((n - 1) * t - 2 * q + k + e for n, t, q, k, e in zip(x.shape[1:3], s, p, kernel.shape[:2], extra, strict=True))
    if any(isinstance(n, int) and n < 1 for n in (h, w)):
        raise InputError(f"padding={p} cuts a result of {h} x {w}: take less padding or a larger kernel.")
    sides = ((p[0], p[0]), (p[1], p[1]))
    geometry = Geometry((h, w), (kernel.shape[0], kernel.shape[1]), s, sides, precision=precision)
    return input_gradient(x, kernel.swapaxes(2, 3), geometry)


def bilinear_kernel(size: Pair, channels: int, dtype: DTypeLike = jnp.float32) -> Float[Array, "kh kw c c"]:
    """Return the kernel that makes a transposed convolution a bilinear upsampling, each channel by itself.

    ``1 - |i - centre| / factor`` along each axis, ``factor = (size + 1) // 2``: with stride ``f``, ``size = 2 f - f % 2`` and
    ``padding = (f - f % 2) / 2`` it upsamples by ``f``. Long et al., Fully Convolutional Networks for Semantic
    Segmentation, CVPR 2015, section 3.3; the kernel is zero between different channels.

    Args:
        size: Height and width of the kernel.
        channels: Number of channels in and out.
        dtype: Of the kernel.
    """
    rows, columns = (_triangle(n) for n in pair(size, "size"))
    plane = rows[:, None] * columns[None, :]
    return jnp.asarray(plane[:, :, None, None] * np.eye(channels), dtype)


def _triangle(size: int) -> np.ndarray:
    factor = (size + 1) // 2
    centre = factor - 1.0 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - centre) / factor


def _check(x: Array, kernel: Array, s: tuple[int, int], extra: tuple[int, int]) -> None:
    if x.shape[3] != kernel.shape[2]:
        raise InputError(
            f"x has {x.shape[3]} channels and the kernel takes {kernel.shape[2]} (its third axis): they must be equal."
        )
    if x.dtype != kernel.dtype:
        raise InputError(f"x is {x.dtype} and the kernel {kernel.dtype}: cast one of them, so that both have the compute dtype.")
    if extra[0] >= s[0] or extra[1] >= s[1]:
        raise InputError(f"output_padding={extra} must be below strides={s}: larger sizes need more rows or columns in x.")
