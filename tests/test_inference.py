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
from jaxseg.inference import Predictor, _starts
from jaxseg.models import UNet
from jaxseg.ops.normalise import Normalise


class Pixelwise(nn.Module):
    """A classifier of single pixels."""

    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="classifier")(image)


THREE_CLASSES = Pixelwise(3)


def predictor(model=THREE_CLASSES, **fields):
    config = Config(
        model=model,
        data=Folder(root="unused", num_classes=max(model.num_classes, 2)),
        crop_size=(8, 8),
        steps=1,
        batch_size=1,
        normalise=Normalise((0.5,), (0.25,)),
        **{"eval_batch_size": 2, **fields},
    )
    return Predictor.of_state(config, model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))


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
    p = predictor(UNet(num_classes=2, width=2, depth=1), window=(8, 8))
    picture = image(8, 12)
    left, right = (p.logits(picture[None, :, i : i + 8])[0] for i in (0, 4))
    both = p.logits(picture[None])[0]
    np.testing.assert_allclose(both[:, :4], left[:, :4], atol=1e-5)
    np.testing.assert_allclose(both[:, 4:8], (left[:, 4:] + right[:, :4]) / 2, atol=1e-5)
    np.testing.assert_allclose(both[:, 8:], right[:, 4:], atol=1e-5)


@pytest.mark.parametrize(("length", "window"), [(5, 8), (8, 8), (9, 8), (100, 8), (7, 3), (10, 1)])
def test_windows_cover_a_side_and_stay_inside(length, window):
    starts = _starts(length, window)
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    covered = {i for start in starts for i in range(start, start + window)}
    assert covered >= set(range(length))
    assert max(covered) < max(length, window)


def test_refuses_another_number_of_channels():
    with pytest.raises(InputError, match=r"The image has 1 channels; this network was trained on 3"):
        predictor().predict(image(8, 8)[..., :1])


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
