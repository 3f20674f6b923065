"""Filters of shifts alone: a window around each pixel, or offsets sampled from the whole of the spatial Gaussian.

The window is ConvCRF's (Teichmann and Cipolla, https://arxiv.org/abs/1805.04777). No gather and no scatter: for devices on which
these are slow, and for training, where the lattice's size must be known before the image is.
"""

import dataclasses
import functools
import math
import operator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from jaxseg.errors import InputError

#: Offsets in one step of the loop over all of them, so that sums of their products stay in registers.
UNROLLED = 8


@partial(jax.tree_util.register_dataclass, data_fields=("colours", "offsets", "weights", "mask"), meta_fields=("reach",))
@dataclasses.dataclass(frozen=True)
class LocalKernel:
    """A kernel that is 0 but at some offsets.

    Attributes:
        colours: of the pixels, in standard deviations.
        offsets: rows and columns from a pixel to others; with each its opposite.
        weights: the kernel's spatial part at each.
        mask: which pixels there are; ``None`` is all.
        reach: the longest offset in rows or columns, or more.
    """

    colours: Float[Array, "h w c"]
    offsets: Int32[Array, "t 2"]
    weights: Float[Array, " t"]
    mask: Bool[Array, "h w"] | None
    reach: int

    def __call__(self, values: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
        """Return ``sum_o weight_o exp(-|I_i - I_(i+o)|^2 / 2) values_(i+o)`` of every pixel ``i``."""
        return _shift_and_add(self.reach, self.colours, self.offsets, self.weights, self.mask, values)


@dataclasses.dataclass(frozen=True)
class Local:
    """A truncated bilateral filter.

    Attributes:
        radius: of a square window; ``None`` takes sampled offsets.
        samples: number of offsets, drawn evenly from the spatial Gaussian in a spiral of the golden angle, besides the pixel
            itself. Where the standard deviation in space is some tens of pixels they come much closer to the whole kernel than a
            window does, at the same cost per offset.
    """

    radius: int | None = None
    samples: int = 256

    def __post_init__(self) -> None:
        if self.radius is not None and self.radius < 1:
            raise InputError(f"radius={self.radius} must be at least 1, or None for sampled offsets.")
        if self.samples < 2 or self.samples % 2:
            raise InputError(f"samples={self.samples} must be even and at least 2: each offset comes with its opposite.")

    def build(
        self, colours: Float[Array, "h w c"], sigma: float | Float[Array, ""], mask: Bool[Array, "h w"] | None
    ) -> LocalKernel:
        """Return the kernel of an image; see :class:`jaxseg.crf.Filter`.

        Raises:
            InputError: sampled offsets of a standard deviation that is traced.
        """
        size = colours.shape[:2]
        if self.radius is not None:
            offsets = window(self.radius)
            weights = jnp.exp(-0.5 * jnp.sum(jnp.square(jnp.asarray(offsets, jnp.float32) / sigma), axis=1))
        else:
            if isinstance(sigma, jax.core.Tracer):
                raise InputError(
                    "Local() draws its offsets from sigma_alpha, which must be a number: give radius, or do not trace it."
                )
            offsets, shares = sampled(float(sigma), self.samples)
            weights = jnp.asarray(shares)
        near = np.all(np.abs(offsets) < np.asarray(size), axis=1)  # others reach no pixel from any other
        reach = int(np.abs(offsets[near]).max())
        offsets = np.where(near[:, None], offsets, 0).astype(np.int32)
        weights = lax.stop_gradient(jnp.where(near, weights, 0.0).astype(jnp.float32))
        spare = -len(offsets) % UNROLLED
        padded = jnp.asarray(np.pad(offsets, ((0, spare), (0, 0)))), jnp.pad(weights, (0, spare))
        return LocalKernel(lax.stop_gradient(colours), *padded, mask, -(-reach // 16) * 16)


def window(radius: int) -> Int32[np.ndarray, "t 2"]:
    """Return the offsets of a square of side ``2 radius + 1``."""
    steps = np.arange(-radius, radius + 1)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)


def sampled(sigma: float, count: int) -> tuple[Int32[np.ndarray, "t 2"], Float[np.ndarray, " t"]]:
    """Return the offset 0 and ``count`` others with the density of a Gaussian, and the weight of each.

    All together weigh as much as the Gaussian's values at all whole offsets, ``2 pi sigma^2``, of which offset 0 has its own 1.
    """
    half = np.arange(count // 2)
    distance = sigma * np.sqrt(-2 * np.log1p(-(half + 0.5) / (count // 2)))
    angle = half * math.pi * (3 - math.sqrt(5))
    side = np.round(np.stack([distance * np.sin(angle), distance * np.cos(angle)], axis=-1)).astype(np.int32)
    rest = max(2 * math.pi * sigma**2 - 1, 0.0) / count
    return np.concatenate([np.zeros((1, 2), np.int32), side, -side]), np.r_[1.0, np.full(count, rest)].astype(np.float32)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _shift_and_add(
    reach: int,
    colours: Float[Array, "h w c"],
    offsets: Int32[Array, "t 2"],
    weights: Float[Array, " t"],
    mask: Bool[Array, "h w"] | None,
    values: Float[Array, "h w k"],
) -> Float[Array, "h w k"]:
    height, width, classes = values.shape
    around = ((0, 0), (reach, reach), (reach, reach))
    there = None if mask is None else mask[:, :, None]
    # Classes first, pixels last: the inner loops are then rows of the image, not a handful of classes.
    sent = jnp.pad(jnp.moveaxis(values if there is None else jnp.where(there, values, 0.0), -1, 0), around)
    own = jnp.moveaxis(colours, -1, 0)
    wide = jnp.pad(own, around)

    def add(total: Array, group: tuple[Array, Array]) -> tuple[Array, None]:
        parts = []
        for offset, weight in zip(*group):
            start = (jnp.int32(0), offset[0] + reach, offset[1] + reach)
            others = lax.dynamic_slice(wide, start, own.shape)
            apart = sum((jnp.square(a - b) for a, b in zip(own, others)), jnp.zeros((height, width)))
            likeness = weight * jnp.exp(-0.5 * apart)
            parts.append(likeness[None] * lax.dynamic_slice(sent, start, total.shape))
        return total + functools.reduce(operator.add, parts), None

    groups = offsets.reshape(-1, UNROLLED, 2), weights.reshape(-1, UNROLLED)
    total = lax.scan(add, jnp.zeros((classes, height, width), values.dtype), groups)[0]
    result = jnp.moveaxis(total, 0, -1)
    return result if there is None else jnp.where(there, result, 0.0)


def _forward(reach: int, *arguments: Any) -> tuple[Array, tuple[Any, ...]]:
    return _shift_and_add(reach, *arguments), arguments[:-1]


def _backward(reach: int, kernel: tuple[Any, ...], g: Array) -> tuple[Array | None, ...]:
    return None, None, None, None, _shift_and_add(reach, *kernel, g)  # every offset comes with its opposite: symmetric


_shift_and_add.defvjp(_forward, _backward)
