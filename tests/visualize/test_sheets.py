import numpy as np
import pytest

from jaxseg import visualize
from jaxseg.data.augment import GaussianNoise, RandomCrop, RandomFlip, RandomScale
from jaxseg.errors import InputError
from jaxseg.types import VOID
from jaxseg.visualize.pictures import CORRECT_COLOR, WRONG_COLOR

PALETTE = ((200, 10, 20), (30, 220, 40), (50, 60, 240))
NAMES = ("road", "tree", "car")
LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, VOID, VOID], [2, 2, VOID, VOID]], np.uint8)


def has_color(picture, color):
    return (picture == np.array(color)).all(axis=-1).any()


def test_legend_shows_every_colour_and_grows():
    one = visualize.legend(NAMES[:1], PALETTE[:1])
    three = visualize.legend(NAMES, PALETTE)
    assert three.shape[0] > one.shape[0]
    assert all(has_color(three, color) for color in PALETTE)
    assert visualize.legend((*NAMES, "a much longer name"), (*PALETTE, (9, 9, 9))).shape[1] > three.shape[1]
    assert (three.min(axis=2) < 80).sum() > 150


def test_legend_of_many_classes_breaks_into_columns():
    names = tuple(f"class {i}" for i in range(150))
    palette = tuple((i, 255 - i, 77) for i in range(150))
    for picture in (visualize.legend(names, palette, height=400), visualize.legend(names, palette, width=900)):
        assert all(has_color(picture, color) for color in palette)
    assert visualize.legend(names, palette, height=400).shape[0] <= 400
    assert visualize.legend(names, palette, width=900).shape[1] <= 900
    assert visualize.legend(names, palette, height=1).shape[0] == visualize.legend(NAMES[:1], PALETTE[:1]).shape[0]
    assert visualize.legend((), ()).size > 0


def test_legend_writes_shares():
    plain = visualize.legend(NAMES, PALETTE)
    shares = visualize.legend(NAMES, PALETTE, shares=(0.5, 0.25, float("nan")))
    other = visualize.legend(NAMES, PALETTE, shares=(0.5, 0.26, float("nan")))
    assert shares.shape[1] > plain.shape[1]
    assert not np.array_equal(shares, other)


def test_legend_errors():
    with pytest.raises(InputError, match="2 class names, 3 colours: give one of each per class"):
        visualize.legend(NAMES[:2], PALETTE)
    with pytest.raises(InputError, match="3 class names, 3 colours and 1 shares"):
        visualize.legend(NAMES, PALETTE, shares=(1.0,))
    with pytest.raises(InputError, match="height=10, width=10: give only one"):
        visualize.legend(NAMES, PALETTE, height=10, width=10)


def test_with_legend_enlarges_and_finds_the_side():
    small = visualize.colorize(LABELS, PALETTE)
    picture = visualize.with_legend(small, NAMES, PALETTE)
    assert np.array_equal(picture[:256, :256], small.repeat(64, axis=0).repeat(64, axis=1))
    assert picture.shape[0] == 256
    assert picture.shape[1] > 256
    wide = np.zeros((100, 400, 3), np.uint8)
    below = visualize.with_legend(wide, NAMES, PALETTE, shares=(0.2, 0.3, 0.5))
    assert below.shape[1] == 400
    assert np.array_equal(below[:100], wide)
    assert all(has_color(below[100:], color) for color in PALETTE)


def test_sheet_is_a_grid():
    red, green = (np.full((10, 20, 3), color, np.uint8) for color in ((255, 0, 0), (0, 255, 0)))
    page = visualize.sheet([[red, green], [green]], scale=2)
    assert page.shape == (3 * 8 + 2 * 20, 3 * 8 + 2 * 40, 3)
    assert (page == [255, 0, 0]).all(axis=2).sum() == 800
    assert (page == [0, 255, 0]).all(axis=2).sum() == 1600
    assert page[8, 8].tolist() == [255, 0, 0]
    assert page[36, 60].tolist() == [255, 255, 255]
    titled = visualize.sheet([[red, green]], titles=("red", "a title that is far too long for its column"))
    assert titled.shape[1] == 3 * 8 + 2 * 260
    assert titled.shape[0] > 2 * 8 + 130


def test_sheet_errors():
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="at least one picture"):
        visualize.sheet([[]])
    with pytest.raises(InputError, match="1 titles for 2 columns"):
        visualize.sheet([[picture, picture]], titles=("one",))
    with pytest.raises(InputError, match="scale=0 must be a whole number above 0"):
        visualize.sheet([[picture]], scale=0)


def test_prediction_sheet_shows_what_appears():
    image = np.full((4, 4, 1), 90, np.uint8)
    page = visualize.prediction_sheet([image, image], [LABELS, LABELS], [np.zeros_like(LABELS)] * 2, PALETTE, NAMES)
    assert all(has_color(page, color) for color in (*PALETTE, WRONG_COLOR, CORRECT_COLOR, (90, 90, 90)))
    fewer = visualize.prediction_sheet([image], [np.zeros_like(LABELS)], [np.zeros_like(LABELS)], PALETTE, NAMES)
    assert not has_color(fewer, PALETTE[1])
    assert fewer.shape[0] < page.shape[0]
    with pytest.raises(InputError, match="1 images, 2 labels, 1 predictions: give one of each"):
        visualize.prediction_sheet([image], [LABELS, LABELS], [LABELS], PALETTE, NAMES)


def test_prediction_sheet_draws_large_pictures_smaller():
    image, labels = np.zeros((100, 3000, 3), np.uint8), np.zeros((100, 3000), np.uint8)
    assert visualize.prediction_sheet([image], [labels], [labels], PALETTE, NAMES).shape[1] == 4 * 1024 + 5 * 8


def test_augmentation_sheet():
    image = np.full((32, 48, 3), 90, np.uint8)
    example = {"image": image, "label": np.zeros((32, 48), np.uint8), "name": "flat"}
    transforms = (RandomScale(), RandomCrop((64, 64)), RandomFlip())
    page = visualize.augmentation_sheet(example, transforms, 0, PALETTE, draws=3)
    assert np.array_equal(page, visualize.augmentation_sheet(example, transforms, 0, PALETTE, draws=3))
    assert not np.array_equal(page, visualize.augmentation_sheet(example, transforms, 1, PALETTE, draws=3))
    assert has_color(page, (255, 255, 255))
    lower = visualize.augmentation_sheet(example, transforms[:1], 0, PALETTE, draws=3)
    assert lower.shape[0] < page.shape[0]
    # A transform's own line does not depend on those before it.
    alone = visualize.augmentation_sheet(example, (GaussianNoise(probability=1.0),), 0, PALETTE, draws=2)
    assert alone.shape == (2 * (192 + 24) + 3 * 8, 2 * 288 + 3 * 8, 3)
    assert visualize.augmentation_sheet(example, (), 0, PALETTE).ndim == 3
