import numpy as np
import pytest

from jaxseg.data.augment import RandomCrop, RandomFlip, RandomRotate90, RandomScale, Resize, resize_image
from jaxseg.errors import InputError
from jaxseg.types import VOID


def numbered(height=30, width=40):
    """Every pixel has its own value, so that one says where it came from."""
    image = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
    return {"image": image, "label": (image[..., 0] % 7).astype(np.uint8), "name": "numbered"}


def seeded(seed):
    return np.random.default_rng(seed)


def test_resize_takes_pixel_centres():
    label = np.arange(8, dtype=np.uint8)[None].repeat(8, axis=0)
    example = {"image": 10 * label[..., None], "label": label, "name": "ramp"}
    halved = Resize((8, 4))(example, seeded(0))
    assert halved["image"][0, :, 0].tolist() == [5, 25, 45, 65]
    assert halved["label"][0].tolist() == [1, 3, 5, 7]
    fewer = Resize((8, 3))(example, seeded(0))
    assert fewer["label"][0].tolist() == [1, 4, 6]
    doubled = Resize((8, 16))(example, seeded(0))
    assert doubled["image"][0, :, 0].tolist() == [0, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 63, 68, 70]
    assert doubled["label"][0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]


def test_resize_averages_where_it_shrinks_even_if_the_other_axis_grows():
    image = np.random.default_rng(0).random((12, 9, 5), dtype=np.float32)
    thirds = image.reshape(4, 3, 9, 5).mean(axis=1)
    np.testing.assert_allclose(resize_image(image, (4, 9)), thirds, atol=1e-6)
    both = resize_image(image, (4, 18))
    np.testing.assert_allclose(both[:, 1:-1:2], 0.75 * thirds[:, :-1] + 0.25 * thirds[:, 1:], atol=1e-3)


@pytest.mark.parametrize("size", [(0, 4), (3,), (4, -1), (4.0, 4.0), [4, 4], 4])
def test_bad_sizes(size):
    with pytest.raises((InputError, TypeError), match=r"must be a tuple \(height, width\) of two whole numbers|type"):
        Resize(size)
    with pytest.raises((InputError, TypeError)):
        RandomCrop(size)


def test_size_error_names_value_rule_and_remedy():
    with pytest.raises(InputError, match=r"size=\(0, 4\) must be a tuple .* above 0, for example \(512, 512\)"):
        Resize((0, 4))


def test_scale_is_uniform_between_its_limits():
    heights = [RandomScale(0.5, 2.0)(numbered(), seeded(seed))["label"].shape[0] for seed in range(300)]
    assert min(heights) >= 15
    assert max(heights) <= 60
    assert abs(np.mean(heights) - 30 * 1.25) < 2.5
    assert len(set(heights)) > 35


def test_scale_in_steps():
    shapes = {RandomScale(0.5, 2.0, 0.25)(numbered(), seeded(seed))["label"].shape for seed in range(200)}
    assert shapes == {(round(30 * factor), round(40 * factor)) for factor in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)}


def test_scale_never_vanishes():
    assert RandomScale(0.01, 0.01)(numbered(3, 300), seeded(0))["image"].shape == (1, 3, 1)


@pytest.mark.parametrize(("limits", "message"), [((0.0, 1.0, None), "0 < minimum"), ((2.0, 1.0, None), "minimum <= maximum")])
def test_bad_scales(limits, message):
    with pytest.raises(InputError, match=message):
        RandomScale(*limits)


@pytest.mark.parametrize("step", [0.0, -0.25, 0.4, float("nan"), 4.0])
def test_bad_steps(step):
    with pytest.raises(InputError, match=r"step=.* does not lead from minimum=0.5 to maximum=2.0 .* give a divisor"):
        RandomScale(0.5, 2.0, step)


def test_crop_is_a_window_of_the_image_bit_by_bit():
    example, corners = numbered(), set()
    for seed in range(400):
        result = RandomCrop((28, 37))(example, seeded(seed))
        row, column = divmod(int(result["image"][0, 0, 0]), 40)
        assert np.array_equal(result["image"], example["image"][row : row + 28, column : column + 37])
        assert np.array_equal(result["label"], example["label"][row : row + 28, column : column + 37])
        corners.add((row, column))
    assert corners == {(row, column) for row in range(3) for column in range(4)}


def test_crop_pads_with_the_mean_colour_and_void():
    image = np.zeros((2, 4, 6), np.uint8)
    image[0] = [11, 20, 30, 40, 50, 60]
    example = {"image": image, "label": np.zeros((2, 4), np.uint8), "name": "low"}
    rows = set()
    for seed in range(40):
        result = RandomCrop((4, 3))(example, seeded(seed))
        inside = result["label"] != VOID
        assert inside.sum() == 6
        assert (result["image"][~inside] == [6, 10, 15, 20, 25, 30]).all()
        rows.add(int(inside.argmax(axis=0)[0]))
        assert np.array_equal(result["image"][inside].reshape(2, 3, 6), image[:, :3])
    assert rows == {0, 1, 2}


