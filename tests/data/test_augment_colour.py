import colorsys

import numpy as np
import pytest

from jaxseg.data.augment import ColorJitter, GaussianBlur, GaussianNoise
from jaxseg.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114])


def soft(channels=3, seed=0):
    """A float image far from black and white, so that moderate jitter is not clipped."""
    image = np.random.default_rng(seed).uniform(0.35, 0.6, (12, 15, channels)).astype(np.float32)
    return {"image": image, "label": np.zeros((12, 15), np.uint8), "name": "soft"}


def jittered(example, seed, **strengths):
    return ColorJitter(**strengths)(example, np.random.default_rng(seed))["image"]


def test_brightness_multiplies():
    image, factors = soft()["image"], []
    for seed in range(200):
        ratio = jittered(soft(), seed, brightness=0.3) / image
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
        factors.append(ratio.flat[0])
    assert 0.7 <= min(factors) < 0.75
    assert 1.25 < max(factors) <= 1.3001


def test_contrast_scales_about_the_mean_luma():
    image, factors = soft()["image"], []
    mean = (image @ LUMA).mean()
    for seed in range(100):
        result = jittered(soft(), seed, contrast=0.5)
        assert abs((result @ LUMA).mean() - mean) < 1e-4
        factor = (result - mean) / (image - mean)
        np.testing.assert_allclose(factor[np.abs(image - mean) > 0.02], np.median(factor), rtol=1e-3)
        factors.append(np.median(factor))
    assert 0.5 <= min(factors) < 0.6
    assert 1.4 < max(factors) <= 1.501


