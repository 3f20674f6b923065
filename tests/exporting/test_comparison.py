"""What counts as a difference, and which images an artifact is tried on."""

import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.exporting.comparison import IMAGES, batches, difference, stored_images
from jaxseg.exporting.pipeline import Signature
from jaxseg.models import UNet

LOGITS = np.log(np.array([[[[0.7, 0.2, 0.1], [0.45, 0.45, 0.1]]]], np.float32))


def test_labels_differ_by_the_probability_that_is_lost():
    assert difference("labels", np.array([[[0, 0]]], np.uint8), LOGITS) == pytest.approx(0, abs=1e-6)
    assert difference("labels", np.array([[[0, 1]]], np.uint8), LOGITS) == pytest.approx(0, abs=1e-6)  # as probable
    assert difference("labels", np.array([[[1, 0]]], np.uint8), LOGITS) == pytest.approx(0.5)
    assert difference("labels", np.array([[[0, 3]]], np.uint8), LOGITS) == 1  # no such class


@pytest.mark.parametrize("name", ["labels", "confidence", "probabilities", "logits"])
def test_nothing_agrees_with_logits_that_are_not_finite(name):
    got = np.zeros(LOGITS.shape if name in ("probabilities", "logits") else LOGITS.shape[:3], np.uint8)
    assert difference(name, got, np.full_like(LOGITS, np.nan)) == np.inf


def test_the_rest_differs_by_the_largest_difference():
    probabilities = np.exp(LOGITS)
    assert difference("probabilities", probabilities, LOGITS) == pytest.approx(0, abs=1e-6)
    probabilities[0, 0, 1] = (0.4, 0.45, 0.15)
    assert difference("probabilities", probabilities, LOGITS) == pytest.approx(0.05, abs=1e-6)
    assert difference("confidence", np.array([[[0.7, 0.46]]], np.float32), LOGITS) == pytest.approx(0.01, abs=1e-6)
    assert difference("confidence", np.array([[[0.7, np.nan]]], np.float32), LOGITS) == np.inf
    assert difference("logits", 100 * LOGITS - 0.5, 100 * LOGITS) == pytest.approx(0.5 / np.abs(100 * LOGITS).max(), rel=1e-3)
    assert difference("logits", 0.1 * LOGITS - 0.5, 0.1 * LOGITS) == pytest.approx(0.5, rel=1e-3)


def test_of_one_logit_the_classes_are_two():
    logit = np.array([[[[2.0], [-1.0]]]], np.float32)
    assert difference("labels", np.array([[[1, 0]]], np.uint8), logit) == 0
    assert difference("confidence", 1 / (1 + np.exp(-np.array([[[2.0, 1.0]]]))), logit) == pytest.approx(0, abs=1e-6)


def test_an_open_batch_size_is_tried_with_one_image_and_with_several():
    shapes = [batch.shape for batch in batches(Signature((33, 20), 4))]
    assert shapes == [(1, 33, 20, 4), (IMAGES, 33, 20, 4)]
    assert [batch.shape for batch in batches(Signature((8, 8), 1, batch=2))] == [(2, 8, 8, 1)]


def test_any_size_is_tried_with_two():
    sizes = [batch.shape[1:3] for batch in batches(Signature(None, 3))]
    assert len(set(sizes)) == 2
    assert all(side % 32 == 0 for size in sizes for side in size)
    fixed = [batch.shape for batch in batches(Signature(None, 3, batch=2))]
    assert [shape[0] for shape in fixed] == [2, 2]
    assert len({shape[1:3] for shape in fixed}) == 2


def test_stored_images_come_first_resized_and_cast():
    white = np.full((5, 7, 3), 65535, np.uint16)
    for dtype, value in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        both = batches(Signature((32, 40), 3, dtype), [white])
        assert all(batch.dtype == dtype for batch in both)
        assert (both[0] == value).all()
        assert (both[1][0] == value).all()
        assert not (both[1][1] == value).all()  # drawn


def test_data_that_is_not_here_gives_no_images(tmp_path):
    data = Folder(root=str(tmp_path / "nowhere"), num_classes=2)
    config = Config(model=UNet(num_classes=2), data=data, crop_size=(8, 8), steps=1, batch_size=1)
    assert stored_images(config, 3) == []