@pytest.mark.parametrize(("fill", "expected"), [(7.0, [7, 7, 7]), ((1.0, 2.0, 3.0), [1, 2, 3])])
def test_crop_pads_with_a_given_value(fill, expected):
    example = {"image": np.zeros((2, 2, 3), np.float32), "label": np.zeros((2, 2), np.uint8), "name": "black"}
    result = RandomCrop((3, 3), fill=fill)(example, seeded(0))
    assert (result["image"][result["label"] == VOID] == expected).all()


def test_fill_that_does_not_fit():
    with pytest.raises(InputError, match=r"fill=\(1.0, 2.0\) has 2 values, but 'numbered' has 1 channels"):
        RandomCrop((50, 50), fill=(1.0, 2.0))(numbered(), seeded(0))
    with pytest.raises(InputError, match=r"fill=70000.0 does not fit 'numbered', whose uint16 pixels go from 0 to 65535"):
        RandomCrop((50, 50), fill=70000.0)(numbered(), seeded(0))


def test_crop_avoids_windows_of_one_class():
    label = np.zeros((8, 400), np.uint8)
    label[:, 100:150] = 1
    label[:, 150:] = VOID
    example = {"image": np.zeros((8, 400, 1), np.uint8), "label": label, "name": "uneven"}

    def uneven_share(limit):
        windows = [RandomCrop((8, 40), limit)(example, seeded(seed))["label"] for seed in range(100)]
        shares = [
            max(np.mean(window[window != VOID] == k) for k in (0, 1)) if (window != VOID).any() else 1 for window in windows
        ]
        return np.mean(np.array(shares) > 0.75)

    assert uneven_share(1.0) > 0.85
    assert uneven_share(0.75) < 0.7


def test_void_is_no_class_of_a_window():
    label = np.tile(np.array([VOID, VOID, VOID, 0, 1], np.uint8), (5, 12))
    example = {"image": np.arange(300, dtype=np.uint16).reshape(5, 60, 1), "label": label, "name": "striped"}
    for seed in range(10):
        first, balanced = (RandomCrop((5, 10), share)(example, seeded(seed))["image"] for share in (1.0, 0.5))
        assert np.array_equal(first, balanced)


def test_crop_gives_up_after_ten_windows():
    example = {"image": np.zeros((9, 9, 1), np.uint8), "label": np.zeros((9, 9), np.uint8), "name": "even"}
    assert RandomCrop((4, 4), 0.5)(example, seeded(0))["label"].shape == (4, 4)


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_bad_shares(share):
    with pytest.raises(InputError, match=r"max_class_share=.* must be above 0 and at most 1"):
        RandomCrop((4, 4), share)


def test_flips_are_exact_and_their_own_inverse():
    example = numbered()
    for flip, axes in ((RandomFlip(1.0, 0.0), 1), (RandomFlip(0.0, 1.0), 0), (RandomFlip(1.0, 1.0), (0, 1))):
        once = flip(example, seeded(0))
        assert np.array_equal(once["image"], np.flip(example["image"], axes))
        assert np.array_equal(once["label"], np.flip(example["label"], axes))
        assert np.array_equal(flip(once, seeded(0))["image"], example["image"])


def test_flip_probabilities_are_independent():
    corners = [int(RandomFlip(0.5, 0.2)(numbered(), seeded(seed))["image"][0, 0, 0]) for seed in range(1000)]
    left_right, upside_down = np.array([(c % 40 == 39, c // 40 == 29) for c in corners]).T
    assert abs(left_right.mean() - 0.5) < 0.06
    assert abs(upside_down.mean() - 0.2) < 0.05
    assert abs((left_right & upside_down).mean() - 0.1) < 0.04


def test_bad_probabilities():
    with pytest.raises(InputError, match=r"horizontal=1.5 is not a probability: give a number from 0 \(never\) to 1"):
        RandomFlip(1.5)
    with pytest.raises(InputError, match=r"vertical=-0\.1 is not"):
        RandomFlip(0.5, -0.1)


def test_quarter_turns_are_exact_and_equally_likely():
    example = numbered()
    turns = [np.rot90(example["image"], k) for k in range(4)]
    seen = []
    for seed in range(200):
        result = RandomRotate90()(example, seeded(seed))
        k = next(k for k in range(4) if np.array_equal(turns[k], result["image"]))
        assert np.array_equal(result["label"], np.rot90(example["label"], k))
        assert np.array_equal(np.bincount(result["label"].ravel()), np.bincount(example["label"].ravel()))
        seen.append(k)
    assert np.bincount(seen, minlength=4).min() > 30
