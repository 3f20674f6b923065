import numpy as np
import pytest
from PIL import Image

from jaxseg import visualize
from jaxseg.errors import InputError
from jaxseg.types import VOID
from jaxseg.visualize.pictures import CORRECT_COLOR, WRONG_COLOR

PALETTE = ((200, 10, 20), (30, 220, 40), (50, 60, 240))
LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, VOID, VOID], [2, 2, VOID, VOID]], np.uint8)


def test_to_rgb_keeps_colour_pictures_and_copies():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    picture = visualize.to_rgb(image)
    assert np.array_equal(picture, image)
    assert not np.shares_memory(picture, image)


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (4, [0, 1, 2]), (9, [0, 1, 2])])
def test_to_rgb_of_any_channels(channels, shown):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, channels), np.uint8)
    assert np.array_equal(visualize.to_rgb(image), image[..., shown])


def test_to_rgb_of_any_dtype():
    twelve_bits = np.linspace(300, 4095, 10000).astype(np.uint16).reshape(100, 100, 1)
    twelve_bits[0, 0] = 65535
    picture = visualize.to_rgb(twelve_bits)
    assert picture.dtype == np.uint8
    assert picture[0, 1, 0] == 0
    assert picture[-1, -1, 0] == 255
    assert abs(int(picture[50, 0, 0]) - 128) <= 2
    unit = np.array([[[0.0], [0.5], [0.25]]], np.float32)
    assert visualize.to_rgb(unit)[0, :, 0].tolist() == [0, 128, 64]
    normalised = np.array([[[-2.0], [0.0], [2.0]]], np.float32)
    assert visualize.to_rgb(normalised)[0, :, 0].tolist() == [0, 128, 255]
    assert visualize.to_rgb(np.array([[[True], [False]]]))[0, :, 0].tolist() == [255, 0]


def test_to_rgb_survives_what_is_not_a_number():
    broken = np.array([[[np.nan], [np.inf], [1.0], [0.0]]], np.float32)
    assert visualize.to_rgb(broken)[0, :, 0].tolist() == [0, 0, 255, 0]
    assert not visualize.to_rgb(np.full((2, 2, 1), np.nan, np.float32)).any()
    assert not visualize.to_rgb(np.full((2, 2, 1), 7, np.uint16)).any()


def test_colorize_gives_every_class_its_colour():
    picture = visualize.colorize(LABELS.astype(np.int32), PALETTE, void_color=(1, 2, 3))
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == list(PALETTE[0])
    assert picture[0, 3].tolist() == list(PALETTE[1])
    assert picture[3, 0].tolist() == list(PALETTE[2])
    assert picture[3, 3].tolist() == [1, 2, 3]
    assert visualize.colorize(LABELS, PALETTE)[3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("wrong", [3, 254, 256, -1])
def test_labels_without_colour(wrong):
    labels = LABELS.astype(np.int64)
    labels[1, 2] = wrong
    with pytest.raises(InputError, match=rf"Label {wrong} at row 1, column 2 has no colour: the palette has 3, .* or map the"):
        visualize.colorize(labels, PALETTE)


def test_palettes_leave_room_for_void():
    with pytest.raises(InputError, match="The palette has 256 colours"):
        visualize.colorize(LABELS, ((0, 0, 0),) * 256)


def test_overlay_mixes_by_alpha_and_keeps_void():
    image = np.full((4, 4, 3), 100, np.uint8)
    picture = visualize.overlay(image, LABELS, PALETTE, alpha=0.25, contours=False)
    assert picture[0, 0].tolist() == [125, 78, 80]
    assert picture[0, 2].tolist() == [82, 130, 85]
    assert picture[3, 3].tolist() == [100, 100, 100]
    assert np.array_equal(visualize.overlay(image, LABELS, PALETTE, alpha=0.0, contours=False)[:2], image[:2])
    assert np.array_equal(visualize.overlay(image, LABELS, PALETTE, alpha=1.0)[:2], visualize.colorize(LABELS, PALETTE)[:2])


def test_overlay_hatches_void():
    labels = np.full((16, 16), VOID, np.uint8)
    picture = visualize.overlay(np.full((16, 16, 1), 40, np.uint8), labels, PALETTE)
    hatched = (picture == 255).all(axis=2)
    assert (picture[~hatched] == 40).all()
    assert hatched.sum(axis=1).tolist() == [2] * 16


def test_overlay_contours():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 1
    picture = visualize.overlay(np.zeros((9, 9, 3), np.uint8), labels, PALETTE, alpha=0.0)
    painted = picture.any(axis=2)
    assert not painted[3:6, 3:6].any()
    assert painted[2, 2:7].all()
    assert painted[1, 2:7].all()
    assert picture[2, 4].tolist() == list(PALETTE[1])
    assert picture[1, 4].tolist() == list(PALETTE[0])
    assert not painted[0].any()


def test_overlay_errors():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"alpha=1.5 must be from 0 .* to 1"):
        visualize.overlay(image, LABELS, PALETTE, alpha=1.5)
    with pytest.raises(InputError, match="The image is 4x4, its labels are 3x4: resize one of them"):
        visualize.overlay(image, LABELS[:3], PALETTE)


def test_error_map():
    prediction = LABELS.copy()
    prediction[0, 0] = 2
    prediction[3, 3] = 1
    picture = visualize.error_map(prediction.astype(np.int32), LABELS)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == list(WRONG_COLOR)
    assert picture[0, 1].tolist() == list(CORRECT_COLOR)
    assert picture[3, 3].tolist() == [0, 0, 0]
    assert (picture == CORRECT_COLOR).all(axis=2).sum() == 11
    with pytest.raises(InputError, match="The prediction is 3x4, its labels are 4x4"):
        visualize.error_map(prediction[:3], LABELS)


def test_masks_come_back_as_indices(tmp_path):
    path = tmp_path / "new" / "mask.png"
    visualize.save_mask(path, LABELS.astype(np.int64), PALETTE, void_color=(7, 8, 9))
    with Image.open(path) as saved:
        assert saved.mode == "P"
        assert np.array_equal(np.array(saved), LABELS)
        assert np.array_equal(np.array(saved.convert("RGB")), visualize.colorize(LABELS, PALETTE, (7, 8, 9)))
    visualize.save_mask(path, np.zeros((2, 2), np.uint8), PALETTE)
    assert not np.array(Image.open(path)).any()
    assert [p.name for p in path.parent.iterdir()] == ["mask.png"]


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    visualize.save_mask(path, LABELS, PALETTE)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk is full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        visualize.save_mask(path, np.zeros((2, 2), np.uint8), PALETTE)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


def test_file_names_give_the_format(tmp_path):
    picture = np.full((8, 8, 3), 100, np.uint8)
    for name, kind in (("a.PNG", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP")):
        visualize.save_picture(tmp_path / name, picture)
        with Image.open(tmp_path / name) as saved:
            assert saved.format == kind
            assert np.abs(np.array(saved).astype(int) - 100).max() <= 2
    with pytest.raises(InputError, match=r"Cannot save a picture as 'a.gif': the name must end in .png, .jpg"):
        visualize.save_picture(tmp_path / "a.gif", picture)
    with pytest.raises(InputError, match=r"Cannot save a mask as 'a.jpg': the name must end in .png, the format that keeps"):
        visualize.save_mask(tmp_path / "a.jpg", LABELS, PALETTE)
