"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxseg.errors import InputError

_INK, _PAPER, _GRID, _FULL = (32, 32, 32), (255, 255, 255), (225, 225, 225), (8, 48, 107)
_FONT_SIZE, _MARGIN = 13, 12


def draw_confusion(
    counts: Integer[np.ndarray, "labels predictions"],
    class_names: Sequence[str],
    *,
    title: str = "labels down, predictions across: % of the labelled pixels",
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a confusion matrix: one row per labelled class, one column per predicted class, in shares of the row.

    Predictions that are no class (VOID) get a last column if there are any; a class without labelled pixels has an empty row.
    Up to 40 classes have their percentage written in the cell.

    Args:
        counts: from :meth:`jaxseg.metrics.ConfusionMatrix.counts`.
        class_names: one per class.
        title: what stands above.

    Raises:
        InputError: the names are not as many as the classes.
    """
    if len(class_names) != len(counts):
        raise InputError(f"There are {len(class_names)} class names for a confusion matrix of {len(counts)} classes.")
    strays = counts[:, len(counts) :].any()
    across = [*class_names, "no class"] if strays else list(class_names)
    shares = counts[:, : len(across)] / np.maximum(counts.sum(1, keepdims=True), 1)
    font = ImageFont.load_default(_FONT_SIZE)
    written = len(counts) <= 40
    step = 34 if written else 15
    names = int(max(font.getlength(name) for name in across))
    left, top = names + 2 * _MARGIN, names + 3 * _MARGIN + _FONT_SIZE
    width = max(left + step * len(across), _MARGIN + int(font.getlength(title))) + _MARGIN
    picture = Image.new("RGB", (width, top + step * len(counts) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN // 2), title, fill=_INK, font=font)
    for row, name in enumerate(class_names):
        pen.text((left - _MARGIN // 2, top + step * row + step // 2), name, fill=_INK, font=font, anchor="rm")
        for column in range(len(across)):
            _draw_cell(pen, (left + step * column, top + step * row), step, shares[row, column], font if written else None)
    for column, name in enumerate(across):
        _write_upwards(picture, name, (left + step * column + step // 2, top - _MARGIN // 2), font)
    return np.array(picture)


def _draw_cell(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    size: int,
    share: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont | None,
) -> None:
    x, y = corner
    shade = share**0.6  # small confusions are what one looks for
    colour = tuple(round(a + (b - a) * shade) for a, b in zip(_PAPER, _FULL))
    pen.rectangle((x, y, x + size - 1, y + size - 1), fill=colour, outline=_GRID, width=1 if font else 0)
    percent = round(100 * share)
    if font and percent:
        pen.text((x + size // 2, y + size // 2), str(percent), fill=_PAPER if shade > 0.5 else _INK, font=font, anchor="mm")


def _write_upwards(
    picture: Image.Image, text: str, foot: tuple[int, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, _FONT_SIZE + 4), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, fill=_INK, font=font)
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    picture.paste(turned, (foot[0] - turned.width // 2, foot[1] - turned.height))
