"""Pictures of images and labels, pixel by pixel, and the files they are kept in."""

import io
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt16
from PIL import Image

from jaxseg.errors import InputError
from jaxseg.types import VOID

Colour = tuple[int, int, int]

#: Colours of :func:`error_map`, which those who do not tell red from green tell apart as well.
CORRECT_COLOR: Colour = (222, 222, 222)
WRONG_COLOR: Colour = (213, 94, 0)
VOID_COLOR: Colour = (0, 0, 0)

#: Every so many pixels a diagonal line marks void pixels in overlays.
_HATCH = 8


def to_rgb(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Make any image displayable.

    One or two channels are shown as the grey of the first, more than three as the first three. uint8 is kept as it is, float
    images within ``[0, 1]`` are multiplied by 255, and all others are stretched: their 0.1th percentile becomes 0, their 99.9th
    255, so that neither twelve bits in uint16 nor a hot pixel make the picture dark.

    Args:
        image: any number of channels, any real dtype; values that are not finite become black.
    """
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if shown.dtype == np.uint8:
        return shown.copy()
    values = shown.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0.1, 99.9), method="nearest") if finite.size else (0.0, 1.0)
    if shown.dtype == bool or (shown.dtype.kind == "f" and finite.size and finite.min() >= 0 and finite.max() <= 1):
        low, high = 0.0, 1.0
    values = np.where(np.isfinite(values), values - low, 0.0) / (high - low if high > low else 1.0)
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def colorize(
    labels: Integer[np.ndarray, "h w"], palette: Sequence[Colour], void_color: Colour = VOID_COLOR
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint class indices in their colours.

    Args:
        labels: class indices in ``[0, len(palette))``, or ``VOID``.
        palette: one RGB colour per class, 0 to 255.
        void_color: the colour of ``VOID``.

    Raises:
        InputError: where a label has no colour.
    """
    return _color_table(palette, void_color)[_checked(labels, len(palette))]


def overlay(
    image: Shaped[np.ndarray, "_h _w c"],
    labels: Integer[np.ndarray, "_h _w"],
    palette: Sequence[Colour],
    *,
    alpha: float = 0.5,
    contours: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint class indices over their image: ``(1 - alpha) * image + alpha * colour``.

    Void pixels keep the image, hatched with thin white diagonals: they count nowhere, but the eye should find them.

    Args:
        image: as :func:`to_rgb` takes it.
        labels: class indices in ``[0, len(palette))``, or ``VOID``, of the image's size.
        palette: one RGB colour per class, 0 to 255.
        alpha: opacity of the colours, 0 to 1; 0 leaves the contours alone.
        contours: whether to paint the pixels along the border of every region in its full colour.

    Raises:
        InputError: where a label has no colour, the sizes differ or ``alpha`` is out of range.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha={alpha} must be from 0 (the image alone) to 1 (the colours alone).")
    check_same_size("image", image.shape[:2], labels.shape)
    background = to_rgb(image)
    colors = colorize(labels, palette)
    picture = cv2.addWeighted(background, 1 - alpha, colors, alpha, 0)  # without floats for every pixel of a large image
    void = labels == VOID
    if void.any():
        picture[void] = background[void]
        rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
        picture[void & ((rows + columns) % _HATCH == 0)] = 255
    if contours:
        border = borders(labels) & ~void
        picture[border] = colors[border]
    return picture


def error_map(prediction: Integer[np.ndarray, "_h _w"], labels: Integer[np.ndarray, "_h _w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Paint where a prediction is right (light grey), wrong (vermilion) and not counted, the label being ``VOID`` (black).

    Raises:
        InputError: where the sizes differ.
    """
    check_same_size("prediction", prediction.shape, labels.shape)
    picture = np.array([WRONG_COLOR, CORRECT_COLOR], np.uint8)[(prediction == labels).astype(np.uint8)]
    picture[labels == VOID] = VOID_COLOR
    return picture


def save_mask(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "h w"],
    palette: Sequence[Colour],
    void_color: Colour = VOID_COLOR,
) -> None:
    """Write class indices as a palette PNG: viewers show the colours, ``np.array(PIL.Image.open(path))`` gives the indices.

    ``VOID`` stays 255 and has ``void_color``. The file appears whole or not at all; missing folders are made.

    Args:
        path: ends in ``.png``, since other formats change the indices or lose them.
        labels: class indices in ``[0, len(palette))``, or ``VOID``.
        palette: one RGB colour per class, 0 to 255.
        void_color: the colour of ``VOID``.

    Raises:
        InputError: for another ending, or where a label has no colour.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"Cannot save a mask as {path.name!r}: the name must end in .png, the format that keeps class indices.")
    picture = Image.fromarray(_checked(labels, len(palette)).astype(np.uint8))
    picture.putpalette(_color_table(palette, void_color).tobytes())
    _write(path, picture, "PNG")


def save_instances(path: str | os.PathLike[str], ids: UInt16[np.ndarray, "h w"]) -> None:
    """Write numbered objects as a grey PNG of 16 bits; the file appears whole or not at all, and missing folders are made.

    Viewers show few objects as nearly black; ``np.array(PIL.Image.open(path))`` gives the numbers.

    Args:
        path: ends in ``.png``, since other formats change the numbers or lose them.
        ids: the number of every pixel's object, 0 for none.

    Raises:
        InputError: for another ending.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"Cannot save objects as {path.name!r}: the name must end in .png, the format that keeps their numbers.")
    _write(path, Image.fromarray(ids), "PNG")


def save_picture(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an RGB picture; the file appears whole or not at all, and missing folders are made.

    Args:
        path: its ending gives the format: ``.png`` (exact), ``.jpg`` or ``.webp``.
        picture: uint8, RGB.

    Raises:
        InputError: for another ending.
    """
    path = Path(path)
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if path.suffix.lower() not in formats:
        raise InputError(f"Cannot save a picture as {path.name!r}: the name must end in {', '.join(formats)}.")
    _write(path, Image.fromarray(picture), formats[path.suffix.lower()])


def _write(path: Path, picture: Image.Image, file_format: str) -> None:
    encoded = io.BytesIO()
    picture.save(encoded, file_format, **({} if file_format == "PNG" else {"quality": 95}))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_bytes(encoded.getvalue())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _color_table(palette: Sequence[Colour], void_color: Colour) -> UInt8[np.ndarray, "256 3"]:
    if len(palette) > VOID:
        raise InputError(
            f"The palette has {len(palette)} colours: labels are 8 bits wide, and {VOID} is void, so give {VOID} at most."
        )
    table = np.zeros((VOID + 1, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    table[VOID] = void_color
    return table


def _checked(labels: Integer[np.ndarray, "h w"], num_classes: int) -> Integer[np.ndarray, "h w"]:
    unknown = (labels < 0) | ((labels >= num_classes) & (labels != VOID))
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        raise InputError(
            f"Label {labels[row, column]} at row {row}, column {column} has no colour: the palette has {num_classes}, for the "
            f"classes from 0. Give one colour per class, or map the label to void ({VOID})."
        )
    return labels


def check_same_size(what: str, size: tuple[int, ...], label_size: tuple[int, ...]) -> None:
    """Raise InputError unless both sizes are the same."""
    if size != label_size:
        raise InputError(
            f"The {what} is {size[0]}x{size[1]}, its labels are {label_size[0]}x{label_size[1]}: resize one of them."
        )


def borders(labels: Integer[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h w"]:
    """Pixels of which a neighbour above, below, left or right has another label."""
    border = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= across
    border[:, :-1] |= across
    return border
