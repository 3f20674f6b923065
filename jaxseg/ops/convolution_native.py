"""A convolution's geometry, and its three faces as XLA's own convolution."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax import Array, lax

from jaxseg.ops.geometry import Sides


@dataclass(frozen=True)
class Geometry:
    """All of a convolution but its arrays.

    Attributes:
        size: Height and width of the input, which the gradient to it needs.
        window: Height and width of the kernel.
        strides: Step of the window.
        sides: Zeros around the input.
        rate: Distance of the kernel's taps.
        groups: Number of channel groups.
        precision: Of ``jax.lax``.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    sides: Sides = ((0, 0), (0, 0))
    rate: tuple[int, int] = (1, 1)
    groups: int = 1
    precision: Any = None

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        axes = zip(self.size, self.window, self.strides, self.sides, self.rate, strict=True)
        rows, columns = ((n + sum(p) - r * (k - 1) - 1) // s + 1 for n, k, s, p, r in axes)
        return rows, columns

    def axes(self) -> Iterator[tuple[int, int, int, int, tuple[int, int], int]]:
        """Yield the input size, output size, window, stride, padding and rate of the rows, then of the columns."""
        return zip(self.size, self.output_size, self.window, self.strides, self.sides, self.rate, strict=True)

    def adjoint(self) -> "Geometry":
        """Return the convolution, with the kernel flipped, that is the input's gradient of this one. Stride 1."""
        rows, columns = ((r * (k - 1) - before, r * (k - 1) - after) for _, _, k, _, (before, after), r in self.axes())
        return replace(self, size=self.output_size, sides=(rows, columns))

    def live(self) -> tuple["Geometry", tuple[slice, slice]]:
        """Leave out the outer taps that only ever see padding, as at a large rate; return which rows and columns stay."""
        window, sides, rate, kept = [], [], [], []
        for n, m, k, s, (before, after), r in self.axes():
            seen = [i for i in range(k) if any(0 <= y * s + i * r - before < n for y in range(m))] or [0]
            first, last = seen[0], seen[-1]
            window.append(last - first + 1)
            sides.append((before - first * r, after - (k - 1 - last) * r))
            rate.append(r if last > first else 1)
            kept.append(slice(first, last + 1))
        trimmed = replace(self, window=(window[0], window[1]), sides=(sides[0], sides[1]), rate=(rate[0], rate[1]))
        return trimmed, (kept[0], kept[1])


def native(lhs: Array, rhs: Array, *, face: str, geometry: Geometry) -> Array:
    """Return a face as XLA's own convolution: the form for GPU and TPU."""
    if face == "output":
        return _conv(lhs, rhs, geometry)
    if face == "input":
        channels = rhs.shape[2] * geometry.groups
        x = jax.ShapeDtypeStruct((lhs.shape[0], *geometry.size, channels), lhs.dtype)
        return jax.linear_transpose(lambda x: _conv(x, rhs, geometry), x)(lhs)[0]
    kernel = jax.ShapeDtypeStruct((*geometry.window, lhs.shape[3] // geometry.groups, rhs.shape[3]), lhs.dtype)
    return jax.linear_transpose(lambda k: _conv(lhs, k, geometry), kernel)(rhs)[0]


def _conv(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.sides,
        rhs_dilation=geometry.rate,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )
