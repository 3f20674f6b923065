"""Depthwise convolution as sums of shifted products: memory-bound, so no matrix product helps."""

from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxseg.ops.convolution_gemm import fit, windows
from jaxseg.ops.convolution_native import Geometry


def output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolve every channel with its own ``multiplier`` kernels: ``kernel`` is ``(kh, kw, 1, c * multiplier)``."""
    weights = kernel.reshape(-1, x.shape[3], kernel.shape[3] // x.shape[3])
    views = windows(fit(x, geometry), geometry)
    parts = [sum_of([v * weights[t, None, None, None, :, m] for t, v in enumerate(views)]) for m in range(weights.shape[2])]
    return parts[0] if len(parts) == 1 else jnp.stack(parts, axis=4).reshape(*parts[0].shape[:3], -1)


def input_gradient(g: Array, kernel: Array, geometry: Geometry) -> Array:
    """Spread ``g`` over the strides, then convolve it with the flipped kernel, and sum over a channel's kernels."""
    edges = [(0, 0, 0), *((0, 0, s - 1) for s in geometry.strides), (0, 0, 0)]
    g = lax.pad(g, jnp.zeros((), g.dtype), edges)
    channels = geometry.groups
    multiplier = kernel.shape[3] // channels
    sides = []
    axes = zip(geometry.size, g.shape[1:3], geometry.window, geometry.sides, geometry.rate, strict=True)
    for n, m, k, (before, _), r in axes:
        first = r * (k - 1) - before
        sides.append((first, n - 1 + before - (m - 1)))
    flipped = replace(geometry, size=(g.shape[1], g.shape[2]), strides=(1, 1), sides=(sides[0], sides[1]))
    kernel = lax.rev(kernel, (0, 1)).reshape(*geometry.window, 1, channels, multiplier)
    split = g.reshape(*g.shape[:3], channels, multiplier)
    return sum_of([output(split[..., m], kernel[..., m], flipped) for m in range(multiplier)])


def kernel_gradient(x: Array, g: Array, geometry: Geometry) -> Array:
    """Sum the product of ``g`` and the shifted input over batch and plane, all taps in one pass.

    First over rows, which leaves long vectors to add, then over columns and batch: a batch that is split over devices would be
    gathered for a reduction of many operands.
    """
    b, rows, columns, _ = g.shape
    c = x.shape[3]
    split = g.reshape(b, rows, columns, c, -1)
    views = windows(fit(x, geometry), geometry)
    products = [(v * split[..., m]).reshape(b, rows, columns * c) for v in views for m in range(split.shape[4])]
    zeros = [jnp.zeros((), x.dtype)] * len(products)
    sums = lax.reduce(products, zeros, lambda p, q: [u + v for u, v in zip(p, q, strict=True)], (1,))
    taps = jnp.sum(jnp.stack(sums).reshape(-1, b, columns, c), axis=(1, 2))
    return taps.reshape(*geometry.window, 1, -1, c).swapaxes(3, 4).reshape(*geometry.window, 1, -1)


def sum_of(terms: list[Array]) -> Array:
    """Add arrays of one shape."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
