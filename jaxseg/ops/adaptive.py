"""Adaptive average pooling: a grid of given size over a plane of any size."""

import numpy as np
from jax import Array
from jaxtyping import Float

from jaxseg.ops import separable
from jaxseg.ops.geometry import Pair, pair


def adaptive_avg_pool(x: Float[Array, "b h w c"], size: Pair) -> Float[Array, "b h2 w2 c"]:
    """Average over a grid of ``size`` windows, which overlap where ``size`` does not divide the plane.

    Window ``i`` of ``n`` covers rows ``floor(i h / n)`` to ``ceil((i + 1) h / n)``, as in PyTorch's ``AdaptiveAvgPool2d``, which
    PSPNet's pyramid pooling uses (Zhao et al., CVPR 2017, section 3.2).

    Args:
        x: Feature maps, any float dtype.
        size: Height and width of the result; more than the plane's repeats pixels.

    Returns:
        Means, of ``x``'s dtype.

    Raises:
        InputError: If ``size`` is below 1.
    """
    rows, columns = (_weights(n, m) for n, m in zip(x.shape[1:3], pair(size, "size"), strict=True))
    return separable.apply(x, rows, columns)


def _weights(n: int, m: int) -> np.ndarray:
    window = np.arange(m)
    first, last = window * n // m, -(-(window + 1) * n // m)
    inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
    return inside / (last - first)[:, None]
