"""Image files to arrays as they are stored: what :mod:`jaxseg.data.decode` builds images and labels from.

One reader per family, because no library reads them all: OpenCV is the fastest for JPEG and PNG, Pillow knows palettes and the
rarer formats, tifffile knows any number of channels. Headers are read here, before any pixel, so that an oversized file is
refused instead of allocated, and a truncated one on every version of OpenCV (4.10 returns half a JPEG without a word).
"""

import functools
import io
import struct
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image, ImageOps

from jaxseg.data.limits import check_pixels, max_pixels
from jaxseg.errors import InputError

# Parallelism comes from the loader, which reads several images at a time; OpenCV's own threads would only compete with it.
cv2.setNumThreads(0)

#: What Pillow may open: pictures of pixels. Some of its other formats are programs (Encapsulated PostScript, which it gives to
#: Ghostscript), drawings, or containers of further files.
_PILLOW_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "SUN", "TGA", "TIFF"),
    *("WEBP", "XBM"),
)

# Since OpenCV 4.11, and a fifth faster than swapping the channels afterwards.
_RGB_FLAG: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


class Stored(NamedTuple):
    """The pixels of a file, ``(h, w, c)`` of any dtype, and whether the last channel is an alpha channel."""

    pixels: Shaped[np.ndarray, "h w c"]
    has_alpha: bool


def damaged(name: str, detail: object) -> InputError:
    """Return the error for a file that is truncated or otherwise unreadable."""
    return InputError(
        f"{name} is truncated or damaged ({detail}). Restore the file from where it came from, or remove it and its counterpart."
    )


class PngHeader(NamedTuple):
    """What a PNG says about itself: ``color_type`` is 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""

    height: int
    width: int
    bit_depth: int
    color_type: int
    has_exif: bool


def png_header(data: bytes, name: str) -> PngHeader:
    """Walk the chunks of a PNG without decompressing any; InputError where they do not reach the end mark."""
    position, has_exif = 8, False
    if data[12:16] not in (b"IHDR", b""):
        raise damaged(name, "the PNG does not begin with its header")
    while (end := position + 12) <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            width, height, bit_depth, color_type = struct.unpack_from(">IIBB", data, 16)
            check_pixels(height, width, name)
            return PngHeader(height, width, bit_depth, color_type, has_exif)
        has_exif |= kind == b"eXIf"
        position = end + length
    raise damaged(name, f"the PNG ends after {len(data)} bytes, before its end mark")


def _jpeg_components(data: bytes, name: str) -> int:
    """Return the number of colour components, 1, 3 or 4; InputError where the end mark is missing."""
    position, components = 2, 0
    try:
        while True:
            if data[position] != 0xFF:
                raise damaged(name, f"byte {position} of the JPEG is not a marker")
            marker = data[position + 1]
            if marker == 0xFF:  # a fill byte
                position += 1
                continue
            (length,) = struct.unpack_from(">H", data, position + 2)
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width, components = struct.unpack_from(">HHB", data, position + 5)
                check_pixels(height, width, name)
            position += 2 + length
            if marker == 0xDA:  # the compressed data begins, where an end mark cannot occur by chance
                break
    except (IndexError, struct.error):
        raise damaged(name, f"the JPEG ends after {len(data)} bytes, within its header") from None
    if data.rfind(b"\xff\xd9", position) < 0:
        raise damaged(name, f"the JPEG ends after {len(data)} bytes, before its end mark")
    return components


def decode_with_cv2(data: bytes, flag: int, name: str) -> Shaped[np.ndarray, "h w *c"]:
    """Decode with OpenCV, grey or BGR(A) unless the flag says otherwise; InputError for what it cannot decode."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in error.err:
            raise InputError(
                f"{name} is larger than OpenCV reads ({error.err}). Set the environment variables OPENCV_IO_MAX_IMAGE_PIXELS, "
                "_WIDTH and _HEIGHT before the command, or cut the image into tiles."
            ) from None
        raise damaged(name, error.err) from None
    if pixels is None:
        raise damaged(name, "its pixels cannot be decoded")
    return pixels


