"""The function that is exported says what the predictor says, whatever the size, and refuses what it cannot."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.exporting.pipeline import Signature, default_size, pipeline
from jaxseg.inference import Predictor
from jaxseg.models import UNet
from jaxseg.ops.normalise import Normalise


class Neighbours(nn.Module):
    """A 5x5 convolution: sees the border, and what it was extended by."""

    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False):
        """Return logits."""
        return nn.Conv(self.num_classes, (5, 5), name="conv")(image)


VALID = UNet(num_classes=2, width=2, depth=1, padding="valid")


def predictor(model, channels=3, **fields):
    side = model.input_size(8) if hasattr(model, "input_size") else 8
    data = Folder(root="unused", num_classes=max(model.num_classes, 2), num_channels=channels)
    normalise = Normalise((0.5,), (0.25,))
    config = Config(model=model, data=data, crop_size=(side, side), steps=1, batch_size=1, normalise=normalise, **fields)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, side, side, channels)))
    return Predictor.of_state(config, variables)


def stored(count, height, width, channels=3, dtype="uint8"):
    draw = np.random.default_rng(0)
    if dtype == "float32":
        return draw.random((count, height, width, channels), np.float32)
    return draw.integers(0, np.iinfo(dtype).max + 1, (count, height, width, channels)).astype(dtype)


def run(p, images, outputs=("labels", "confidence", "probabilities", "logits")):
    _, height, width, channels = images.shape
    signature = Signature((height, width), channels, str(images.dtype), outputs=outputs)
    return jax.device_get(jax.jit(pipeline(p, signature))(images))


def agrees(p, images):
    found = run(p, images)
    assert set(found) == {"labels", "confidence", "probabilities", "logits"}
    np.testing.assert_allclose(found["logits"], p.logits(images), atol=1e-5)
    for image, labels, confidence, probabilities in zip(images, found["labels"], found["confidence"], found["probabilities"]):
        segmented = p.segment(image)
        np.testing.assert_array_equal(labels, segmented.labels)
        np.testing.assert_allclose(confidence, segmented.confidence, atol=1e-5)
        np.testing.assert_allclose(probabilities.max(-1), confidence, atol=1e-6)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert found["labels"].dtype == np.uint8
    assert all(found[name].dtype == np.float32 for name in ("confidence", "probabilities", "logits"))


@pytest.mark.parametrize("size", [(32, 64), (13, 41), (33, 5)])
def test_any_size_whole(size):
    agrees(predictor(Neighbours(3)), stored(2, *size))


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint16", 5), ("float32", 3)])
def test_stored_values_of_any_dtype_and_channels(dtype, channels):
    agrees(predictor(Neighbours(3), channels), stored(1, 8, 8, channels, dtype))


def test_of_one_logit_both_classes_have_a_probability():
    p, images = predictor(Neighbours(1)), stored(2, 16, 8)
    agrees(p, images)
    assert run(p, images)["probabilities"].shape == (2, 16, 8, 2)
    assert set(np.unique(run(p, images)["labels"])) == {0, 1}


@pytest.mark.parametrize("fields", [{"window": (10, 20)}, {"image_size": (10, 20)}])
def test_a_window_or_a_size_that_the_network_was_trained_at_is_not_extended(fields):
    agrees(predictor(Neighbours(3), **fields), stored(1, 10, 20))


@pytest.mark.parametrize("size", [(7, 20), (64, 33), (3, 2)])
@pytest.mark.parametrize("window", [None, (28, 28)])
def test_valid_convolutions_see_a_mirrored_margin(size, window):
    agrees(predictor(VALID, window=window), stored(2, *size))


def test_only_the_outputs_that_are_asked_for():
    assert set(run(predictor(Neighbours(3)), stored(1, 8, 8), ("confidence",))) == {"confidence"}


def test_the_default_size_is_the_runs():
    p = predictor(Neighbours(3))
    assert default_size(p.config) == (8, 8)
    assert default_size(dataclasses.replace(p.config, window=(16, 32))) == (16, 32)
    assert default_size(dataclasses.replace(p.config, window=(16, 32), image_size=(4, 6))) == (4, 6)


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({"flip": True}, (8, 8), r"averages several views of an image \(scales=\(1.0,\), flip=True\).*--set flip=False"),
        ({"scales": (0.5, 1.0)}, (8, 8), r"scales=\(0.5, 1.0\).*average in your own program"),
        ({"image_size": (8, 8)}, (9, 8), r"size=\(9, 8\), but this run resizes every image to \(8, 8\).*--set image_size=None"),
        ({"image_size": (8, 8)}, None, r"size=any, but this run resizes"),
        ({"window": (8, 8)}, (16, 8), r"size=\(16, 8\), but this run predicts in windows of \(8, 8\).*--set window=None"),
        ({}, (4096, 2048), r"size=\(4096, 2048\) has more than 4194304 pixels.*smaller --size"),
    ],
)
def test_what_is_no_function_of_one_whole_image_is_refused(fields, size, message):
    with pytest.raises(InputError, match=message):
        pipeline(predictor(Neighbours(3), **fields), Signature(size, 3))


def test_valid_convolutions_need_a_size_and_channels_must_fit():
    with pytest.raises(InputError, match="how much margin valid convolutions need depends on the size: give --size"):
        pipeline(predictor(VALID), Signature(None, 3))
    with pytest.raises(InputError, match="channels=4, but this network was trained on 3"):
        pipeline(predictor(VALID), Signature((8, 8), 4))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (0, 8)}, r"size=\(0, 8\) must be a height and a width of at least 1"),
        ({"batch": 0}, "batch=0 must be at least 1; leave it out"),
        ({"dtype": "int8"}, "dtype='int8' is not known: images are stored as uint8, uint16, float32"),
        ({"outputs": ()}, "must be some of labels, confidence, probabilities, logits, each once"),
        ({"outputs": ("labels", "labels")}, "each once"),
        ({"outputs": ("scores",)}, r"outputs=\('scores',\) must be some of"),
    ],
)
def test_a_signature_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Signature(**{"size": (8, 8), "channels": 3, **fields})
