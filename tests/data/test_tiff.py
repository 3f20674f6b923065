"""TIFFs of several channels, however their writer laid them out."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxseg.data import tiff
from jaxseg.data.decode import decode_image, decode_label
from jaxseg.errors import InputError


def encode(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


CHANNELS_LAST = noise(12, 10, 5)
CHANNELS_FIRST = np.ascontiguousarray(CHANNELS_LAST.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "data",
    [
        encode(CHANNELS_LAST),
        encode(CHANNELS_FIRST),
        encode(CHANNELS_LAST, photometric="minisblack", planarconfig="contig"),
        encode(CHANNELS_FIRST, photometric="minisblack", planarconfig="separate"),
        encode(CHANNELS_FIRST, imagej=True, metadata={"axes": "CYX"}),
        encode(CHANNELS_FIRST, ome=True, metadata={"axes": "CYX"}),
        encode(CHANNELS_LAST, compression="zlib"),
        encode(CHANNELS_LAST, byteorder=">"),
        encode(CHANNELS_FIRST, bigtiff=True),
        encode(CHANNELS_FIRST, photometric="minisblack", tile=(16, 16)),
    ],
    ids=["last", "first", "contig", "planar", "imagej", "ome", "zlib", "big-endian", "bigtiff", "tiled"],
)
def test_five_channels_in_every_layout(data):
    result = decode_image(data, num_channels=5)
    assert result.dtype == np.uint16
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, CHANNELS_LAST)


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (1, 12, 10)])
def test_one_channel_with_or_without_an_axis(shape):
    grey = noise(*shape)
    result = decode_image(encode(grey), num_channels=1)
    np.testing.assert_array_equal(result, grey.reshape(12, 10, 1))
    np.testing.assert_array_equal(decode_label(encode(grey)), grey.reshape(12, 10))


@pytest.mark.parametrize(
    ("stored", "returned"),
    [(np.uint8, np.uint8), (np.uint16, np.uint16), (np.int16, np.float32), (np.float16, np.float32), (np.float32, np.float32),
     (np.float64, np.float32), (np.int32, np.float32)],
)  # fmt: skip
def test_dtypes(stored, returned):
    image = np.array([[0, 1, 7], [100, 3, 2]]).astype(stored)
    result = decode_image(encode(image), num_channels=1)
    assert result.dtype == returned
    np.testing.assert_array_equal(result[..., 0], image.astype(returned))


def test_negative_values_survive():
    image = np.array([[-1000, 3071]], np.int16)
    np.testing.assert_array_equal(decode_image(encode(image), num_channels=1)[..., 0], [[-1000.0, 3071.0]])


def test_complex_values_are_refused():
    with pytest.raises(
        InputError, match=r"c\.tif holds complex64 values\. Save the image as 8-bit or 16-bit integers or as float32"
    ):
        decode_image(encode(np.zeros((4, 4), np.complex64)), num_channels=1, name="c.tif")


def test_fourth_channel_that_is_alpha_is_dropped_and_one_that_is_not_is_refused():
    image = noise(12, 10, 4, dtype=np.uint8)
    alpha = encode(image, photometric="rgb", extrasamples=["unassalpha"])
    infrared = encode(image, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(decode_image(alpha, num_channels=3), image[..., :3])
    np.testing.assert_array_equal(decode_image(infrared, num_channels=4), image)
    with pytest.raises(InputError, match="has 4 channels, but num_channels is 3"):
        decode_image(infrared, num_channels=3)


def test_white_is_zero_photographs_are_inverted():
    image = noise(12, 10, dtype=np.uint8)
    result = decode_image(encode(image, photometric="miniswhite"), num_channels=1)
    np.testing.assert_array_equal(result[..., 0], 255 - image)


def test_stack_of_volumes_is_refused():
    with pytest.raises(InputError, match=r"s\.tif has the axes .* of sizes \(6, 5, 12, 10\), not one image\. Split it"):
        decode_image(encode(noise(6, 5, 12, 10)), num_channels=5, name="s.tif")


def test_stack_of_labels_is_refused():
    with pytest.raises(InputError, match=r"s\.tif holds 6x12x10 values, but a label holds one class index per pixel"):
        decode_label(encode(noise(6, 12, 10)), name="s.tif")


def test_lzw_without_imagecodecs(monkeypatch):
    def no_codec(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    rgb, label = noise(12, 10, 3, dtype=np.uint8), noise(12, 10, dtype=np.uint8)
    buffers = io.BytesIO(), io.BytesIO()
    for array, buffer in zip((rgb, label), buffers):
        Image.fromarray(array).save(buffer, "TIFF", compression="tiff_lzw")
    several = encode(CHANNELS_FIRST)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", no_codec)
    np.testing.assert_array_equal(decode_image(buffers[0].getvalue(), num_channels=3), rgb)
    np.testing.assert_array_equal(decode_label(buffers[1].getvalue()), label)
    with pytest.raises(
        InputError, match=r"m\.tif cannot be decompressed: .*LZW.* Run `pip install imagecodecs`, or save the file without"
    ):
        decode_image(several, num_channels=5, name="m.tif")


def test_ambiguous_axes_prefer_pages():
    stack = noise(5, 12, 5)
    np.testing.assert_array_equal(tiff.read_tiff(encode(stack), "t", 5).pixels, stack.transpose(1, 2, 0))
