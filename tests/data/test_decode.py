"""Images of every kind to channels, and errors that say what to do; labels are in test_decode_labels."""

import io

import cv2
import numpy as np
import pytest
from encoded import encode, encode_tiff, noise
from PIL import Image

from jaxseg.data.decode import decode_image, decode_label
from jaxseg.errors import InputError


def smooth(height=24, width=32):
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * x, 8 * y, 3 * (x + y)], axis=-1).astype(np.uint8)


def with_orientation(array, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(array, kind, exif=exif)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PPM", {})])
def test_lossless_colour_comes_back_as_rgb(kind, options):
    image = noise(5, 7, 3)
    result = decode_image(encode(image, kind, **options), num_channels=3)
    np.testing.assert_array_equal(result, image)
    assert result.dtype == np.uint8
    assert result.flags.writeable
    assert result.flags.c_contiguous


def test_jpeg_is_rgb_in_the_right_order():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    result = decode_image(encode(red, "JPEG", quality=95), num_channels=3)
    np.testing.assert_allclose(result[8, 8].astype(int), [250, 0, 0], atol=4)


def test_reads_a_path(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(noise(4, 4, 3)))  # a PNG, whatever its suffix says
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg", num_channels=3), noise(4, 4, 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_values(kind):
    grey = noise(5, 7, dtype=np.uint16)
    result = decode_image(encode(grey, kind), num_channels=1)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[..., 0], grey)


def test_sixteen_bit_pgm_keeps_its_values():
    grey = noise(5, 7, dtype=np.uint16)
    data = b"P5 7 5 65535\n" + grey.astype(">u2").tobytes()
    result = decode_image(data, num_channels=1)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[..., 0], grey)


def test_sixteen_bit_rgb_png():
    image = noise(5, 7, 3, dtype=np.uint16)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data, num_channels=3), image)


def test_grey_is_repeated_for_three_channels():
    grey = noise(5, 7)
    result = decode_image(encode(grey), num_channels=3)
    np.testing.assert_array_equal(result, np.stack([grey] * 3, axis=-1))


def test_grey_jpeg_has_one_channel():
    result = decode_image(encode(np.full((8, 8), 90, np.uint8), "JPEG"), num_channels=1)
    assert result.shape == (8, 8, 1)
    np.testing.assert_allclose(result.astype(int), 90, atol=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_becomes_luminance_for_one_channel(dtype):
    image = noise(6, 6, 3, dtype=dtype)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    expected = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode_image(data, num_channels=1)[..., 0], expected, atol=2.0)


def test_alpha_is_dropped_unless_it_is_counted():
    rgba = noise(5, 7, 4)
    data = encode(rgba)
    np.testing.assert_array_equal(decode_image(data, num_channels=3), rgba[..., :3])
    np.testing.assert_array_equal(decode_image(data, num_channels=4), rgba)


def test_grey_with_alpha():
    grey_alpha = noise(5, 7, 2)
    data = encode(grey_alpha)
    np.testing.assert_array_equal(decode_image(data, num_channels=1)[..., 0], grey_alpha[..., 0])
    np.testing.assert_array_equal(decode_image(data, num_channels=3), np.repeat(grey_alpha[..., :1], 3, axis=2))
    np.testing.assert_array_equal(decode_image(data, num_channels=2), grey_alpha)


def test_grey_with_a_transparent_value_is_grey():
    grey = noise(5, 7)
    np.testing.assert_array_equal(decode_image(encode(grey, transparency=3), num_channels=1)[..., 0], grey)
    np.testing.assert_array_equal(decode_label(encode(grey, transparency=3)), grey)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette_image_is_its_colours(kind):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    buffer = io.BytesIO()
    image.save(buffer, kind)
    colours = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 100]], np.uint8)
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), num_channels=3), colours[indices])


def test_one_bit_image_is_black_and_white():
    bits = np.array([[True, False], [False, True]])
    for data in (encode(bits), encode(bits, "TIFF"), encode(bits, "BMP"), encode_tiff(bits, photometric="miniswhite")):
        image = decode_image(data, num_channels=1)[..., 0]
        assert image.dtype == np.uint8
        assert sorted(np.unique(image)) == [0, 255]
    np.testing.assert_array_equal(decode_image(encode(bits), num_channels=1)[..., 0], bits * np.uint8(255))


