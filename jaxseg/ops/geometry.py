"""Strides, rates and paddings of windows over a plane: what callers may write, and the one explicit form inside."""

from typing import Any

from jaxseg.errors import InputError

#: An int for both axes, or ``(rows, columns)``.
Pair = int | tuple[int, int]

#: ``"SAME"``, ``"VALID"``, one amount for all sides, ``(rows, columns)``, or ``((top, bottom), (left, right))``.
Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

#: ``((top, bottom), (left, right))``.
Sides = tuple[tuple[int, int], tuple[int, int]]


def pair(value: Pair, name: str, minimum: int = 1) -> tuple[int, int]:
    """Return ``(rows, columns)``.

    Args:
        value: An int or a pair of ints.
        name: What it is, for the message.
        minimum: The smallest value allowed.

    Raises:
        InputError: If a value is below ``minimum``.
    """
    rows, columns = (value, value) if isinstance(value, int) else value
    if rows < minimum or columns < minimum:
        raise InputError(f"{name}={value} is below {minimum}: give an int or (rows, columns), each at least {minimum}.")
    return int(rows), int(columns)


def explicit_padding(padding: Padding, size: tuple[Any, Any], window: tuple[int, int], strides: tuple[int, int]) -> Sides:
    """Return the padding as ``((top, bottom), (left, right))``.

    ``"SAME"`` is TensorFlow's: ``ceil(size / stride)`` outputs, the odd pixel at the bottom and right.

    Args:
        padding: In any of the forms of :data:`Padding`.
        size: Height and width of the plane.
        window: Height and width of the window, holes of a rate included.
        strides: Strides of the window.

    Raises:
        InputError: If a padding is negative or a name unknown.
    """
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return (0, 0), (0, 0)
        if padding.upper() != "SAME":
            raise InputError(f"padding={padding!r} is not known: give 'SAME', 'VALID', an int, a pair, or a pair of pairs.")
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, strides, strict=True)]
        return (totals[0] // 2, totals[0] - totals[0] // 2), (totals[1] // 2, totals[1] - totals[1] // 2)
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    top, bottom = (rows, rows) if isinstance(rows, int) else rows
    left, right = (columns, columns) if isinstance(columns, int) else columns
    if min(top, bottom, left, right) < 0:
        raise InputError(f"padding={padding} is negative: pad by 0 or more, and crop the result with a slice.")
    return (top, bottom), (left, right)
