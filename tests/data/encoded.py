"""Arrays as the bytes of image files."""

import io

import numpy as np
import tifffile
from PIL import Image


def encode(array, kind="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def encode_tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def noise(*shape, dtype=np.uint8):
    high = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, high, shape, dtype=dtype, endpoint=True)
