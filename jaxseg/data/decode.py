"""Image files to arrays of the wanted number of channels, label files to class indices with void as ``VOID``."""

import functools
import os

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from jaxseg.data.codecs import (
    Stored,
    damaged,
    decode_with_cv2,
    not_indices,
    png_header,
    read_jpeg,
    read_other,
    read_other_indices,
    read_png,
)
from jaxseg.data.limits import read_file
from jaxseg.data.tiff import read_tiff, read_tiff_indices
from jaxseg.errors import InputError
from jaxseg.types import VOID

_PNG = (b"\x89PNG\r\n\x1a\n",)
_JPEG = (b"\xff\xd8\xff",)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: A source's own label values mapped to class indices or ``VOID``, as pairs, because a config's fields are hashable.
LabelMap = tuple[tuple[int, int], ...]


def decode_image(
    path_or_bytes: str | os.PathLike[str] | bytes, *, num_channels: int, name: str | None = None
) -> Shaped[np.ndarray, "h w {num_channels}"]:
    """Decode an image file: JPEG, PNG, TIFF, BMP, GIF (its first frame), WebP and more that Pillow reads.

    The content tells the format, not the suffix. Colours are RGB, those of palettes and CMYK too. Grey is repeated where three
    channels are wanted, and RGB becomes luminance ``0.299 R + 0.587 G + 0.114 B`` where one is. An alpha channel is dropped
    unless ``num_channels`` counts it. The EXIF orientation is applied, as viewers and annotation tools do.

    Args:
        path_or_bytes: the file, or its content.
        num_channels: the number of channels to return.
        name: what error messages call the image; the path where it is not given.

    Returns:
        ``(h, w, num_channels)``, writable and contiguous: uint8 or uint16 as stored, one-bit files as 0 and 255; any other type
        of number as float32 (exact for 16-bit integers and half floats, rounded to 24 bits for wider ones).

    Raises:
        InputError: if the file is missing, truncated, damaged, too large (see :func:`jaxseg.data.limits.check_pixels`), holds NaN
            or infinity, or has a number of channels that does not fit.
    """
    data, name = _read(path_or_bytes, name)
    if data.startswith(_PNG):
        stored = read_png(data, name)
    elif data.startswith(_JPEG):
        stored = read_jpeg(data, name)
    elif data.startswith(_TIFF):
        stored = read_tiff(data, name, num_channels)
    else:
        stored = read_other(data, name)
    return _to_channels(Stored(_to_dtype(stored.pixels, name), stored.has_alpha), num_channels, name)


def decode_label(path_or_bytes: str | os.PathLike[str] | bytes, *, name: str | None = None) -> Integer[np.ndarray, "h w"]:
    """Decode a label file to the values that it stores, which :func:`index_label` checks and maps.

    A palette image gives its indices, not its colours; one bit gives 0 and 1, two and four bits 0 to 3 and 0 to 15; 8-bit and
    16-bit grey are taken as they are. No orientation is applied: labels are drawn in the image's displayed orientation.

    Args:
        path_or_bytes: the file, or its content.
        name: what error messages call the label; the path where it is not given.

    Returns:
        ``(h, w)`` of the stored integer type, mostly uint8.

    Raises:
        InputError: if the file is missing, truncated, damaged or too large, or is a colour image, a JPEG, or of floats.
    """
    data, name = _read(path_or_bytes, name)
    if data.startswith(_JPEG):
        raise InputError(
            f"{name} is a JPEG, which blurs class indices into their neighbours. Export the label as PNG where it was drawn."
        )
    if data.startswith(_PNG):
        label = _png_indices(data, name)
    elif data.startswith(_TIFF):
        label = read_tiff_indices(data, name)
    else:
        label = read_other_indices(data, name)
    if label.dtype.kind not in "iu":
        raise InputError(f"{name} holds {label.dtype} values, but class indices are integers. Save the label as 8-bit integers.")
    return label


def index_label(
    label: Integer[np.ndarray, "h w"], *, num_classes: int, void_index: int | None, label_map: LabelMap = (), name: str
) -> UInt8[np.ndarray, "h w"]:
    """Map a source's label values to class indices and ``VOID``.

    Args:
        label: the stored values.
        num_classes: classes are ``0`` to ``num_classes - 1``; at most 255.
        void_index: the stored value of void pixels, if there is one.
        label_map: pairs of a stored value and the class index (or ``VOID``) that it stands for. If given, it goes before
            ``void_index``, and values that neither names are errors; if empty, values stand for themselves.
        name: what error messages call the label.

    Returns:
        ``(h, w)`` uint8 in ``[0, num_classes)``, or ``VOID`` (255).

    Raises:
        InputError: if a value is none of these; it names the values and counts their pixels.
    """
    table, known = _lookup(num_classes, void_index, label_map)
    if label.dtype == np.uint8:
        valid = cv2.LUT(label, known[:256])
        if valid.all():
            return cv2.LUT(label, table[:256])
    else:
        inside = (label >= 0) & (label < len(table))
        positions = np.where(inside, label, 0).astype(np.uint16)
        valid = inside & known[positions]
        if valid.all():
            return table[positions]
    raise _unknown_values(label, valid == 0, num_classes, void_index, label_map, name)


