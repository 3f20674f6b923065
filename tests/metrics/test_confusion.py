import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import ConfusionMatrix, wide
from jaxseg.metrics.confusion import count_by_product, count_by_scatter

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (2, 5, 6)).astype(np.uint8)  # class 4 of 5 is absent
LABELS[0, 1] = 255
PREDICTION = RNG.integers(0, 4, (2, 5, 6)).astype(np.int32)


@functools.partial(jax.jit, static_argnums=2)
def matrix_of(prediction, labels, num_classes=5):
    return ConfusionMatrix.empty(num_classes).update(prediction, labels)


def with_counts(counts):
    """A matrix that stands at given counts, as large as they may be."""
    counts = np.pad(np.asarray(counts, np.uint64), ((0, 1), (0, 1)))
    return ConfusionMatrix(
        wide.Wide(jnp.asarray(counts >> np.uint64(32), jnp.uint32), jnp.asarray(counts & np.uint64(0xFFFFFFFF), jnp.uint32))
    )


def test_scores_are_those_of_sets_of_pixels():
    scores = matrix_of(jnp.asarray(PREDICTION), jnp.asarray(LABELS)).scores()
    valid = LABELS != 255
    labels, prediction = LABELS[valid], PREDICTION[valid]
    iou, dice, recall, precision, share = [], [], [], [], []
    for c in range(4):
        a, b = labels == c, prediction == c
        iou.append((a & b).sum() / (a | b).sum())
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        recall.append((a & b).sum() / a.sum())
        precision.append((a & b).sum() / b.sum())
        share.append(a.mean())
    for key, expected in {"iou": iou, "dice": dice, "class_accuracy": recall, "precision": precision}.items():
        np.testing.assert_allclose(scores[key][:4], expected, rtol=1e-12)
        assert np.isnan(scores[key][4])
    for key, expected in {"miou": iou, "mean_dice": dice, "mean_accuracy": recall}.items():
        assert scores[key] == pytest.approx(np.mean(expected), rel=1e-12)
    assert scores["pixel_accuracy"] == pytest.approx((labels == prediction).mean(), rel=1e-12)
    assert scores["fwiou"] == pytest.approx(np.dot(share, iou), rel=1e-12)
    assert all(
        type(value) is float or (type(value) is list and all(type(v) is float for v in value)) for value in scores.values()
    )


def test_a_class_that_is_only_predicted_counts_and_one_that_is_nowhere_does_not():
    scores = with_counts([[6, 2, 0], [0, 0, 0], [0, 0, 0]]).scores()
    np.testing.assert_array_equal(scores["iou"], [0.75, 0.0, np.nan])
    assert scores["miou"] == 0.375
    np.testing.assert_array_equal(scores["class_accuracy"], [0.75, np.nan, np.nan])
    np.testing.assert_array_equal(scores["precision"], [1.0, 0.0, np.nan])
    assert scores["mean_accuracy"] == 0.75
    assert scores["fwiou"] == 0.75


def test_nothing_counted_is_nan_everywhere():
    scores = ConfusionMatrix.empty(2).scores()
    assert all(np.isnan(value).all() for value in scores.values())


def test_predictions_at_void_count_nowhere():
    other = np.where(LABELS == 255, 255, PREDICTION)
    np.testing.assert_array_equal(
        matrix_of(jnp.asarray(other), jnp.asarray(LABELS)).counts(),
        matrix_of(jnp.asarray(PREDICTION), jnp.asarray(LABELS)).counts(),
    )


@pytest.mark.parametrize("stray", [-1, 5, 255])
def test_a_prediction_that_is_no_class_is_wrong(stray):
    matrix = matrix_of(jnp.array([[[0, stray, 1]]]), jnp.array([[[0, 0, 1]]]))
    assert matrix.counts()[0].tolist() == [1, 0, 0, 0, 0, 1]
    scores = matrix.scores()
    assert scores["iou"][:2] == [0.5, 1.0]
    assert scores["pixel_accuracy"] == 2 / 3
    assert scores["class_accuracy"][0] == 0.5
    assert scores["precision"][0] == 1.0


@pytest.mark.parametrize("stray", [-1, 5, 254])
def test_a_label_that_is_neither_class_nor_void_is_refused_when_read(stray):
    matrix = matrix_of(jnp.array([[[0, 0]]]), jnp.array([[[0, stray]]]))
    with pytest.raises(InputError, match=r"1 pixels have a label that is neither a class in \[0, 5\) nor void \(255\)"):
        matrix.scores()


def test_counts_are_exact_beyond_float32_int32_and_uint32():
    labels = jnp.zeros((1, 1, 3), jnp.uint8)
    for start in (2**24, 2**31 - 1, 2**32 - 1, 2**53 + 1):
        matrix = with_counts([[start, 0], [0, start]]).update(labels, labels)
        assert matrix.counts()[0, 0] == start + 3
        doubled = matrix.merge(matrix)
        assert doubled.counts().diagonal().tolist() == [2 * start + 6, 2 * start]


def test_scores_of_huge_counts():
    scores = with_counts([[3 * 2**40, 2**40], [0, 2**40]]).scores()
    assert scores["iou"] == [0.75, 0.5]


@pytest.mark.parametrize("size", [2, 20, 151])
def test_both_ways_to_count_agree(size):
    n = 40_000  # more than one chunk, and not a multiple of it
    rows, columns = (jnp.asarray(RNG.integers(0, size, n), jnp.int32) for _ in range(2))
    valid = jnp.asarray(RNG.uniform(size=n) > 0.1)
    expected = np.zeros((size, size), int)
    np.add.at(expected, (np.asarray(rows)[valid], np.asarray(columns)[valid]), 1)
    for count in (count_by_scatter, count_by_product):
        np.testing.assert_array_equal(jax.jit(functools.partial(count, size=size))(rows, columns, valid), expected)


def test_vmap_counts_each_image():
    separate = jax.jit(jax.vmap(lambda p, y: ConfusionMatrix.empty(5).update(p[None], y[None])))(
        jnp.asarray(PREDICTION), jnp.asarray(LABELS)
    )
    for i in range(2):
        one = jax.tree.map(lambda words, i=i: words[i], separate)
        np.testing.assert_array_equal(
            one.counts(), matrix_of(jnp.asarray(PREDICTION[i : i + 1]), jnp.asarray(LABELS[i : i + 1])).counts()
        )


def test_it_is_carried_by_scan():
    def step(matrix, batch):
        return matrix.update(*batch), None

    batches = jnp.asarray(PREDICTION)[:, None], jnp.asarray(LABELS)[:, None]
    matrix = jax.jit(lambda batches: jax.lax.scan(step, ConfusionMatrix.empty(5), batches)[0])(batches)
    np.testing.assert_array_equal(matrix.counts(), matrix_of(jnp.asarray(PREDICTION), jnp.asarray(LABELS)).counts())


def test_errors():
    with pytest.raises(InputError, match=r"num_classes=256 must be from 1 to 255: the label 255 means void"):
        ConfusionMatrix.empty(256)
    with pytest.raises((InputError, TypeError), match=r"jnp.argmax\(logits, -1\)|prediction"):
        ConfusionMatrix.empty(3).update(jnp.zeros((1, 2, 2), int), jnp.zeros((1, 2, 3), int))
