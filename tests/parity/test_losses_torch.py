"""Losses and metrics against PyTorch, segmentation_models.pytorch (smp) and torchmetrics, values and gradients.

Where one of them treats void otherwise, the test says how, and asserts it: the difference is known, not overlooked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import require, torch

from jaxseg import losses
from jaxseg.metrics import CalibrationError, ConfusionMatrix

smp = require("segmentation_models_pytorch")
torchmetrics = require("torchmetrics")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 20, 24, 5)).astype(np.float32) * 2
CLEAN = RNG.integers(0, 4, (3, 20, 24))  # class 4 is absent
VOID = CLEAN.copy()
VOID[0, :5] = 255
WEIGHTS = (1.0, 2.0, 0.5, 0.25, 3.0)
F = torch.nn.functional


def theirs(loss, labels, x=X):
    logits = torch.tensor(x).permute(0, 3, 1, 2).contiguous().requires_grad_()
    value = loss(logits, torch.tensor(labels))
    value.backward()
    return value.item(), logits.grad.permute(0, 2, 3, 1).numpy()


def ours(loss, labels, x=X):
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(x), jnp.asarray(labels))
    return float(value), np.asarray(gradient)


def assert_same(actual, expected, scale=1.0):
    assert actual[0] == pytest.approx(scale * expected[0], rel=3e-6)
    np.testing.assert_allclose(actual[1], scale * expected[1], atol=1e-4 * np.abs(expected[1]).max())


MANY_CLASSES = {
    "cross entropy": (functools.partial(F.cross_entropy, ignore_index=255), losses.cross_entropy),
    "class weights": (
        functools.partial(F.cross_entropy, ignore_index=255, weight=torch.tensor(WEIGHTS)),
        functools.partial(losses.cross_entropy, class_weights=WEIGHTS, reduction="weighted_mean"),
    ),
    "label smoothing": (
        functools.partial(F.cross_entropy, ignore_index=255, weight=torch.tensor(WEIGHTS), label_smoothing=0.1),
        functools.partial(losses.cross_entropy, class_weights=WEIGHTS, reduction="weighted_mean", label_smoothing=0.1),
    ),
    "lovasz": (smp.losses.LovaszLoss("multiclass", ignore_index=255), losses.lovasz_softmax),
    "lovasz per image": (
        smp.losses.LovaszLoss("multiclass", per_image=True, ignore_index=255),
        functools.partial(losses.lovasz_softmax, per_image=True),
    ),
}


@pytest.mark.parametrize("name", MANY_CLASSES)
def test_many_classes_with_void(name):
    reference, loss = MANY_CLASSES[name]
    assert_same(ours(loss, VOID), theirs(reference, VOID))


REGIONS = {
    # smp's Dice is its Tversky score, so that its smoothing is half of ours.
    "dice": (functools.partial(smp.losses.DiceLoss, smooth=0.0), functools.partial(losses.dice, smoothing=0.0)),
    "smooth dice": (functools.partial(smp.losses.DiceLoss, smooth=1.0), functools.partial(losses.dice, smoothing=2.0)),
    "jaccard": (functools.partial(smp.losses.JaccardLoss, smooth=1.0), losses.jaccard),
    # Its alpha is the price of a false alarm, its gamma the inverse of the paper's.
    "tversky": (
        functools.partial(smp.losses.TverskyLoss, alpha=0.3, beta=0.9),
        functools.partial(losses.tversky, beta=0.3, alpha=0.9),
    ),
}


@pytest.mark.parametrize("name", REGIONS)
def test_regions_of_many_classes_with_void(name):
    """An absent class: smp drops its loss, but still divides by all classes; we divide by those that count."""
    reference, loss = REGIONS[name]
    expected = theirs(reference("multiclass", ignore_index=255), VOID)
    assert_same(ours(functools.partial(loss, classes="present"), VOID), expected, scale=5 / 4)


@pytest.mark.parametrize("name", REGIONS)
def test_regions_of_a_binary_problem_with_void(name):
    reference, loss = REGIONS[name]
    labels = np.where(VOID == 255, 255, VOID > 1).astype(np.int64)
    expected = theirs(lambda x, y: reference("binary", ignore_index=255)(x, y[:, None]), labels, X[..., :1])
    assert_same(ours(loss, labels, X[..., :1]), expected)


def test_focal_tversky():
    """smp raises the mean over classes to its gamma, Abraham and Khan (and we) every class: equal for one class."""
    labels = (CLEAN > 1).astype(np.int64)
    reference = smp.losses.TverskyLoss("binary", alpha=0.3, beta=0.7, gamma=0.75)
    expected = theirs(lambda x, y: reference(x, y[:, None]), labels, X[..., :1])
    assert_same(ours(functools.partial(losses.tversky, beta=0.3, gamma=4 / 3), labels, X[..., :1]), expected)
    assert theirs(smp.losses.TverskyLoss("multiclass", gamma=0.75), CLEAN)[0] != pytest.approx(
        ours(functools.partial(losses.tversky, gamma=4 / 3, classes="present"), CLEAN)[0], rel=1e-3
    )


BINARY = {
    "cross entropy": (F.binary_cross_entropy_with_logits, losses.cross_entropy),
    "weighted": (
        functools.partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(3.0)),
        functools.partial(losses.weighted_cross_entropy, beta=3.0),
    ),
    "focal": (functools.partial(smp.losses.FocalLoss("binary", alpha=0.25, gamma=2.0)), losses.focal),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_without_void(name):
    reference, loss = BINARY[name]
    labels = (CLEAN > 1).astype(np.int64)
    expected = theirs(lambda x, y: reference(x[:, 0], y.float()), labels, X[..., :1])
    assert_same(ours(loss, labels, X[..., :1]), expected)


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_hinge_with_void(per_image):
    labels = np.where(VOID == 255, 255, VOID > 1).astype(np.int64)
    expected = theirs(smp.losses.LovaszLoss("binary", per_image=per_image, ignore_index=255), labels, X[..., :1])
    assert_same(ours(functools.partial(losses.lovasz_hinge, per_image=per_image), labels, X[..., :1]), expected)


def test_binary_focal_with_void():
    labels = np.where(VOID == 255, 255, VOID > 1).astype(np.int64)
    reference = smp.losses.FocalLoss("binary", alpha=0.25, gamma=2.0, ignore_index=255)
    assert_same(ours(losses.focal, labels, X[..., :1]), theirs(reference, labels, X[..., :1]))


def test_their_soft_bce_divides_by_void_pixels_too():
    labels = np.where(VOID == 255, 255, VOID > 1).astype(np.int64)
    reference = smp.losses.SoftBCEWithLogitsLoss(ignore_index=255)
    expected = theirs(lambda x, y: reference(x[:, 0], y.float()), labels, X[..., :1])
    assert_same(ours(losses.cross_entropy, labels, X[..., :1]), expected, scale=labels.size / (labels != 255).sum())


def test_their_multiclass_focal_is_one_sigmoid_per_class():
    """Ours is of the softmax, of which cross entropy is the special case; theirs is the mean of binary losses."""
    expected = theirs(smp.losses.FocalLoss("multiclass", alpha=0.25, gamma=2.0), CLEAN)[0]
    binary = np.mean([ours(losses.focal, np.equal(CLEAN, c).astype(np.int64), X[..., c : c + 1])[0] for c in range(5)])
    assert expected == pytest.approx(binary, rel=1e-5)
    assert ours(losses.focal, CLEAN)[0] != pytest.approx(expected, rel=1e-2)


def test_all_void_is_nan_for_them_and_zero_for_us():
    nothing = np.full_like(CLEAN, 255)
    assert np.isnan(theirs(functools.partial(F.cross_entropy, ignore_index=255), nothing)[0])
    value, gradient = ours(losses.cross_entropy, nothing)
    assert value == 0
    assert (gradient == 0).all()


@functools.cache
def _scores():
    prediction = jnp.argmax(jnp.asarray(X[..., :4]), -1)
    return (
        ConfusionMatrix.empty(5).update(prediction, jnp.asarray(VOID)),
        torch.tensor(np.asarray(prediction)),
        torch.tensor(VOID),
    )


SCORES = {
    "miou": ("MulticlassJaccardIndex", {"average": "macro"}),
    "fwiou": ("MulticlassJaccardIndex", {"average": "weighted"}),
    "pixel_accuracy": ("MulticlassAccuracy", {"average": "micro"}),
}


@pytest.mark.parametrize("name", SCORES)
def test_mean_scores(name):
    matrix, prediction, labels = _scores()
    metric, options = SCORES[name]
    expected = getattr(torchmetrics.classification, metric)(5, ignore_index=255, **options)(prediction, labels)
    assert matrix.scores()[name] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("iou", "MulticlassJaccardIndex"),
        ("dice", "MulticlassF1Score"),
        ("class_accuracy", "MulticlassRecall"),
        ("precision", "MulticlassPrecision"),
    ],
)
def test_scores_per_class_but_for_the_absent_which_is_0_for_them(name, metric):
    matrix, prediction, labels = _scores()
    expected = getattr(torchmetrics.classification, metric)(5, ignore_index=255, average=None)(prediction, labels).numpy()
    np.testing.assert_allclose(matrix.scores()[name][:4], expected[:4], rtol=1e-6)
    assert np.isnan(matrix.scores()[name][4])
    assert expected[4] == 0


def test_counts():
    matrix, prediction, labels = _scores()
    expected = torchmetrics.classification.MulticlassConfusionMatrix(5, ignore_index=255)(prediction, labels).numpy()
    np.testing.assert_array_equal(matrix.counts()[:, :5], expected)


def test_calibration_error():
    reference = torchmetrics.classification.MulticlassCalibrationError(5, n_bins=15, norm="l1", ignore_index=255)
    expected = reference(torch.tensor(X).permute(0, 3, 1, 2), torch.tensor(VOID)).item()
    actual = jax.jit(lambda x, y: CalibrationError.empty(15).update(x, y))(jnp.asarray(X), jnp.asarray(VOID)).scores()
    assert actual["calibration_error"] == pytest.approx(expected, abs=2e-5)
