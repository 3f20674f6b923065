import numpy as np
import pytest
from scipy import ndimage

from jaxseg.data.augment import BorderWeights, MirrorMargin, RandomCrop
from jaxseg.errors import InputError
from jaxseg.types import VOID

RNG = np.random.default_rng(0)


def weights(label, **fields):
    label = np.asarray(label, np.uint8)
    example = {"image": np.zeros((*label.shape, 1), np.uint8), "label": label, "name": "drawn"}
    result = BorderWeights(**fields)(example, RNG)
    assert "pixel_weights" not in example
    assert result["label"] is label
    assert result["pixel_weights"].dtype == np.float32
    return result["pixel_weights"]


def blobs(seed, size=(70, 90), classes=2):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 3)
    label = np.digitize(noise, np.quantile(noise, np.linspace(0.4, 1, classes)[:-1])).astype(np.uint8)
    label[5:12, 5:20] = VOID
    return label


def by_definition(label, w0, sigma, foreground, balance):
    """Distances to every component over the whole image, sorted; the two smallest taken."""
    inside = np.isin(label, foreground)
    components, count = ndimage.label(inside)
    distances = np.stack([ndimage.distance_transform_edt(components != i) for i in range(1, count + 1)])
    two = np.sort(distances, axis=0)[:2].sum(axis=0)
    result = np.ones(label.shape)
    valid = label != VOID
    if balance:
        present = np.unique(label[valid])
        for index in present:
            result[label == index] = valid.sum() / (len(present) * (label == index).sum())
    result += np.where(inside, 0, w0 * np.exp(-(two**2) / (2 * sigma**2)))
    return np.where(valid, result, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fields", [{}, {"sigma": 2.0, "balance": False}, {"w0": 3.0, "sigma": 12.0, "foreground": (0,)}])
def test_weights_are_the_papers_formula(seed, fields):
    label = blobs(seed)
    settings = {"w0": 10.0, "sigma": 5.0, "foreground": (1,), "balance": True, **fields}
    assert ndimage.label(np.isin(label, settings["foreground"]))[1] >= 3
    np.testing.assert_allclose(weights(label, **fields), by_definition(label, **settings), atol=1e-5)


def test_weights_of_several_foreground_classes():
    label = blobs(7, classes=4)
    expected = by_definition(label, 10.0, 5.0, (1, 3), True)
    np.testing.assert_allclose(weights(label, foreground=(1, 3)), expected, atol=1e-5)


def test_a_gap_between_two_cells():
    """Across a gap of three pixels d1 + d2 is 4 everywhere, in the line of the cells."""
    label = np.zeros((1, 20), np.uint8)
    label[0, :8] = label[0, 11:] = 1
    found = weights(label, balance=False)[0]
    np.testing.assert_allclose(found[8:11], 1 + 10 * np.exp(-16 / 50), rtol=1e-6)
    np.testing.assert_array_equal(found[:8], 1)


def test_cells_that_touch_at_a_corner_are_two():
    label = np.zeros((8, 8), np.uint8)
    label[:4, :4] = label[4:, 4:] = 1
    np.testing.assert_allclose(weights(label, balance=False)[3, 4], 1 + 10 * np.exp(-4 / 50), rtol=1e-6)


@pytest.mark.parametrize("label", [np.zeros((9, 9)), np.ones((9, 9)), np.pad(np.ones((3, 3)), 3)])
def test_fewer_than_two_cells_have_no_border(label):
    np.testing.assert_array_equal(weights(label, balance=False), 1)


def test_balanced_classes_weigh_the_same_and_void_nothing():
    label = blobs(3, classes=3)
    found = weights(label, w0=0.0)
    sums = [found[label == index].sum() for index in range(3)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-4)
    np.testing.assert_allclose(found[label != VOID].mean(), 1, rtol=1e-5)
    assert not found[label == VOID].any()
    assert not weights(np.full((4, 4), VOID)).any()


def test_weights_move_with_the_crop():
    label = blobs(1)
    example = {"image": np.zeros((*label.shape, 1), np.uint8), "label": label, "name": "drawn"}
    whole = BorderWeights()(example, RNG)
    part = RandomCrop((90, 30))(whole, np.random.default_rng(5))
    assert part["pixel_weights"].shape == (90, 30)
    assert not part["pixel_weights"][part["label"] == VOID].any()
    assert set(np.unique(part["pixel_weights"])) <= {0.0, *np.unique(whole["pixel_weights"])}


@pytest.mark.parametrize("margin", [3, 8, 30])
def test_mirror_margin_mirrors_the_image_and_voids_the_label(margin):
    rng = np.random.default_rng(0)
    example = {
        "image": rng.integers(0, 9, (6, 9, 5)).astype(np.uint16),
        "label": rng.integers(0, 3, (6, 9)).astype(np.uint8),
        "name": "drawn",
        "pixel_weights": np.ones((6, 9), np.float32),
    }
    result = MirrorMargin(margin)(example, rng)
    assert result["image"].dtype == np.uint16
    for y in range(-margin, 6 + margin):
        row = abs((y + 5) % 10 - 5) if y >= 0 else abs((-y + 5) % 10 - 5)
        np.testing.assert_array_equal(result["image"][y + margin, margin : margin + 9], example["image"][row])
    inner = np.s_[margin:-margin, margin:-margin]
    np.testing.assert_array_equal(result["label"][inner], example["label"])
    assert (result["label"] == VOID).sum() == result["label"].size - 54
    assert result["pixel_weights"].sum() == 54


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BorderWeights(w0=-1.0), "w0=-1.0 must be 0 or more"),
        (lambda: BorderWeights(sigma=0.0), "sigma=0.0 must be above 0"),
        (lambda: BorderWeights(foreground=()), r"foreground=\(\) must name at least one class"),
        (lambda: BorderWeights(foreground=(255,)), r"foreground=\(255,\) must name at least one class index, from 0 to 254"),
        (lambda: MirrorMargin(-1), "margin=-1 must be 0 or more"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()
