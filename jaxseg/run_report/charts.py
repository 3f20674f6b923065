"""Curves as the page draws them, in SVG: where lines, points and ticks lie, and what they are called.

The page draws them itself, and no library does: a curve is a few kilobytes so, follows the reader's light or dark colours, and
says its values under the mouse.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxseg.history import Curve

#: Size of a chart, and of what lies around its plot, in the SVG's own units.
WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 38

#: A line of more points is drawn through the means of so many buckets.
MOST_POINTS = 300

#: Up to so many points are marked.
MARKED = 40

#: A chart may turn to a logarithmic axis where the largest value is so many times the least.
_LOGARITHMIC = 50


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        name: of what is drawn.
        path: the points of the polyline.
        band: the points of a polygon from the least to the largest value of each bucket; empty where no point is a mean.
        points: ``(x, y, text)``, the text to be shown under the mouse.
        marked: whether the points are drawn.
        summary: the curve in words.
    """

    name: str
    path: str
    band: str
    points: tuple[tuple[float, float, str], ...]
    marked: bool
    summary: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves over the steps of a run, in one pair of axes.

    Attributes:
        title: of the chart, with the unit.
        lines: at least one.
        x_ticks: position and text.
        y_ticks: position and text.
        note: what the reader must know of the axis or the points; may be empty.
    """

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    note: str

    @property
    def summary(self) -> str:
        """The chart in words, for those who do not see it."""
        return " ".join(line.summary for line in self.lines)


def draw(
    title: str, curves: Mapping[str, Curve], *, unit: str = "", scale: float = 1.0, from_zero: bool = False, log: bool = False
) -> Chart | None:
    """Lay out a chart; ``None`` where no value is finite.

    Args:
        title: of the chart.
        curves: by name.
        unit: of the values, shown beside the title and behind each value.
        scale: by which values are multiplied first: 100 for percent.
        from_zero: let the axis begin at 0.
        log: take a logarithmic axis if values are positive and spread over more than a factor of 50.
    """
    finite = {name: _finite(curve, scale) for name, curve in curves.items()}
    finite = {name: curve for name, curve in finite.items() if len(curve.steps)}
    if not finite:
        return None
    values = np.concatenate([curve.values for curve in finite.values()])
    low, high = float(values.min()), float(values.max())
    log = log and low > 0 and high / low > _LOGARITHMIC
    y_values = log_ticks(low, high) if log else ticks(min(low, 0.0) if from_zero else low, high)
    last = max(float(max(curve.steps.max() for curve in finite.values())), 1.0)
    x_values = [value for value in ticks(0, last) if value <= last and value == int(value)]
    axes = _Axes(last, (y_values[0], y_values[-1]), log)
    lines = tuple(_line(name, curve, axes, unit) for name, curve in finite.items())
    notes = ["logarithmic"] if log else []
    if any(line.band for line in lines):
        notes.append("means, with their range")
    return Chart(
        f"{title}, {unit}" if unit else title,
        lines,
        tuple((axes.x(value), f"{value:,.0f}") for value in x_values),
        tuple((axes.y(value), text_of(value)) for value in y_values),
        "; ".join(notes),
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that enclose a range: steps of 1, 2 or 5 times a power of ten, about ``count`` of them.

    Ends that differ by rounding alone, a billionth part of them, are one value, and the range goes from it to 0.

    >>> ticks(0.3, 0.87)
    [0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (min(low, 0.0), max(high, 0.0)) if low else (0.0, 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten that enclose a range of positive numbers.

    >>> log_ticks(0.02, 3.0)
    [0.01, 0.1, 1.0, 10.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 6)
    return [10.0**i for i in range(first, last + every, every)]


def text_of(value: float) -> str:
    """Return a number as people write it, to four digits.

    >>> text_of(12345.0), text_of(0.00012), text_of(86.4762)
    ('12,345', '0.00012', '86.48')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("e-0", "e-")


@dataclasses.dataclass(frozen=True)
class _Axes:
    last_step: float
    range: tuple[float, float]
    log: bool

    def x(self, step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / self.last_step, 1)

    def y(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (*self.range, value))
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)


def _finite(curve: Curve, scale: float) -> Curve:
    there = np.isfinite(curve.values)
    return Curve(curve.steps[there], scale * curve.values[there])


def _line(name: str, curve: Curve, axes: _Axes, unit: str) -> Line:
    buckets = _buckets(len(curve.steps))
    unit = f" {unit}" if unit else ""
    points, low, high = [], [], []
    for own in buckets:
        steps, values = curve.steps[own], curve.values[own]
        x, mean = axes.x(float(steps.mean())), _mean(values, axes.log)
        where = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
        points.append((x, axes.y(mean), f"{name}, {where}: {text_of(mean)}{unit}"))
        low.append((x, axes.y(float(values.min()))))
        high.append((x, axes.y(float(values.max()))))
    several = len(buckets) < len(curve.steps)
    return Line(
        name,
        _joined(points),
        _joined(low + high[::-1]) if several else "",
        tuple(points),
        len(points) <= MARKED,
        _in_words(name, curve, unit),
    )


def _buckets(count: int) -> list[Int[np.ndarray, " n"]]:
    return [own for own in np.array_split(np.arange(count), min(count, MOST_POINTS)) if len(own)]


def _mean(values: Float[np.ndarray, " n"], log: bool) -> float:
    return float(np.exp(np.log(values).mean())) if log else float(values.mean())


def _joined(points: Sequence[tuple[float, ...] | tuple[float, float, str]]) -> str:
    return " ".join(f"{point[0]},{point[1]}" for point in points)


def _in_words(name: str, curve: Curve, unit: str) -> str:
    steps, values = curve.steps, curve.values
    least, most = int(values.argmin()), int(values.argmax())
    return (
        f"{name}: {text_of(values[0])}{unit} at step {steps[0]:,}, {text_of(values[-1])}{unit} at step {steps[-1]:,}; "
        f"least {text_of(values[least])} at step {steps[least]:,}, most {text_of(values[most])} at step {steps[most]:,}."
    )
