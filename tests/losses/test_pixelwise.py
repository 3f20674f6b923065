import functools

import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run

from jaxseg.errors import InputError
from jaxseg.losses import balanced_cross_entropy, cross_entropy, weighted_cross_entropy

SHAPE = (2, 4, 5)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, SHAPE).astype(np.uint8)
SOFT = RNG.uniform(size=(*SHAPE, 1)).astype(np.float32)
X = RNG.normal(size=(*SHAPE, 1)).astype(np.float32) * 3
Q = formulas.sigmoid(X[..., 0].astype(float))
BINARY = {
    "cross entropy": (cross_entropy, formulas.ce),
    "weighted": (functools.partial(weighted_cross_entropy, beta=2.5), functools.partial(formulas.wce, beta=2.5)),
    "balanced": (functools.partial(balanced_cross_entropy, beta=0.8), functools.partial(formulas.bce, beta=0.8)),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("soft", [False, True])
def test_binary_form_is_the_formula_with_one_logit_and_with_two(name, soft):
    loss, formula = BINARY[name]
    p = SOFT[..., 0] if soft else LABELS
    expected = formula(p.astype(float), Q)
    labels = np.asarray(SOFT if soft else LABELS)
    one = run(loss, np.asarray(X), labels, reduction="none")
    np.testing.assert_allclose(one, expected, rtol=2e-6, atol=1e-6)
    two = np.concatenate([np.full_like(X, 0.7), X + 0.7], -1)
    two_labels = np.concatenate([1 - SOFT, SOFT], -1) if soft else labels
    np.testing.assert_allclose(run(loss, two, two_labels), expected.mean(), rtol=1e-6)


def _many_classes():
    x = RNG.normal(size=(*SHAPE, 4)).astype(np.float32) * 3
    labels = RNG.integers(0, 4, SHAPE).astype(np.uint8)
    labels[0, :2] = formulas.VOID
    q = formulas.softmax(x.astype(float))
    own = np.take_along_axis(q, np.where(labels == formulas.VOID, 0, labels).astype(int)[..., None], -1)[..., 0]
    return x, labels, q, own


def test_many_classes_void_weights_and_the_three_reductions():
    x, labels, _, own = _many_classes()
    class_weights, valid = np.array([1.0, 0.5, 2.0, 0.25]), labels != formulas.VOID
    pixel_weights = RNG.uniform(0.5, 2, SHAPE).astype(np.float32)
    weights = np.where(valid, pixel_weights * class_weights[np.where(valid, labels, 0)], 0)
    loss = functools.partial(
        run, cross_entropy, np.asarray(x), np.asarray(labels), np.asarray(pixel_weights), class_weights=(1.0, 0.5, 2.0, 0.25)
    )
    expected = np.where(valid, -np.log(own) * weights, 0)
    np.testing.assert_allclose(loss(reduction="none"), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss(), expected.sum() / valid.sum(), rtol=1e-6)
    np.testing.assert_allclose(loss(reduction="weighted_mean"), expected.sum() / weights.sum(), rtol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_label_smoothing_is_cross_entropy_with_smoothed_labels(soft):
    x, labels, q, _ = _many_classes()
    p = np.eye(4)[np.where(labels == formulas.VOID, 0, labels)] * (labels != formulas.VOID)[..., None]
    smooth, class_weights = 0.9 * p + 0.1 / 4, np.array([1.0, 0.5, 2.0, 0.25])
    expected = -(smooth * class_weights * np.log(q)).sum(-1)[labels != formulas.VOID].mean()
    given = np.asarray(p, np.float32) if soft else np.asarray(labels)
    actual = run(cross_entropy, np.asarray(x), given, label_smoothing=0.1, class_weights=(1.0, 0.5, 2.0, 0.25))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_balanced_without_beta_weighs_each_pixel_by_the_rest_of_its_image(soft):
    x, labels, _, own = _many_classes()
    expected = []
    for image in range(2):
        valid = labels[image] != formulas.VOID
        for c in range(4):
            rest = 1 - (labels[image] == c).sum() / valid.sum()
            expected.extend(-rest * np.log(own[image][labels[image] == c]))
    given = formulas.one_hot(labels, 4) if soft else np.asarray(labels)
    np.testing.assert_allclose(run(balanced_cross_entropy, np.asarray(x), given), np.mean(expected), rtol=1e-6)


def test_balanced_without_beta_is_the_papers_for_two_classes():
    labels = np.zeros((1, 4, 5), np.uint8)
    labels[0, 0, :3] = 1
    beta = 17 / 20  # the share of negatives
    actual = run(balanced_cross_entropy, np.asarray(X[:1]), np.asarray(labels))
    np.testing.assert_allclose(actual, formulas.bce(labels.astype(float), Q[:1], beta).mean(), rtol=1e-6)


def test_perfect_prediction_of_large_logits_costs_nothing_and_a_wrong_one_their_difference():
    x = np.array([1e4, 1e4 - 40, -1e4]).reshape(1, 1, 1, 3)
    assert run(cross_entropy, x, np.array([[[0]]])) == 0.0
    assert run(cross_entropy, x, np.array([[[1]]])) == 40.0  # as log-sum-exp minus logit it would be off by 1e-3
    assert run(cross_entropy, x, np.array([[[2]]])) == 2e4
    np.testing.assert_allclose(run(cross_entropy, x[..., :2], np.array([[[1]]])), 40.0, rtol=1e-6)


def test_gradient_is_softmax_minus_label_in_both_modes_and_has_a_second_derivative():
    x, labels, q, _ = _many_classes()
    valid = (labels != formulas.VOID)[..., None]
    expected = (q - np.eye(4)[np.where(valid[..., 0], labels, 0)]) * valid / valid.sum()

    def loss(logits):
        return cross_entropy(logits, jnp.asarray(labels))

    logits = np.asarray(x)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, atol=1e-7)
    direction = np.asarray(RNG.normal(size=x.shape).astype(np.float32))
    slope = jax.jit(lambda x, d: jax.jvp(loss, (x,), (d,))[1])(logits, direction)
    np.testing.assert_allclose(slope, (expected * np.asarray(direction)).sum(), rtol=1e-4)
    # The Hessian of a pixel is diag(q) - q q^T.
    curvature = jax.jit(lambda x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1])(logits, direction)
    d = np.asarray(direction, float)
    np.testing.assert_allclose(curvature, valid * q * (d - (q * d).sum(-1, keepdims=True)) / valid.sum(), atol=1e-6)


def test_gradients_reach_soft_labels_and_pixel_weights():
    x, _, q, _ = _many_classes()
    p = np.asarray(formulas.softmax(RNG.normal(size=x.shape)), np.float32)
    ones = np.ones(SHAPE)
    gradients = jax.jit(jax.grad(lambda p, w: cross_entropy(jnp.asarray(x), p, pixel_weights=w), (0, 1)))
    by_labels, by_weights = gradients(p, ones)
    np.testing.assert_allclose(by_labels, -np.log(q) / ones.size, rtol=1e-4)
    np.testing.assert_allclose(by_weights, -(np.asarray(p) * np.log(q)).sum(-1) / ones.size, rtol=1e-4)


@pytest.mark.parametrize("loss", [weighted_cross_entropy, balanced_cross_entropy])
def test_beta_needs_a_positive_class(loss):
    with pytest.raises(
        InputError, match=r"beta=2.0 weighs class 1 of a binary problem .* there are 4 classes: give class_weights"
    ):
        loss(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), int), beta=2.0)


def test_unknown_reduction():
    with pytest.raises((InputError, TypeError), match="reduction"):
        cross_entropy(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), int), reduction="sum")