def read_png(data: bytes, name: str) -> Stored:
    """Read a PNG of any kind: grey, RGB, with alpha, 16-bit; palettes become RGB, fewer than 8 bits are scaled to 0..255."""
    header = png_header(data, name)
    pixels = decode_with_cv2(data, cv2.IMREAD_UNCHANGED, name)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] >= 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if header.color_type == 4:
        pixels = pixels[..., ::3]  # OpenCV repeats the grey value three times before the alpha
    if header.has_exif:
        pixels = oriented(pixels, _open(data, name).getexif().get(ExifTags.Base.Orientation, 1))
    return Stored(pixels, pixels.shape[2] in (2, 4))


def read_jpeg(data: bytes, name: str) -> Stored:
    """Read a JPEG as grey or RGB, turned as its EXIF orientation says; CMYK becomes RGB."""
    components = _jpeg_components(data, name)
    if components == 1:
        return Stored(decode_with_cv2(data, cv2.IMREAD_GRAYSCALE, name)[..., None], False)
    if _RGB_FLAG is not None:
        return Stored(decode_with_cv2(data, _RGB_FLAG, name), False)
    return Stored(cv2.cvtColor(decode_with_cv2(data, cv2.IMREAD_COLOR, name), cv2.COLOR_BGR2RGB), False)


@functools.cache
def _pillow_formats() -> tuple[str, ...]:
    """Return those of :data:`_PILLOW_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _PILLOW_FORMATS if name in Image.OPEN)


def _open(data: bytes, name: str) -> Image.Image:
    """Read a file's header with Pillow; InputError for what it does not know."""
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit is lower, and no environment variable raises it
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels())
    try:
        return Image.open(io.BytesIO(data), formats=_pillow_formats())
    except Image.DecompressionBombError as error:  # beyond twice the limit
        raise InputError(
            f"{name} is too large ({error}). If the file is genuine, cut it into tiles or set the environment variable "
            "JAXSEG_MAX_PIXELS to its number of pixels."
        ) from None
    except Exception as error:  # Pillow's plugins raise anything on bad data
        raise InputError(
            f"{name} is not an image that jaxseg can read ({type(error).__name__}). "
            "Save it as PNG, JPEG or TIFF, or remove it and its counterpart if it is damaged."
        ) from None


def open_with_pillow(data: bytes, name: str) -> Image.Image:
    """Open and load the first frame with Pillow; InputError for what it cannot read."""
    image = _open(data, name)
    check_pixels(image.height, image.width, name)
    try:
        image.load()
    except Exception as error:
        raise damaged(name, error) from None
    return image


def read_other(data: bytes, name: str) -> Stored:
    """Read the first frame of anything that Pillow knows: grey, grey and alpha, RGB or RGBA, 8-bit, 16-bit or float."""
    image = ImageOps.exif_transpose(open_with_pillow(data, name))
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "F") and not image.mode.startswith("I"):
        image = image.convert("RGB")
    pixels = np.array(image)
    if image.mode == "I":  # Pillow's name for 16-bit PGM too
        pixels = pixels.astype(np.uint16) if pixels.min() >= 0 and pixels.max() <= 65535 else pixels
    return Stored(pixels.reshape(*pixels.shape[:2], -1), image.mode in ("LA", "RGBA"))


def read_other_indices(data: bytes, name: str) -> Shaped[np.ndarray, "h w"]:
    """Read the stored values of anything with one channel that Pillow knows: palette indices, one bit as 0 and 1.

    Raises:
        InputError: if the file is damaged or holds colours.
    """
    image = open_with_pillow(data, name)
    if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
        raise not_indices(name, f"{image.mode} values", np.array(image))
    pixels = np.array(image)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def not_indices(name: str, what: str, pixels: Shaped[np.ndarray, "h w c"] | None = None) -> InputError:
    """Return the error for a label file of several channels, with the remedy that fits its ``pixels``."""
    if pixels is not None and (pixels[..., :3] == pixels[..., :1]).all():
        remedy = "Its channels are equal, so keep one of them: PIL.Image.open(old).convert('L').save(new)."
    else:
        remedy = "Give each colour its class once, index[(rgb == colour).all(-1)] = k, and save index as an 8-bit grey PNG."
    return InputError(f"{name} holds {what}, but a label holds one class index per pixel, and colours are not indices. {remedy}")


def oriented(pixels: Shaped[np.ndarray, "h w c"], orientation: int) -> Shaped[np.ndarray, "h2 w2 c"]:
    """Turn and mirror stored pixels into the view that EXIF or TIFF ``orientation`` (1 to 8, others are ignored) asks for."""
    if 5 <= orientation <= 8:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
