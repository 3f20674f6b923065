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
        size: Height and width of the input, which the gradient to it needs. May be symbolic.
        window: Height and width of the kernel.
        strides: Step of the window.
        sides: Zeros around the input.
        rate: Distance of the kernel's taps.
        groups: Number of channel groups.
        precision: Of ``jax.lax``.
    """

    size: tuple[Any, Any]
    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    sides: Sides = ((0, 0), (0, 0))
    rate: tuple[int, int] = (1, 1)
    groups: int = 1
    precision: Any = None

    @property
    def output_size(self) -> tuple[Any, Any]:
        """Height and width of the output."""
        axes = zip(self.size, self.window, self.strides, self.sides, self.rate, strict=True)
        rows, columns = ((n + sum(p) - r * (k - 1) - 1) // s + 1 for n, k, s, p, r in axes)
        return rows, columns

    def axes(self) -> Iterator[tuple[Any, Any, int, int, tuple[int, int], int]]:
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
    # The blank operand is cast from the other so that inside a shard_map it has its type; XLA drops it.
    if face == "input":
        blank = _blank((lhs.shape[0], *geometry.size, rhs.shape[2] * geometry.groups), rhs)
        return jax.vjp(lambda x: _conv(x, rhs, geometry), blank)[1](lhs)[0]
    blank = _blank((*geometry.window, lhs.shape[3] // geometry.groups, rhs.shape[3]), lhs)
    return jax.vjp(lambda k: _conv(lhs, k, geometry), blank)[1](rhs)[0]


def _blank(shape: tuple[Any, ...], like: Array) -> Array:
    return lax.broadcast(like[(0,) * like.ndim], shape)


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