@functools.lru_cache(maxsize=32)
def _lookup(
    num_classes: int, void_index: int | None, label_map: LabelMap
) -> tuple[UInt8[np.ndarray, " 65536"], UInt8[np.ndarray, " 65536"]]:
    """Return what each 16-bit value stands for, and whether (1 or 0) it stands for anything."""
    table, known = np.full(2**16, VOID, np.uint8), np.zeros(2**16, np.uint8)
    if void_index is not None:
        known[void_index] = 1
    for value, target in label_map or [(index, index) for index in range(num_classes)]:
        table[value], known[value] = target, 1
    return table, known


def _unknown_values(
    label: Integer[np.ndarray, "h w"],
    unknown: Shaped[np.ndarray, "h w"],
    num_classes: int,
    void_index: int | None,
    label_map: LabelMap,
    name: str,
) -> InputError:
    """Return the error for values that stand for nothing, with the remedy that fits them."""
    values = np.unique(label[unknown]).tolist()
    shown = ", ".join(map(str, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
    mapped = ", ".join(str(value) for value, _ in label_map)
    rule = f"label_map knows {mapped}" if label_map else f"classes are 0 to {num_classes - 1}"
    void = "there is no void_index" if void_index is None else f"void_index is {void_index}"
    if values == [255] and not label_map and num_classes > 1 and np.isin(label, (0, 255)).all():
        remedy = "For a mask of 0 and 255 set label_map=((0, 0), (255, 1)); if 255 marks void pixels set void_index=255."
    elif label_map:
        remedy = "Add a pair (value, class) for each to label_map, with class 255 for void, or correct the label."
    else:
        remedy = (
            f"Correct num_classes={num_classes} or the label, "
            f"or map the values, such as label_map=((0, 0), ({values[0]}, 255)), where 255 is void."
        )
    return InputError(f"{name} holds the values {shown} in {int(unknown.sum()):,} pixels, but {rule} and {void}. {remedy}")


def _png_indices(data: bytes, name: str) -> Integer[np.ndarray, "h w"]:
    """Read the indices of a PNG: OpenCV for grey, Pillow for palettes, which OpenCV can only show as colours."""
    header = png_header(data, name)
    if header.color_type == 3:
        return read_other_indices(data, name)
    pixels = decode_with_cv2(data, cv2.IMREAD_UNCHANGED, name)
    if header.color_type != 0:
        kind = {2: "RGB", 4: "grey and alpha", 6: "RGBA"}.get(header.color_type, "colour")
        raise not_indices(name, f"{kind} values", pixels)
    # Decoders stretch fewer than 8 bits over 0..255: 1 to 255, 2 to 85, 4 to 17 per step.
    return pixels if header.bit_depth >= 8 else pixels // (255 // (2**header.bit_depth - 1))


def _read(path_or_bytes: str | os.PathLike[str] | bytes, name: str | None) -> tuple[bytes, str]:
    """Return the content of a file, and its name for error messages."""
    if isinstance(path_or_bytes, bytes):
        data, name = path_or_bytes, name or "the file"
    else:
        name = name or os.fspath(path_or_bytes)
        try:
            data = read_file(os.path.expanduser(path_or_bytes))
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}. Check that it exists and that you may read it.") from None
    if not data:
        raise damaged(name, "the file is empty")
    return data, name


def _to_dtype(pixels: Shaped[np.ndarray, "h w c"], name: str) -> Shaped[np.ndarray, "h w c"]:
    """Convert any number type to uint8, uint16 or float32, in native byte order."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind not in "iuf":
        raise InputError(f"{name} holds {pixels.dtype} values. Save the image as 8-bit or 16-bit integers or as float32.")
    pixels = pixels.astype(np.float32)
    if not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise InputError(f"{name} holds {count:,} NaN or infinite values. Replace them by a number, and mark their pixels void.")
    return pixels


def _to_channels(stored: Stored, num_channels: int, name: str) -> Shaped[np.ndarray, "h w {num_channels}"]:
    """Drop an alpha channel, repeat grey or take the luminance, where this gives the wanted number of channels."""
    pixels, has_alpha = stored
    if has_alpha and pixels.shape[2] != num_channels:
        pixels = pixels[..., :-1]
    available = pixels.shape[2]
    if available == 1 and num_channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    elif available == 3 and num_channels == 1:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
    elif available != num_channels:
        raise InputError(
            f"{name} has {available} channels, but num_channels is {num_channels}. "
            f"Set num_channels={available} if all images have as many, or convert this one."
        )
    return np.ascontiguousarray(pixels)
