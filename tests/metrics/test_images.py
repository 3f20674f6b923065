import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jaxseg.errors import InputError
from jaxseg.metrics import ConfusionMatrix, ImageScores, score_images

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (5, 6, 7)).astype(np.uint8)
LABELS[0, :3] = 255
LABELS[1] = np.minimum(LABELS[1], 1)
LABELS[4] = 255
PREDICTION = np.where(RNG.random(LABELS.shape) < 0.6, LABELS, RNG.integers(0, 4, LABELS.shape)).astype(np.uint8) % 255
PREDICTION[3] = LABELS[3]


def test_an_image_scores_what_a_confusion_matrix_says_of_it_alone():
    matrix, scores = jax.jit(score_images, static_argnames="num_classes")(PREDICTION, LABELS, num_classes=4)
    for i in range(5):
        alone = ConfusionMatrix.empty(4).update(jnp.asarray(PREDICTION[i : i + 1]), jnp.asarray(LABELS[i : i + 1])).scores()
        np.testing.assert_allclose(scores[i], [alone["miou"], alone["pixel_accuracy"]], rtol=1e-6)
    assert np.isnan(scores[4]).all(), "all of it is void"
    np.testing.assert_array_equal(scores[3], [1, 1])
    whole = ConfusionMatrix.empty(4).update(jnp.asarray(PREDICTION), jnp.asarray(LABELS))
    np.testing.assert_array_equal(matrix.counts(), whole.counts())


def test_a_prediction_that_is_no_class_hits_nothing():
    label = np.zeros((1, 2, 2), np.uint8)
    prediction = np.array([[[0, 0], [0, 255]]], np.uint8)
    _, scores = score_images(jnp.asarray(prediction), jnp.asarray(label), num_classes=2)
    np.testing.assert_allclose(scores, [[0.75, 0.75]])


def test_labels_that_are_no_class_are_still_refused():
    label = jnp.full((1, 2, 2), 7, jnp.uint8)
    matrix, _ = score_images(jnp.zeros_like(label), label, num_classes=2)
    with pytest.raises(InputError, match="4 pixels have a label that is neither a class"):
        matrix.scores()


def test_batches_come_in_any_order_and_the_worst_is_first():
    scores = np.array([[0.5, 0.6], [0.2, 0.3], [np.nan, np.nan], [0.2, 0.9]], np.float32)
    batches = [(np.array([3, 0]), jnp.asarray(scores[[3, 0]])), (np.array([2]), jnp.asarray(scores[[2]]))]
    found = ImageScores.collect([*batches, (np.array([1]), jnp.asarray(scores[[1]]))], 4)
    np.testing.assert_array_equal(found.miou, scores[:, 0])
    np.testing.assert_array_equal(found.pixel_accuracy, scores[:, 1])
    assert found.worst_first().tolist() == [1, 3, 0]


def test_processes_put_their_shares_together(monkeypatch):
    """What another process has counted is added to this one's."""
    other = np.array([[0, 0], [0.25, 0.5], [0, 0]], np.float32)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda table: np.stack([table, other]))
    own = jnp.asarray([[0.5, 0.75], [np.nan, np.nan]], jnp.float32)
    found = ImageScores.collect([(np.array([0, 2]), own)], 3)
    np.testing.assert_array_equal(found.miou, np.array([0.5, 0.25, np.nan], np.float32))
    np.testing.assert_array_equal(found.pixel_accuracy, np.array([0.75, 0.5, np.nan], np.float32))