def test_saturation_scales_about_the_luma_of_the_pixel():
    image = soft()["image"]
    grey = (image @ LUMA)[..., None]
    factors = []
    for seed in range(100):
        result = jittered(soft(), seed, saturation=0.8)
        np.testing.assert_allclose((result @ LUMA)[..., None], grey, atol=1e-5)
        factor = np.sum((result - grey) * (image - grey)) / np.sum((image - grey) ** 2)
        np.testing.assert_allclose(result, grey + factor * (image - grey), atol=1e-4)
        factors.append(factor)
    assert 0.2 <= min(factors) < 0.35
    assert 1.65 < max(factors) <= 1.801


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hue_turns_the_circle_and_keeps_saturation_and_value(dtype):
    scale = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    image = np.array([[[0.8, 0.2, 0.2], [0.2, 0.8, 0.3], [0.1, 0.3, 0.9], [0.9, 0.8, 0.1]]]) * scale
    example = {"image": image.astype(dtype), "label": np.zeros((1, 4), np.uint8), "name": "colours"}
    turns = []
    for seed in range(100):
        result = jittered(example, seed, hue=0.25) / scale
        before = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in image[0] / scale])
        after = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in result[0]])
        np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=0.02)
        turn = (after[:, 0] - before[:, 0] + 0.5) % 1 - 0.5
        np.testing.assert_allclose(turn, turn[0], atol=0.015)
        turns.append(turn[0])
    assert -0.26 <= min(turns) < -0.2
    assert 0.2 < max(turns) <= 0.26


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_agree_with_floats(dtype):
    example, scale = soft(), np.iinfo(dtype).max
    integers = {**example, "image": np.rint(example["image"] * scale).astype(dtype)}
    for seed in range(30):
        expected = jittered(example, seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        result = jittered(integers, seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        assert result.dtype == dtype
        np.testing.assert_allclose(result / scale, expected, atol=6 / 255 if dtype == np.uint8 else 1e-3)


def test_value_range_moves_black_and_white():
    example = soft()
    tissue = {**example, "image": example["image"] * 4000 - 1000}
    for seed in range(10):
        plain = jittered(example, seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        shifted = jittered(tissue, seed, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, value_range=(-1000.0, 3000.0))
        np.testing.assert_allclose((shifted + 1000) / 4000, plain, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_results_keep_within_the_range(dtype):
    white = 200.0 if dtype == np.uint8 else 4095.0
    image = (np.random.default_rng(0).random((9, 9, 3)) * white).astype(dtype)
    example = {"image": image, "label": np.zeros((9, 9), np.uint8), "name": "twelve"}
    strong = ColorJitter(0.9, 0.9, 0.9, 0.5, value_range=(0.0, white))
    noisy = GaussianNoise((0.5, 0.5), 1.0, value_range=(0.0, white))
    for seed in range(20):
        for transform in (strong, noisy):
            result = transform(example, np.random.default_rng(seed))["image"]
            assert 0 <= result.min() <= result.max() <= white


def test_values_beyond_the_range_are_refused():
    tissue = {**soft(), "image": soft()["image"] * 4000}
    for transform in (ColorJitter(0.1), GaussianNoise(probability=1.0)):
        with pytest.raises(InputError, match=r"'soft' has values from 1\d+.* outside the range from 0 to 1 .*value_range="):
            transform(tissue, np.random.default_rng(0))
    broken = {**soft(), "image": np.full((12, 15, 3), np.nan, np.float32)}
    with pytest.raises(InputError, match="from nan to nan"):
        ColorJitter(0.1)(broken, np.random.default_rng(0))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_only_rgb_has_saturation_and_hue(channels):
    example = soft(channels)
    assert np.array_equal(jittered(example, 0, saturation=0.5, hue=0.5), example["image"])
    result = jittered(example, 1, contrast=0.5)
    assert not np.array_equal(result, example["image"])
    np.testing.assert_allclose(result.mean(axis=(0, 1)), example["image"].mean(axis=(0, 1)), atol=1e-4)


def test_the_order_is_random():
    def brighter(image, factor):
        return np.clip(factor * image, 0, 1)

    def harder(image, factor):
        return np.clip(factor * image + (1 - factor) * (image @ LUMA).mean(), 0, 1)

    image = np.random.default_rng(0).random((12, 15, 3), dtype=np.float32)
    example, orders = {**soft(), "image": image}, []
    for seed in range(30):
        # The same seed draws the same factors, which the moderate image shows one by one; clipping makes their order matter.
        b = np.median(jittered(soft(), seed, brightness=0.5) / soft()["image"])
        moderate = soft()["image"] - (soft()["image"] @ LUMA).mean()
        c = np.median((jittered(soft(), seed, contrast=0.5) - (soft()["image"] @ LUMA).mean()) / moderate)
        result = jittered(example, seed, brightness=0.5, contrast=0.5)
        first = np.abs(result - harder(brighter(image, b), c)).max() < 1e-3
        second = np.abs(result - brighter(harder(image, c), b)).max() < 1e-3
        assert first or second
        orders.append(first)
    assert 3 < sum(orders) < 27


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_blur_has_the_width_it_is_given(channels):
    image = np.zeros((61, 61, channels), np.float32)
    image[30, 30] = 1
    example = {"image": image, "label": np.zeros((61, 61), np.uint8), "name": "point"}
    result = GaussianBlur((3.0, 3.0), 1.0)(example, np.random.default_rng(0))["image"]
    np.testing.assert_allclose(result.sum(axis=(0, 1)), 1, atol=1e-4)
    spread = np.sqrt(np.einsum("ijc,i->c", result, (np.arange(61) - 30.0) ** 2))
    np.testing.assert_allclose(spread, 3.0, atol=0.1)


def test_noise_has_the_strength_it_is_given():
    example = {"image": np.full((200, 200, 3), 128, np.uint8), "label": np.zeros((200, 200), np.uint8), "name": "grey"}
    noise = GaussianNoise((0.1, 0.1), 1.0)(example, np.random.default_rng(0))["image"].astype(float) - 128
    assert abs(noise.std() - 25.5) < 0.5
    assert abs(noise.mean()) < 0.3
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("make", [GaussianBlur, GaussianNoise])
def test_probability_is_kept(make):
    example = {
        "image": np.random.default_rng(0).integers(0, 255, (8, 8, 1), np.uint8),
        "label": np.zeros((8, 8), np.uint8),
        "name": "x",
    }
    transform = make(sigma=(1.0, 1.0), probability=0.3)
    changed = [not np.array_equal(transform(example, np.random.default_rng(s))["image"], example["image"]) for s in range(400)]
    assert abs(np.mean(changed) - 0.3) < 0.08


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColorJitter(brightness=-0.1), "brightness=-0.1 must be 0 or more"),
        (lambda: ColorJitter(contrast=float("inf")), "contrast=inf must be 0 or more"),
        (lambda: ColorJitter(saturation=float("nan")), "saturation=nan must be 0 or more"),
        (lambda: ColorJitter(hue=0.6), "hue=0.6 must be from 0 to 0.5"),
        (lambda: ColorJitter(value_range=(1.0, 0.0)), r"value_range=\(1.0, 0.0\) must be two numbers .* black below white"),
        (
            lambda: GaussianBlur(sigma=(0.0, 1.0)),
            r"sigma=\(0.0, 1.0\) must be \(smallest, largest\) in pixels, with 0 < smallest",
        ),
        (lambda: GaussianBlur(sigma=(2.0, 1.0)), "smallest <= largest"),
        (lambda: GaussianBlur(probability=3.0), "probability=3.0 is not a probability"),
        (lambda: GaussianNoise(sigma=(-0.1, 0.1)), "0 <= smallest <= largest"),
        (lambda: GaussianNoise(value_range=(0.0, 0.0)), "black below white"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()
