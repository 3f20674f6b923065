"""Resizing feature maps, with both conventions of where the corners lie."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxseg.errors import InputError
from jaxseg.ops import separable


def resize(
    x: Float[Array, "b h w c"],
    size: tuple[Any, Any],
    *,
    method: Literal["bilinear", "nearest"] = "bilinear",
    align_corners: bool = False,
) -> Float[Array, "b h2 w2 c"]:
    """Resize by interpolation, as PyTorch's ``interpolate`` does: no smoothing where it shrinks.

    Output row ``y`` is read at ``(y + 1/2) h / h2 - 1/2``, clipped to the image, or at ``y (h - 1) / (h2 - 1)`` with
    ``align_corners``; ``"nearest"`` reads row ``floor(y (h / h2))``, rounded to float32 as PyTorch does. Columns likewise.

    Args:
        x: Feature maps, any float dtype.
        size: Height and width of the result; they and those of ``x`` may be symbolic (``jax.export``).
        method: ``"bilinear"`` or ``"nearest"``.
        align_corners: Whether the centres of the corner pixels coincide, instead of their outer edges. Bilinear only.

    Returns:
        Feature maps of ``x``'s dtype.

    Raises:
        InputError: For an unknown method, a size below 1, or ``align_corners`` with ``"nearest"``.
    """
    if method not in ("bilinear", "nearest"):
        raise InputError(f"method={method!r} is not known: give 'bilinear' or 'nearest'.")
    if method == "nearest" and align_corners:
        raise InputError("align_corners=True has no meaning for method='nearest': leave it out.")
    if any(isinstance(n, int) and n < 1 for n in size):
        raise InputError(f"size={size} is below 1: give (height, width), each at least 1.")
    if tuple(size) == x.shape[1:3]:
        return x
    return _resize(x, tuple(size), method, align_corners)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _resize(x: Array, size: tuple[Any, Any], method: str, align_corners: bool) -> Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis in (2, 1):
        low, high, part = source_pixels(x.shape[axis], size[axis - 1], method, align_corners)
        part = jnp.asarray(part, wide.dtype)[:, None, None] if axis == 1 else jnp.asarray(part, wide.dtype)[:, None]
        part = lax.broadcast(part, (1,) * (4 - part.ndim))
        below = jnp.take(wide, jnp.asarray(low), axis, mode="clip")
        wide = below + part * (jnp.take(wide, jnp.asarray(high), axis, mode="clip") - below) if method == "bilinear" else below
    return wide.astype(x.dtype)


@_resize.defjvp
def _resize_jvp(
    size: tuple[Any, Any], method: str, align_corners: bool, primals: tuple[Any], tangents: tuple[Any]
) -> tuple[Array, Array]:
    # The same map as two matrix products, because the adjoint of those is two matrix products, and not a scatter.
    (x,), (dx,) = primals, tangents
    rows, columns = (_weights(n, m, method, align_corners) for n, m in zip(x.shape[1:3], size, strict=True))
    return _resize(x, size, method, align_corners), separable.apply(dx, rows, columns)


def source_pixels(n: Any, m: Any, method: str = "bilinear", align_corners: bool = False) -> tuple[Any, Any, Any]:
    """Return the two of ``n`` pixels between which :func:`resize` reads each of ``m``, and how far it is from the first of them.

    Args:
        n: pixels of the side that is read; it and ``m`` may be symbolic.
        m: pixels of the side that is made.
        method: as :func:`resize` takes it.
        align_corners: as :func:`resize` takes it.

    Returns:
        Indices of the lower and the higher pixel, int32, and the part, float32 in [0, 1).
    """
    known = isinstance(n, int) and isinstance(m, int)
    xp: Any = np if known else jnp
    target = xp.arange(m, dtype=np.float32)
    n32, m32 = xp.asarray(n, np.float32), xp.asarray(m, np.float32)
    if method == "nearest":
        low = xp.minimum(xp.floor(target * (n32 / m32)), n32 - 1).astype(np.int32)
        return low, low, xp.zeros_like(target)
    if align_corners:
        source = target * ((n32 - 1) / xp.maximum(m32 - 1, 1))
    else:
        source = (target + np.float32(0.5)) * (n32 / m32) - np.float32(0.5)
    source = xp.clip(source, 0, n32 - 1)
    low = xp.floor(source)
    return low.astype(np.int32), xp.minimum(low + 1, n32 - 1).astype(np.int32), source - low


def _weights(n: Any, m: Any, method: str, align_corners: bool) -> Any:
    low, high, part = source_pixels(n, m, method, align_corners)
    known = isinstance(n, int) and isinstance(m, int)
    xp: Any = np if known else jnp
    pixel, part = xp.arange(n)[None, :], part[:, None]
    return (low[:, None] == pixel) * (1 - part) + (high[:, None] == pixel) * part
