"""What must hold for the confusion matrix and its companions, whatever the pixels are."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxseg import losses
from jaxseg.metrics import BoundaryF1, CalibrationError, ConfusionMatrix, wide

K = 3
SMALL = settings(max_examples=30, deadline=None, derandomize=True)
LABELS = arrays.arrays(np.uint8, (2, 4, 5), elements=st.sampled_from([0, 1, 2, 255]))
PREDICTION = arrays.arrays(np.int32, (2, 4, 5), elements=st.integers(0, K))
COUNTS = arrays.arrays(np.uint64, (3, K, K), elements=st.integers(0, 2**61))


@jax.jit
def update(prediction, labels):
    logits = 3 * jax.nn.one_hot(prediction, K)
    return (
        ConfusionMatrix.empty(K).update(prediction, labels),
        BoundaryF1.empty(K, 0.2).update(prediction, labels),
        CalibrationError.empty(4).update(logits, labels),
    )


@jax.jit
def merge(a, b):
    return tuple(x.merge(y) for x, y in zip(a, b))


@SMALL
@given(PREDICTION, LABELS, PREDICTION, LABELS, PREDICTION, LABELS)
def test_merge_is_associative_and_commutative_and_empty_is_neutral(p1, y1, p2, y2, p3, y3):
    a, b, c = update(p1, y1), update(p2, y2), update(p3, y3)
    chex.assert_trees_all_equal(merge(merge(a, b), c), merge(a, merge(b, c)))
    chex.assert_trees_all_equal(merge(a, b), merge(b, a))
    empty = ConfusionMatrix.empty(K), BoundaryF1.empty(K, 0.2), CalibrationError.empty(4)
    chex.assert_trees_all_equal(merge(a, empty), a)


@SMALL
@given(COUNTS)
def test_merge_is_exact_for_any_counts(counts):
    def matrix(words):
        words = np.pad(words, ((0, 1), (0, 1)))
        return ConfusionMatrix(
            wide.Wide(jnp.asarray(words >> np.uint64(32), jnp.uint32), jnp.asarray(words & np.uint64(2**32 - 1), jnp.uint32))
        )

    total = matrix(counts[0]).merge(matrix(counts[1])).merge(matrix(counts[2])).counts()
    np.testing.assert_array_equal(total[:, :K], counts.sum(0))


@SMALL
@given(PREDICTION, LABELS, PREDICTION)
def test_predictions_at_void_count_nowhere(prediction, labels, other):
    chex.assert_trees_all_equal(update(np.where(labels == 255, other, prediction), labels), update(prediction, labels))


@SMALL
@given(PREDICTION, LABELS)
def test_every_valid_pixel_is_counted_once(prediction, labels):
    assert update(prediction, labels)[0].counts().sum() == (labels != 255).sum()


@SMALL
@given(PREDICTION, LABELS)
def test_scores_are_shares_and_perfect_for_the_labels_themselves(prediction, labels):
    for metric in update(prediction, labels):
        for name, score in metric.scores().items():
            some = np.array(score)[~np.isnan(score)]
            assert ((some >= 0) & (some <= 1)).all(), name
    perfect = update(labels.astype(np.int32), labels)[0].scores()
    for score in perfect.values():
        assert np.isin(np.array(score)[~np.isnan(score)], 1.0).all()


@SMALL
@given(PREDICTION, LABELS)
def test_dice_is_two_iou_over_one_plus_iou(prediction, labels):
    scores = update(prediction, labels)[0].scores()
    iou = np.array(scores["iou"])
    np.testing.assert_allclose(scores["dice"], 2 * iou / (1 + iou), rtol=1e-12)
    np.testing.assert_array_less(np.nan_to_num(iou), np.nan_to_num(scores["dice"]) + 1e-12)


@jax.jit
def _hard_losses(prediction, labels):
    logits = 200.0 * jax.nn.one_hot(prediction, K)  # a probability of 1 in float32
    weights = [tuple(float(i == c) for i in range(K)) for c in range(K)]
    made = {"iou": losses.jaccard, "dice": losses.dice, "lovasz": losses.lovasz_softmax}
    options = {"iou": {"smoothing": 0.0}, "dice": {"smoothing": 0.0}, "lovasz": {"classes": "all"}}
    return {name: [loss(logits, labels, class_weights=w, **options[name]) for w in weights] for name, loss in made.items()}


@SMALL
@given(arrays.arrays(np.int32, (2, 4, 5), elements=st.integers(0, K - 1)), LABELS)
def test_region_losses_of_hard_predictions_are_one_minus_the_scores(prediction, labels):
    scores, hard = update(prediction, labels)[0].scores(), _hard_losses(prediction, labels)
    for name, score in (("iou", "iou"), ("lovasz", "iou"), ("dice", "dice")):
        expected = np.array(scores[score])
        some = ~np.isnan(expected)
        np.testing.assert_allclose(np.array(hard[name])[some], 1 - expected[some], rtol=1e-5, atol=1e-6, err_msg=name)


@SMALL
@given(PREDICTION, LABELS, st.permutations(range(K)))
def test_classes_may_be_renamed(prediction, labels, order):
    order = np.array(order)
    table = np.append(np.argsort(order), [K] * (256 - K))
    renamed = np.where(labels == 255, 255, table[labels]).astype(np.uint8)
    before, after = update(prediction, labels)[0].scores(), update(table[prediction].astype(np.int32), renamed)[0].scores()
    np.testing.assert_array_equal(np.array(before["iou"])[order], after["iou"])
    np.testing.assert_allclose(before["miou"], after["miou"], rtol=1e-12)
    assert before["pixel_accuracy"] == after["pixel_accuracy"] or np.isnan(before["pixel_accuracy"])
