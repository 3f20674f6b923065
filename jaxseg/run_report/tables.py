"""The scores of the classes and what is taken for what, as the page shows them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from jaxseg.visualize.pictures import Colour

#: Up to so many classes have a table with numbers; more have a picture of coloured cells.
MOST_NUMBERED = 24

#: Cells of that picture below this share of the row are left blank, and so are all but so many.
LEAST_SHARE, MOST_CELLS = 0.005, 4000

#: Confusions that are listed at most.
_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Class:
    """A line of the table of classes.

    Attributes:
        name: of the class.
        colour: as CSS has it.
        scores: IoU, Dice, accuracy, precision and the share of the labelled pixels, in percent; NaN where undefined.
    """

    name: str
    colour: str
    scores: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One pair of a label and a prediction.

    Attributes:
        row: index of the label.
        column: index of the prediction.
        share: of the label's pixels, in [0, 1].
        pixels: how many.
    """

    row: int
    column: int
    share: float
    pixels: int

    @property
    def shade(self) -> float:
        """Opacity in [0, 1]: small shares are what one looks for."""
        return round(self.share**0.6, 3)


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: of the predictions: the classes, and ``no class`` where a prediction was none.
        classes: how many of them are classes.
        rows: every cell of every label, for a table with numbers; empty where the classes are too many for that.
        cells: those to be drawn, where the classes are too many for a table.
        least: share below which no cell is drawn.
        largest: the confusions of most pixels, falling.
    """

    names: tuple[str, ...]
    classes: int
    rows: tuple[tuple[Cell, ...], ...]
    cells: tuple[Cell, ...]
    least: float
    largest: tuple[Cell, ...]


def css_color(colour: Colour) -> str:
    """Return a colour as CSS has it.

    >>> css_color((255, 0, 16))
    '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*(int(part) for part in colour))


def class_rows(
    scores: dict[str, Any], counts: UInt64[np.ndarray, "k k1"], names: Sequence[str], palette: Sequence[Colour]
) -> tuple[Class, ...]:
    """Return a line for each class, of scores in [0, 1] and of counts of labels by predictions."""
    labelled = counts.sum(1).astype(np.float64)
    shares = labelled / max(labelled.sum(), 1.0)
    columns = (scores["iou"], scores["dice"], scores["class_accuracy"], scores["precision"], shares.tolist())
    return tuple(
        Class(name, css_color(colour), tuple(100 * float(value) for value in values))
        for name, colour, *values in zip(names, palette, *columns, strict=True)
    )


def confusion(counts: UInt64[np.ndarray, "k k1"], names: Sequence[str]) -> Confusion:
    """Return what the page shows of the counts of labels (rows) by predictions (columns, the last of which are no class)."""
    classes = len(names)
    strays = bool(counts[:, classes:].any())
    counts = counts[:, : classes + strays]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1).astype(np.float64)
    across = (*names, "no class") if strays else tuple(names)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong.ravel().astype(np.float64), kind="stable")[: min(_LISTED, 2 * classes)]
    largest = tuple(_cell(counts, shares, *divmod(int(i), counts.shape[1])) for i in most if wrong.ravel()[i])
    rows: tuple[tuple[Cell, ...], ...] = ()
    cells: tuple[Cell, ...] = ()
    least = _least(shares)
    if classes <= MOST_NUMBERED:
        rows = tuple(tuple(_cell(counts, shares, row, column) for column in range(len(across))) for row in range(classes))
    else:
        cells = tuple(_cell(counts, shares, int(row), int(column)) for row, column in np.argwhere(shares >= least))
    return Confusion(across, classes, rows, cells, least, largest)


def percent(value: float, digits: int = 2) -> str:
    """Return a share of 100 as text; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _cell(counts: UInt64[np.ndarray, "k c"], shares: Float[np.ndarray, "k c"], row: int, column: int) -> Cell:
    return Cell(row, column, float(shares[row, column]), int(counts[row, column]))


def _least(shares: Float[np.ndarray, "k c"]) -> float:
    """Return the share from which on cells are drawn, so that they are not too many."""
    if shares.size <= MOST_CELLS:
        return LEAST_SHARE
    return max(LEAST_SHARE, float(np.partition(shares.ravel(), -MOST_CELLS)[-MOST_CELLS]))
