"""Labels of every kind to indices, and errors that say what to do."""

import io

import numpy as np
import pytest
from encoded import encode, encode_tiff, noise
from PIL import Image

from jaxseg.data.decode import decode_label, index_label
from jaxseg.errors import InputError
from jaxseg.types import VOID


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_label_is_indices(bits):
    indices = np.random.default_rng(0).integers(0, 2**bits, (5, 9), dtype=np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette(noise(256, 3).ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=bits)
    np.testing.assert_array_equal(decode_label(buffer.getvalue()), indices)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_palette_label_of_other_formats(kind):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    buffer = io.BytesIO()
    image.save(buffer, kind)
    np.testing.assert_array_equal(decode_label(buffer.getvalue()), indices)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_label_is_zero_and_one(kind):
    bits = np.array([[True, False, True], [False, False, True]])
    label = decode_label(encode(bits, kind))
    np.testing.assert_array_equal(label, bits.astype(np.uint8))
    assert label.dtype == np.uint8


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_of_grey_are_not_stretched(bits):
    import struct
    import zlib

    values = np.arange(2**bits, dtype=np.uint8)
    packed = np.packbits(np.unpackbits(values[:, None], axis=1)[:, 8 - bits :]).tobytes()

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_label(data)[0], values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_label_is_taken_as_it_is(kind, dtype):
    label = noise(5, 7, dtype=dtype)
    result = decode_label(encode(label, kind))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, label)


def test_colour_label_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"a\.png holds RGB values, but .* colours are not indices\. Give each colour its class"):
        decode_label(encode(noise(4, 4, 3)), name="a.png")
    with pytest.raises(InputError, match=r"a\.bmp holds RGB values.* colours are not indices"):
        decode_label(encode(noise(4, 4, 3), "BMP"), name="a.bmp")
    with pytest.raises(InputError, match=r"a\.tif holds 4x4x3 values.* colours are not indices"):
        decode_label(encode(noise(4, 4, 3), "TIFF"), name="a.tif")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_grey_label_saved_with_several_channels_is_refused_with_its_own_remedy(channels):
    label = np.full((4, 4, channels), 1, np.uint8)
    with pytest.raises(InputError, match=r"Its channels are equal, so keep one of them: .*convert\('L'\)"):
        decode_label(encode(label), name="a.png")


def test_jpeg_and_float_labels_are_refused():
    with pytest.raises(InputError, match=r"a\.jpg is a JPEG, which blurs class indices.* Export the label as PNG"):
        decode_label(encode(noise(8, 8), "JPEG"), name="a.jpg")
    with pytest.raises(InputError, match=r"a\.tif holds float32 values, but class indices are integers"):
        decode_label(encode_tiff(np.zeros((4, 4), np.float32)), name="a.tif")


def index(values, *, dtype=np.uint8, num_classes=3, void_index=255, label_map=()):
    label = np.array([values], dtype)
    return index_label(label, num_classes=num_classes, void_index=void_index, label_map=label_map, name="m.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_void_index_becomes_void(dtype):
    result = index([0, 1, 2, 11], dtype=dtype, void_index=11)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[0], [0, 1, 2, VOID])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_map_goes_before_void_index(dtype):
    np.testing.assert_array_equal(index([0, 255], dtype=dtype, num_classes=2, label_map=((0, 0), (255, 1)))[0], [0, 1])


def test_label_map_may_lead_to_void_and_leaves_void_index():
    result = index([0, 1, 2, 150, 7], num_classes=150, void_index=0, label_map=(*((k, k - 1) for k in range(1, 8)), (150, VOID)))
    np.testing.assert_array_equal(result[0], [VOID, 0, 1, VOID, 6])


def test_all_255_classes_fit():
    values = np.arange(256)
    np.testing.assert_array_equal(index(values, num_classes=255)[0], values)


def test_large_stored_values_are_mapped():
    np.testing.assert_array_equal(
        index([7000, 65535, 0], dtype=np.uint16, void_index=65535, label_map=((7000, 2), (0, 0)))[0], [2, VOID, 0]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unknown_values_are_named_and_counted(dtype):
    with pytest.raises(
        InputError,
        match=r"m\.png holds the values 3, 7 in 3 pixels, but classes are 0 to 2 and void_index is 255\. Correct num_classes=3",
    ):
        index([0, 3, 7, 7, 255], dtype=dtype)


def test_negative_and_huge_values_are_named():
    with pytest.raises(InputError, match=r"m\.png holds the values -1, 65536, 70000 in 3 pixels"):
        index([0, -1, 65536, 70000], dtype=np.int32)


def test_many_unknown_values_are_cut_short():
    with pytest.raises(InputError, match=r"the values 3, 4, 5, 6, 7, 8, 9, 10 and 92 more in 100 pixels"):
        index(np.arange(3, 103))


def test_unmapped_value_asks_for_a_pair():
    with pytest.raises(InputError, match=r"the values 1 in 1 pixels, but label_map knows 0, 255 .*Add a pair \(value, class\)"):
        index([0, 1, 255], num_classes=2, label_map=((0, 0), (255, 1)))


def test_mask_of_0_and_255_gets_its_own_remedy():
    with pytest.raises(
        InputError, match=r"there is no void_index\. For a mask of 0 and 255 set label_map=\(\(0, 0\), \(255, 1\)\)"
    ):
        index([0, 255, 255], num_classes=2, void_index=None)
