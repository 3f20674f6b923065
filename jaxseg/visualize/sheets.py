"""Pictures side by side, with titles and legends: predictions, and what an augmentation does."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID
from jaxseg.visualize.pictures import CORRECT_COLOR, VOID_COLOR, WRONG_COLOR, Colour, colorize, error_map, overlay, to_rgb

_FONT_SIZE = 15
_LINE = 24
_GAP = 8
_INK, _PAPER, _FRAME = (20, 20, 20), (255, 255, 255), (120, 120, 120)

#: Small pictures are enlarged, by whole factors, until they are about this wide.
_MIN_WIDTH = 256

#: Longest side of a picture in a sheet of predictions, and in one of augmentations.
_LARGEST, _CELL = 1024, 320


def legend(
    class_names: Sequence[str],
    palette: Sequence[Colour],
    *,
    shares: Sequence[float] | None = None,
    height: int | None = None,
    width: int | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a swatch and a name for every class, in one column, or in as many as a height or a width asks for.

    Args:
        class_names: one name per class.
        palette: one RGB colour per class, 0 to 255.
        shares: share of the pixels of every class, in ``[0, 1]``, written as percent; NaN is written as a dash.
        height: columns as high as this allows, and as many as it takes.
        width: as many columns as this allows; give this or ``height``. At least one line and one column are drawn.

    Raises:
        InputError: where names, colours and shares differ in number, or both height and width are given.
    """
    if len(class_names) != len(palette) or (shares is not None and len(shares) != len(class_names)):
        counted = "" if shares is None else f" and {len(shares)} shares"
        raise InputError(f"{len(class_names)} class names, {len(palette)} colours{counted}: give one of each per class.")
    if height is not None and width is not None:
        raise InputError(f"height={height}, width={width}: give only one of them, the other follows from the number of classes.")
    percents = [""] * len(class_names) if shares is None else ["-" if math.isnan(share) else f"{share:.1%}" for share in shares]
    font = _font()
    text_width = max((math.ceil(font.getlength(name)) for name in class_names), default=0)
    percent_width = max((math.ceil(font.getlength(percent)) + 2 * _GAP for percent in percents if percent), default=0)
    column_width = _LINE + 2 * _GAP + text_width + percent_width + _GAP
    lines, columns = _arrangement(len(class_names), column_width, height, width)
    canvas = Image.new("RGB", (_GAP + columns * column_width, _GAP + lines * _LINE), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (name, color, percent) in enumerate(zip(class_names, palette, percents, strict=True)):
        left, top = _GAP + index // lines * column_width, _GAP + index % lines * _LINE
        draw.rectangle((left, top, left + _LINE, top + _LINE - _GAP), fill=tuple(color), outline=_FRAME)
        middle = top + (_LINE - _GAP) / 2
        draw.text((left + _LINE + _GAP, middle), name, _INK, font, anchor="lm")
        draw.text((left + column_width - 2 * _GAP, middle), percent, _INK, font, anchor="rm")
    return np.array(canvas)


def _arrangement(count: int, column_width: int, height: int | None, width: int | None) -> tuple[int, int]:
    """Lines and columns of a legend."""
    lines = count
    if height is not None:
        lines = min(lines, max(1, (height - _GAP) // _LINE))
    elif width is not None:
        lines = math.ceil(count / max(1, (width - _GAP) // column_width))
    return lines, math.ceil(count / max(1, lines))


def with_legend(
    picture: UInt8[np.ndarray, "h w 3"],
    class_names: Sequence[str],
    palette: Sequence[Colour],
    shares: Sequence[float] | None = None,
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Set the legend beside a picture, or below one that is more than twice as wide as high; arguments as :func:`legend`.

    A small picture is first enlarged by a whole factor, so that the text does not dwarf it.
    """
    picture = _enlarged(picture, _factor([picture]))
    height, width = picture.shape[:2]
    if width > 2 * height:
        return _stack([picture, legend(class_names, palette, shares=shares, width=width)], axis=0)
    return _stack([picture, legend(class_names, palette, shares=shares, height=height)], axis=1)


def sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_h _w 3"]]], *, titles: Sequence[str] | None = None, scale: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Set pictures in a grid on white.

    Args:
        rows: pictures, which may differ in size; rows may differ in length.
        titles: one per column, shortened to its width.
        scale: whole factor that enlarges every picture, pixel by pixel; by default the narrowest becomes at least 256 wide.

    Raises:
        InputError: where there is no picture, the titles do not fit the columns, or the scale is not above 0.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise InputError("A sheet needs at least one picture.")
    if titles is not None and len(titles) != columns:
        raise InputError(f"{len(titles)} titles for {columns} columns: give one per column.")
    if scale is not None and scale < 1:
        raise InputError(f"scale={scale} must be a whole number above 0, or None to fit.")
    factor = scale or _factor([picture for row in rows for picture in row])
    grid = [[_enlarged(picture, factor) for picture in row] for row in rows]
    widths = [max(row[column].shape[1] for row in grid if column < len(row)) for column in range(columns)]
    if titles is not None:
        grid.insert(0, [_caption(title, width) for title, width in zip(titles, widths, strict=True)])
    heights = [max((picture.shape[0] for picture in row), default=0) for row in grid]
    page = np.full((sum(heights) + _GAP * (len(heights) + 1), sum(widths) + _GAP * (columns + 1), 3), _PAPER, np.uint8)
    top = _GAP
    for row, height in zip(grid, heights, strict=True):
        left = _GAP
        for picture, width in zip(row, widths, strict=False):
            page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += width + _GAP
        top += height + _GAP
    return page


def prediction_sheet(
    images: Sequence[Shaped[np.ndarray, "_h _w _c"]],
    labels: Sequence[Integer[np.ndarray, "_h _w"]],
    predictions: Sequence[Integer[np.ndarray, "_h _w"]],
    palette: Sequence[Colour],
    class_names: Sequence[str],
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one line per example: image, ground truth, prediction, errors; below it a legend of the classes that appear.

    Pictures with a side above 1024 are drawn smaller.

    Args:
        images: as :func:`to_rgb` takes them; sizes may differ between examples.
        labels: class indices or ``VOID``, of the image's size.
        predictions: class indices, of the image's size.
        palette: one RGB colour per class, 0 to 255.
        class_names: one name per class.

    Raises:
        InputError: where the numbers of examples differ, or the sizes within one.
    """
    if not len(images) == len(labels) == len(predictions):
        raise InputError(
            f"{len(images)} images, {len(labels)} labels, {len(predictions)} predictions: give one of each per example."
        )
    rows = [
        [
            _fitted(picture, _LARGEST)
            for picture in (to_rgb(image), colorize(label, palette), colorize(prediction, palette), error_map(prediction, label))
        ]
        for image, label, prediction in zip(images, labels, predictions, strict=True)
    ]
    page = sheet(rows, titles=("image", "ground truth", "prediction", "errors"))
    seen = np.unique(np.concatenate([np.ravel(array) for array in (*labels, *predictions)]))
    classes = [int(index) for index in seen if index != VOID]
    names = [*(class_names[index] for index in classes), "correct", "wrong", "void"]
    colors = [*(palette[index] for index in classes), CORRECT_COLOR, WRONG_COLOR, VOID_COLOR]
    return _stack([page, legend(names, colors, width=page.shape[1])], axis=0)


def augmentation_sheet(
    example: Example,
    transforms: Sequence[Callable[[Example, np.random.Generator], Example]],
    seed: int,
    palette: Sequence[Colour],
    *,
    draws: int = 4,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw what a recipe of augmentation does to one example, with its labels painted over it and void pixels hatched.

    The first line is the example and then all transforms in their order; each further line is one transform alone. Large results
    are shown smaller: their true size is in the caption.

    Args:
        example: what is augmented.
        transforms: of :mod:`jaxseg.data.augment`, or any function of their form.
        seed: of the random draws.
        palette: one RGB colour per class, 0 to 255.
        draws: random draws per line.
    """

    def cell(title: str, steps: Sequence[Callable[[Example, np.random.Generator], Example]], *key: int) -> np.ndarray:
        rng, result = np.random.default_rng((seed, *key)), example
        for step in steps:
            result = step(result, rng)
        height, width = result["label"].shape
        picture = overlay(result["image"], result["label"], palette, alpha=0.15)
        picture = _fitted(_enlarged(picture, max(1, _CELL // max(height, width))), _CELL)
        return np.concatenate([_caption(f"{title} {height}x{width}", picture.shape[1]), picture])

    rows = [[cell("input", ()), *(cell("all", transforms, 0, draw) for draw in range(1, draws))]]
    for line, transform in enumerate(transforms, start=1):
        title = getattr(transform, "__name__", type(transform).__name__)
        rows.append([cell(title, (transform,), line, draw) for draw in range(draws)])
    return sheet(rows, scale=1)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_FONT_SIZE)


def _caption(text: str, width: int) -> UInt8[np.ndarray, "h {width} 3"]:
    """One line of text, shortened to the width."""
    font = _font()
    while text and font.getlength(text) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    canvas = Image.new("RGB", (width, _LINE), _PAPER)
    ImageDraw.Draw(canvas).text((0, _LINE / 2), text, _INK, font, anchor="lm")
    return np.array(canvas)


def _factor(pictures: Sequence[np.ndarray]) -> int:
    return max(1, math.ceil(_MIN_WIDTH / min(picture.shape[1] for picture in pictures)))


def _enlarged(picture: UInt8[np.ndarray, "h w 3"], factor: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _fitted(picture: UInt8[np.ndarray, "h w 3"], longest: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Shrink a picture whose longest side is longer than this."""
    if max(picture.shape[:2]) <= longest:
        return picture
    height, width = (max(1, round(side * longest / max(picture.shape[:2]))) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _stack(pictures: Sequence[UInt8[np.ndarray, "_h _w 3"]], axis: int) -> UInt8[np.ndarray, "h w 3"]:
    """Set pictures one after another along an axis, filled up with white where they are shorter along the other."""
    longest = max(picture.shape[1 - axis] for picture in pictures)
    filled = []
    for picture in pictures:
        missing = [(0, 0), (0, 0), (0, 0)]
        missing[1 - axis] = (0, longest - picture.shape[1 - axis])
        filled.append(np.pad(picture, missing, constant_values=255))
    return np.concatenate(filled, axis=axis)