def test_cmyk_jpeg_becomes_rgb():
    data = encode(np.full((16, 16, 3), (200, 30, 60), np.uint8), "JPEG", mode="CMYK", quality=95)
    np.testing.assert_allclose(decode_image(data, num_channels=3)[8, 8].astype(int), (200, 30, 60), atol=6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(kind, orientation):
    image = smooth()
    turned = {
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: np.rot90(image, 2).swapaxes(0, 1),
        8: np.rot90(image),
    }.get(orientation, image)
    result = decode_image(with_orientation(image, kind, orientation), num_channels=3)
    assert result.shape == turned.shape
    np.testing.assert_allclose(result.astype(int), turned.astype(int), atol=0 if kind in ("PNG", "TIFF") else 24)


def test_wrong_number_of_channels_names_both():
    with pytest.raises(InputError, match=r"five\.tif has 5 channels, but num_channels is 3\. Set num_channels=5"):
        decode_image(
            encode_tiff(noise(5, 8, 9), photometric="minisblack", planarconfig="separate"), num_channels=3, name="five.tif"
        )


def test_float_image_with_nan_is_refused():
    image = np.zeros((4, 4), np.float32)
    image[1, 2] = np.nan
    with pytest.raises(InputError, match=r"a\.tif holds 1 NaN or infinite values\. Replace them"):
        decode_image(encode_tiff(image), num_channels=1, name="a.tif")


CUTS = [0.03, 0.4, 0.9, 0.99]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_truncated_image_is_refused(kind, cut):
    data = encode(noise(40, 50, 3), kind)
    with pytest.raises(InputError, match=r"^bad is ") as caught:
        decode_image(data[: int(len(data) * cut)], num_channels=3, name="bad")
    assert "remove it" in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_jpeg_whose_end_is_zeros_is_refused(cut, progressive):
    data = encode(noise(40, 50, 3), "JPEG", progressive=progressive)
    kept = int(len(data) * cut)
    with pytest.raises(InputError, match="bad is truncated or damaged"):
        decode_image(data[:kept] + bytes(len(data) - kept), num_channels=3, name="bad")


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("data", [encode(noise(40, 50)), encode_tiff(noise(40, 50)), encode(noise(40, 50), mode="P")])
def test_truncated_label_is_refused(data, cut):
    with pytest.raises(InputError, match=r"bad is truncated or damaged.*Restore the file from where it came from, or remove it"):
        decode_label(data[: int(len(data) * cut)], name="bad")


def test_png_with_a_flipped_byte_is_refused():
    data = bytearray(encode(noise(40, 50, 3)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InputError, match="bad is truncated or damaged"):
        decode_image(bytes(data), num_channels=3, name="bad")


def test_empty_missing_and_foreign_files(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"empty\.png is truncated or damaged \(the file is empty\)"):
        decode_image(tmp_path / "empty.png", num_channels=3)
    with pytest.raises(InputError, match=r"text\.png is not an image that jaxseg can read"):
        decode_image(tmp_path / "text.png", num_channels=3)
    with pytest.raises(InputError, match=r"gone\.png cannot be read: No such file"):
        decode_label(tmp_path / "gone.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_image_beyond_the_limit_is_refused_before_it_is_decoded(kind, monkeypatch):
    data = encode(noise(10, 20, 3), kind)
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "199")
    with pytest.raises(
        InputError, match=r"big has 20x10 \(width x height\) = 200 pixels, more than the limit of 199.*MAX_PIXELS=200"
    ):
        decode_image(data, num_channels=3, name="big")
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "200")
    assert decode_image(data, num_channels=3, name="big").shape == (10, 20, 3)


def test_decompression_bomb_is_refused_by_its_header():
    data = bytearray(encode(noise(4, 4)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    for decode in (
        lambda: decode_label(bytes(data), name="bomb"),
        lambda: decode_image(bytes(data), num_channels=1, name="bomb"),
    ):
        with pytest.raises(InputError, match=r"bomb has 60000x60000 .* more than the limit of 268,435,456"):
            decode()


def test_the_limit_takes_the_place_of_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(encode(noise(10, 20, 3), "BMP"), num_channels=3).shape == (10, 20, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(with_orientation(noise(10, 20, 3), "PNG", 6), num_channels=3).shape == (20, 10, 3)


def test_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "1e9")
    with pytest.raises(InputError, match="JAXSEG_MAX_PIXELS is '1e9'; it must be a whole number"):
        decode_image(encode(noise(4, 4)), num_channels=1)
