"""Whole images, windows and resizing, with a network that sees single pixels: then all of them must agree."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.evaluation import evaluate, json_scores
from jaxseg.inference import Predictor
from jaxseg.models import UNet
from jaxseg.models.layers import BatchNorm
from jaxseg.ops.normalise import Normalise
from jaxseg.views import check_image


class Pixelwise(nn.Module):
    """A classifier of single pixels."""

    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="classifier")(image)


THREE_CLASSES = Pixelwise(3)
VALID = UNet(num_classes=2, width=2, depth=2, padding="valid")


class Noisy(nn.Module):
    """Dropout after batch normalisation, whose batch statistics would differ from the running ones."""

    num_classes: int
    rate: float = 0.5

    @nn.compact
    def __call__(self, image, *, train=False):
        x = BatchNorm(momentum=0.9, epsilon=1e-5, name="bn")(image, train=train)
        x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="classifier")(x)


def predictor(model=THREE_CLASSES, **fields):
    side = model.input_size(8) if hasattr(model, "input_size") else 8
    config = Config(
        model=model,
        data=Folder(root="unused", num_classes=max(model.num_classes, 2)),
        crop_size=(side, side),
        steps=1,
        batch_size=1,
        normalise=Normalise((0.5,), (0.25,)),
        **{"eval_batch_size": 2, **fields},
    )
    return Predictor.of_state(config, model.init(jax.random.key(0), jnp.zeros((1, side, side, 3))))


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def by_hand(p, picture):
    kernel, bias = (np.asarray(p.variables["params"]["classifier"][name]) for name in ("kernel", "bias"))
    return ((picture / 255 - 0.5) / 0.25) @ kernel + bias


@pytest.mark.parametrize("size", [(8, 8), (32, 64), (13, 41), (5, 3)])
@pytest.mark.parametrize("window", [None, (8, 8), (6, 10)])
def test_any_size_whole_or_in_windows_gives_each_pixels_class(size, window):
    p, picture = predictor(window=window), image(*size)
    logits = by_hand(p, picture)
    np.testing.assert_allclose(p.logits(picture[None])[0], logits, atol=1e-4)
    labels = p.predict(picture)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, logits.argmax(-1))


def test_a_batch_is_a_row_of_images():
    p = predictor()
    pictures = np.stack([image(9, 7, seed) for seed in range(3)])
    np.testing.assert_array_equal(p.labels(pictures), np.stack([p.predict(picture) for picture in pictures]))


def test_one_logit_is_positive_or_not():
    p, picture = predictor(Pixelwise(1)), image(8, 8)
    np.testing.assert_array_equal(p.predict(picture), by_hand(p, picture)[..., 0] > 0)


@pytest.mark.parametrize("window", [None, (8, 8)])
def test_image_size_resizes_there_and_back(window):
    """A picture of flat 4x4 blocks, at half size, is a picture of flat 2x2 blocks: block centres keep their class."""
    p = predictor(image_size=(16, 16), window=window)
    blocks = np.repeat(np.repeat(image(4, 4), 8, 0), 8, 1)
    labels = p.predict(blocks)
    assert labels.shape == (32, 32)
    expected = by_hand(p, image(4, 4)).argmax(-1)
    np.testing.assert_array_equal(labels[4::8, 4::8], expected)


def test_windows_of_a_network_that_sees_far_overlap_and_average():
    """Near a seam the logits lie between those of the two windows that meet there."""
    p = predictor(UNet(num_classes=2, width=2, depth=1), window=(8, 8), blending="mean")
    picture = image(8, 12)
    left, right = (p.logits(picture[None, :, i : i + 8])[0] for i in (0, 4))
    both = p.logits(picture[None])[0]
    np.testing.assert_allclose(both[:, :4], left[:, :4], atol=1e-5)
    np.testing.assert_allclose(both[:, 4:8], (left[:, 4:] + right[:, :4]) / 2, atol=1e-5)
    np.testing.assert_allclose(both[:, 8:], right[:, 4:], atol=1e-5)


apply_once = jax.jit(VALID.apply)


def at_once(p, picture):
    """The logits of the whole picture in one, mirrored around as far as the network looks."""
    model, sides = p.config.model, picture.shape[:2]
    whole = [model.input_size(side) for side in sides]
    margins = [(side - model.output_size(side)) // 2 for side in whole]
    pads = [(margin, side - margin - length) for margin, side, length in zip(margins, whole, sides)]
    mirrored = np.pad(picture, (*pads, (0, 0)), mode="reflect")
    logits = apply_once(p.variables, p.config.normalise(jnp.asarray(mirrored[None])))
    return np.asarray(logits)[0, : sides[0], : sides[1]]


@pytest.mark.parametrize(
    ("size", "window"),
    [((61, 83), None), ((61, 83), (64, 64)), ((40, 40), (60, 92)), ((13, 97), (64, 64)), ((9, 7), (64, 64)), ((9, 7), None)],
)
def test_tiles_of_valid_convolutions_are_the_whole_image_at_once(size, window):
    """(9, 7) is smaller than the margin of 20 pixels: the mirror repeats."""
    p, picture = predictor(VALID, window=window), image(*size)
    expected = at_once(p, picture)
    logits = p.logits(picture[None])[0]
    assert logits.shape == (*size, 2)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_array_equal(p.predict(picture), logits.argmax(-1))


def test_tiles_of_a_batch_and_of_resized_images():
    p = predictor(VALID, window=(64, 64))
    pictures = np.stack([image(30, 50, seed) for seed in range(3)])
    np.testing.assert_array_equal(p.labels(pictures), np.stack([p.predict(picture) for picture in pictures]))
    assert predictor(VALID, window=(64, 64), image_size=(16, 24)).predict(image(20, 31)).shape == (20, 31)


def test_tiles_that_do_not_fit_name_those_that_do():
    with pytest.raises(InputError, match=r"An image side of 62 does not fit .* The nearest sides that fit: 60 or 64"):
        predictor(VALID, window=(64, 62)).predict(image(80, 80))


def test_evaluation_of_valid_convolutions_counts_every_pixel():
    p, picture = predictor(VALID, window=(64, 64)), image(50, 61)
    found = evaluate(p, [{"image": picture, "label": p.predict(picture), "name": "0"}], thorough=True)
    assert int(found.confusion.counts().sum()) == 50 * 61
    assert found.scores["pixel_accuracy"] == 1


def test_samples_are_the_mean_and_the_spread_of_what_dropout_lets_through():
    """Each of three inputs is dropped or doubled: eight equally likely outcomes, in closed form."""
    p, picture = predictor(Noisy(2)), image(6, 5)
    kernel, bias = (np.asarray(p.variables["params"]["classifier"][name]) for name in ("kernel", "bias"))
    x = (picture / 255 - 0.5) / 0.25 / np.sqrt(1 + 1e-5)  # running statistics: mean 0, variance 1
    outcomes = []
    for kept in np.ndindex(2, 2, 2):
        powers = np.exp((x * 2 * np.array(kept)) @ kernel + bias)
        outcomes.append(powers / powers.sum(-1, keepdims=True))
    found = p.sample(picture, samples=400)
    np.testing.assert_allclose(found.probabilities, np.mean(outcomes, 0), atol=0.1)
    np.testing.assert_allclose(found.variance, np.var(outcomes, 0), atol=0.05)
    mean = found.probabilities
    np.testing.assert_allclose(found.entropy, -(mean * np.log(mean)).sum(-1), atol=1e-5)
    np.testing.assert_array_equal(found.labels, mean.argmax(-1))
    assert found.entropy.max() <= np.log(2) + 1e-6


def test_samples_are_drawn_by_their_seed_and_leave_prediction_as_it_is():
    p, picture = predictor(Noisy(2)), image(16, 16)
    one, again, other = (p.sample(picture, samples=3, seed=seed).probabilities for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert p.sample(picture, samples=1).variance.max() == 0
    np.testing.assert_array_equal(p.logits(picture[None]), p.logits(picture[None]))


@pytest.mark.parametrize(
    ("model", "window"),
    [(UNet(num_classes=1, width=2, depth=1, batch_norm=True), None), (UNet(2, 2, 1), (8, 8)), (VALID, (64, 64))],
)
def test_samples_of_networks_whole_in_windows_and_in_tiles(model, window):
    p, picture = predictor(model, window=window), image(20, 24)
    found = p.sample(picture, samples=3)
    assert found.probabilities.shape == found.variance.shape == (20, 24, 2)
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)
    assert found.variance.max() > 0


def test_samples_need_dropout():
    for model in (THREE_CLASSES, Noisy(2, rate=0.0)):
        with pytest.raises(InputError, match=r"(Pixelwise|Noisy) was trained without dropout.* --set model.dropout=0.5"):
            predictor(model).sample(image(8, 8))
    with pytest.raises(InputError, match=r"samples=0 must be at least 1"):
        predictor(Noisy(2)).sample(image(8, 8), samples=0)


def test_refuses_another_number_of_channels():
    with pytest.raises(InputError, match=r"The image has 1 channels; this network was trained on 3"):
        predictor().predict(image(8, 8)[..., :1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((9, 9), np.uint8), r"shape \(9, 9\), and must have \(height, width, channels\).*image\[\.\.\., None\]"),
        (np.zeros((0, 9, 3), np.uint8), r"shape \(0, 9, 3\), and must have"),
        (np.zeros((9, 9, 3), np.int32), "The image holds int32: convert it to uint8"),
        (np.zeros((9, 9, 3), bool), "The image holds bool"),
    ],
)
def test_refuses_what_is_no_image(wrong, message):
    with pytest.raises(InputError, match=message):
        check_image(wrong, 3)
    if wrong.ndim == 3:  # others the type checker of the tests refuses before
        for window in (None, (8, 8)):
            with pytest.raises(InputError, match=message):
                predictor(window=window).predict(wrong)


def test_evaluation_counts_every_valid_pixel_once():
    p = predictor()
    examples = []
    for seed, size in enumerate([(8, 8), (9, 7), (8, 8)]):
        picture = image(*size, seed)
        label = p.predict(picture)
        label[0] = 255
        label[1, :2] = (label[1, :2] + 1) % 3
        examples.append({"image": picture, "label": label, "name": str(seed)})
    found = evaluate(p, examples, thorough=True)
    valid = 7 * 8 + 8 * 7 + 7 * 8
    assert int(found.confusion.counts().sum()) == valid
    assert found.scores["pixel_accuracy"] == pytest.approx(1 - 6 / valid)
    assert found.scores["images"] == 3
    assert 0 < found.scores["boundary_f1"] <= 1
    assert 0 < found.scores["calibration_error"] < 1
    quick = evaluate(p, examples)
    assert "boundary_f1" not in quick.scores
    assert (quick.confusion.counts() == found.confusion.counts()).all()


def test_json_has_names_and_null():
    assert json_scores({"miou": 0.5, "iou": [0.5, float("nan")], "images": 3}, ("a", "b")) == {
        "miou": 0.5,
        "iou": {"a": 0.5, "b": None},
        "images": 3,
    }


def test_a_predictor_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        predictor().config = None
