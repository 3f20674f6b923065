"""Convolution: plain, strided, atrous, grouped, depthwise."""

from typing import Any

from jax import Array, lax
from jaxtyping import Float

from jaxseg.errors import InputError
from jaxseg.ops.convolution_native import Geometry
from jaxseg.ops.convolution_primitive import output
from jaxseg.ops.geometry import Padding, Pair, Sides, explicit_padding, pair


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: Pair = 1,
    padding: Padding = 0,
    atrous_rate: Pair = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "b h2 w2 o"]:
    """Convolve, or rather correlate, as every deep learning library does.

    ``out[b, y, x, o] = sum_{i, j, c} padded[b, y s + i r, x s + j r, c] kernel[i, j, c, o]``, with stride ``s`` and rate ``r``.

    Args:
        x: Feature maps, channels last, any float dtype.
        kernel: Of ``x``'s dtype; ``i = c / groups``. A depthwise kernel has ``i = 1``, ``groups = c``.
        strides: Step of the window.
        padding: Zeros around ``x``: an int, ``(rows, columns)``, ``((top, bottom), (left, right))``, ``"SAME"`` or ``"VALID"``.
            ``"SAME"`` is TensorFlow's and differs from PyTorch's ``padding=k // 2`` at stride 2.
        atrous_rate: Distance of the kernel's taps, 1 for a plain convolution.
        groups: Number of channel groups convolved separately.
        precision: As in ``jax.lax``; matters on GPU and TPU.

    Returns:
        Feature maps of ``x``'s dtype, ``h2 = (h + top + bottom - r (kh - 1) - 1) // s + 1``.

    Raises:
        InputError: If channels, groups, dtypes or sizes do not fit.
    """
    s, r = pair(strides, "strides"), pair(atrous_rate, "atrous_rate")
    kh, kw = kernel.shape[:2]
    _check(x, kernel, groups)
    size, span = (x.shape[1], x.shape[2]), (r[0] * (kh - 1) + 1, r[1] * (kw - 1) + 1)
    sides = explicit_padding(padding, size, span, s)
    _check_size(size, span, sides)
    return output(x, kernel, Geometry(size, (kh, kw), s, sides, r, groups, precision))


def _check_size(size: tuple[Any, Any], span: tuple[int, int], sides: Sides) -> None:
    padded = [n + before + after for n, (before, after) in zip(size, sides, strict=True)]
    if any(isinstance(n, int) and n < k for n, k in zip(padded, span, strict=True)):
        raise InputError(
            f"A kernel that spans {span[0]} x {span[1]} pixels does not fit in a padded image of {padded[0]} x {padded[1]}: "
            "pad more, or take a larger image or a smaller rate."
        )


def _check(x: Array, kernel: Array, groups: int) -> None:
    c, (i, o) = x.shape[3], kernel.shape[2:]
    if groups < 1 or c != i * groups or o % groups:
        raise InputError(
            f"An image of {c} channels, a kernel of {i} -> {o} channels and groups={groups} do not fit: "
            f"the kernel needs {c} / groups input channels, and groups must divide {c} and {o}."
        )
    if x.dtype != kernel.dtype:
        raise InputError(f"x is {x.dtype} and the kernel {kernel.dtype}: cast one of them, so that both have the compute dtype.")
