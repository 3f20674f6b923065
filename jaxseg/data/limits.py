"""How large a file and an image may be: what is refused by its header or its size, before it is decoded or unpacked.

All limits follow one number of pixels, 2^28 unless the environment variable ``JAXSEG_MAX_PIXELS`` says otherwise.
"""

import os
import stat
import zlib
from typing import Protocol, runtime_checkable

from jaxseg.errors import InputError

#: Images with more pixels than this are refused, unless the environment variable ``JAXSEG_MAX_PIXELS`` says otherwise.
MAX_PIXELS = 2**28

#: Values that a pixel may have on average, red, green, blue and alpha; more channels make for fewer pixels.
_VALUES = 4

#: Bytes of a file for each pixel: four channels of float32.
_BYTES = 16

#: Bytes that a file may have in any case.
_ALWAYS = 2**26

#: No deflate stream becomes longer than this many times itself.
_LARGEST_RATIO = 1032

_AT_ONCE = 2**24


def max_pixels() -> int:
    """Return the largest number of pixels that an image may have: :data:`MAX_PIXELS` or ``JAXSEG_MAX_PIXELS``."""
    text = os.environ.get("JAXSEG_MAX_PIXELS", "")
    if text and not text.isdecimal():
        raise InputError(f"The environment variable JAXSEG_MAX_PIXELS is {text!r}; it must be a whole number of pixels.")
    return int(text or MAX_PIXELS)


def check_pixels(height: int, width: int, name: str, channels: int = 1) -> None:
    """Refuse an image that would not fit in memory, given its size from the header.

    Raises:
        InputError: if the image is empty, has more pixels than :func:`max_pixels`, or more than four times as many values.
    """
    limit, pixels = max_pixels(), height * width
    if not pixels * channels:
        raise InputError(f"{name} has no pixels: {width}x{height} (width x height). Remove it, or save it again.")
    if pixels > limit:
        raise InputError(
            f"{name} has {width}x{height} (width x height) = {pixels:,} pixels, more than the limit of {limit:,}. "
            f"If the file is genuine, cut it into tiles or set the environment variable JAXSEG_MAX_PIXELS={pixels}."
        )
    if pixels * channels > _VALUES * limit:
        raise InputError(
            f"{name} has {width}x{height} pixels (width x height) of {channels:,} channels = {pixels * channels:,} values, more "
            f"than {_VALUES} for each of the {limit:,} pixels that are allowed. If the file is genuine, cut it into tiles or "
            f"set the environment variable JAXSEG_MAX_PIXELS={-(-pixels * channels // _VALUES)}."
        )


def check_bytes(count: int, name: str) -> None:
    """Refuse a file that would not fit in memory, given how many bytes it has, or has when unpacked.

    Raises:
        InputError: if it has more than 16 for each of :func:`max_pixels`, and more than 64 MB.
    """
    limit = max(_BYTES * max_pixels(), _ALWAYS)
    if count > limit:
        raise InputError(
            f"{name} has {count:,} bytes, more than the limit of {limit:,}. "
            f"If it is genuine, set the environment variable JAXSEG_MAX_PIXELS={-(-count // _BYTES)}."
        )


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file whole.

    Raises:
        OSError: if it is missing, unreadable or a folder.
        InputError: if it is larger than :func:`check_bytes` allows, or no file at all, but a pipe or a device without an end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{os.fspath(path)} is a pipe or a device, not a file. Remove it, or save its content as a file.")
    check_bytes(status.st_size, os.fspath(path))
    with open(path, "rb") as file:
        return file.read()


@runtime_checkable
class Decompressor(Protocol):
    """What ``lzma`` and its like have; :class:`Inflate` for ``zlib``."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most so many bytes; the rest comes when it is called again, with nothing."""


class Inflate:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        return self._zlib.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most so many bytes; the rest comes when it is called again, with nothing."""
        return self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)


def check_unpacked(data: bytes, decompressor: Decompressor, expected: int, name: str) -> None:
    """Refuse a compressed part of a file that unpacks to far more than it should, without ever holding what it unpacks to.

    Parts that cannot become too long, however they were made, cost nothing; others are unpacked once more, and thrown away.

    Args:
        data: the part.
        decompressor: a new one of its format.
        expected: bytes that it should unpack to; as many as :func:`max_pixels` are allowed in any case.
        name: of the file, for the error.

    Raises:
        InputError: if it unpacks to more.
    """
    limit = max(expected, max_pixels())
    if isinstance(decompressor, Inflate) and len(data) * _LARGEST_RATIO <= limit:
        return
    total, rest = 0, data
    while not decompressor.eof:
        try:
            piece, rest = decompressor.decompress(rest, _AT_ONCE), b""
        except Exception:  # each module has an exception of its own for damaged data, which decoding will report
            return
        total += len(piece)
        if total > limit:
            raise InputError(
                f"{name} is a decompression bomb: {len(data):,} bytes of it unpack to more than {limit:,}, and {expected:,} are "
                f"needed. Remove it. If it is genuine, set the environment variable JAXSEG_MAX_PIXELS={4 * limit}."
            )
        if not piece:  # truncated, likewise
            return
