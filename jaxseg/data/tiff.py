"""TIFF: any number of channels, first or last, in one or several pages; integers and floats of any width."""

import contextlib
import io
import lzma
import math
from typing import Any, NamedTuple

import numpy as np
import tifffile
from jaxtyping import Shaped

from jaxseg.data.codecs import Stored, damaged, not_indices, oriented, read_other, read_other_indices
from jaxseg.data.limits import Inflate, check_pixels, check_unpacked
from jaxseg.errors import InputError

_STORED_AS_SHOWN = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.RGB)
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


#: Formats that can be far longer unpacked, and that tifffile unpacks by Python's own modules where imagecodecs is not installed.
_UNPACKING: dict[int, Any] = {
    tifffile.COMPRESSION.ADOBE_DEFLATE: Inflate,
    tifffile.COMPRESSION.DEFLATE: Inflate,
    tifffile.COMPRESSION.LZMA: lzma.LZMADecompressor,
}
with contextlib.suppress(ImportError):  # Python 3.14 and later
    from compression import zstd

    _UNPACKING[tifffile.COMPRESSION.ZSTD] = zstd.ZstdDecompressor


class _Loaded(NamedTuple):
    """The first image of a file: ``pixels`` is None where only Pillow has the codec."""

    pixels: Shaped[np.ndarray, "..."] | None
    channel_axis: int | None
    page: tifffile.TiffPage


def read_tiff(data: bytes, name: str, num_channels: int) -> Stored:
    """Read the first image series of a TIFF, channels last, turned as its orientation tag says.

    A third axis that the file calls samples or channels is the channel axis. Where the file does not say (``tifffile.imwrite`` of
    an array with five channels), it is the last axis if that alone is as long as ``num_channels``, and else the one that tifffile
    takes for pages.

    Raises:
        InputError: if the file is damaged, needs a codec that is not installed, is too large, or has more than three axes.
    """
    pixels, channel_axis, page = _load(data, name, num_channels)
    if pixels is None or page.photometric not in _STORED_AS_SHOWN:
        return read_other(data, name)
    pixels = pixels[..., None] if channel_axis is None else np.moveaxis(pixels, channel_axis, -1)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "bu":
        pixels = ~pixels
    orientation = page.tags.valueof("Orientation", default=1)
    has_alpha = bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA
    return Stored(oriented(pixels, int(orientation)), has_alpha)


def read_tiff_indices(data: bytes, name: str) -> Shaped[np.ndarray, "h w"]:
    """Read the stored values of a TIFF with one channel: palette indices rather than colours, one bit as 0 and 1 (white).

    Raises:
        InputError: as :func:`read_tiff`, and if the file holds more than one channel.
    """
    pixels, channel_axis, page = _load(data, name, 1)
    if pixels is None:
        return read_other_indices(data, name)
    if channel_axis is not None:
        raise not_indices(name, "x".join(map(str, pixels.shape)) + " values")
    if pixels.dtype == bool:
        pixels = (pixels != (page.photometric == tifffile.PHOTOMETRIC.MINISWHITE)).astype(np.uint8)
    return pixels


def _load(data: bytes, name: str, num_channels: int) -> _Loaded:
    """Read the first image series without interpreting its values."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series, page = file.series[0], file.pages.first
            channel_axis, shape = _channel_axis(series.axes, series.shape, num_channels, name)
            height, width = (size for axis, size in enumerate(shape) if axis != channel_axis)
            check_pixels(height, width, name, channels=math.prod(shape) // max(height * width, 1))
            _check_parts(data, series, name)
            try:
                return _Loaded(series.asarray().reshape(shape), channel_axis, page)
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                if len(series.pages) == 1 and _pillow_can(data, name):
                    return _Loaded(None, channel_axis, page)
                raise InputError(
                    f"{name} cannot be decompressed: {error}. Run `pip install imagecodecs`, "
                    "or save the file without compression or with deflate."
                ) from None
    except InputError:
        raise
    except Exception as error:  # tifffile raises anything on bad data
        raise damaged(name, error) from None


def _check_parts(data: bytes, series: tifffile.TiffPageSeries, name: str) -> None:
    """Refuse strips and tiles that unpack to more than the image; tifffile's own codecs would unpack them whole."""
    for page in series.pages:
        if page is None or page.compression not in _UNPACKING:
            continue
        for offset, count in zip(page.dataoffsets, page.databytecounts):
            check_unpacked(data[offset : offset + count], _UNPACKING[page.compression](), series.keyframe.nbytes, name)


def _channel_axis(axes: str, shape: tuple[int, ...], num_channels: int, name: str) -> tuple[int | None, tuple[int, ...]]:
    """Return the index of the channel axis, if there is one, and the shape without other axes of length 1."""
    kept = [(axis, size) for axis, size in zip(axes, shape) if size != 1 or axis in "YX"]
    axes, shape = "".join(axis for axis, _ in kept), tuple(size for _, size in kept)
    if len(shape) == 2:
        return None, shape
    if len(shape) != 3:
        raise InputError(f"{name} has the axes {axes} of sizes {shape}, not one image. Split it into one file per image.")
    for samples_or_channels in "SC":
        if samples_or_channels in axes:
            return axes.index(samples_or_channels), shape
    if shape[2] == num_channels != shape[0]:
        return 2, shape
    return next(index for index, axis in enumerate(axes) if axis not in "YX"), shape


def _pillow_can(data: bytes, name: str) -> bool:
    """Return whether Pillow decodes the file: it has its own LZW, JPEG and fax codecs, for 8-bit and for 16-bit grey."""
    try:
        read_other(data, name)
    except InputError:
        return False
    return True
