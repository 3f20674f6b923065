import functools

import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run

from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy, focal, ohem_cross_entropy

RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 4, 5, 1)).astype(np.float32) * 3
LABELS = RNG.integers(0, 2, (2, 4, 5)).astype(np.uint8)
SOFT = RNG.uniform(size=(2, 4, 5, 1)).astype(np.float32)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.8, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_focal_is_the_formula_with_one_logit_and_with_two(alpha, gamma, soft):
    p = SOFT[..., 0] if soft else LABELS
    expected = formulas.fl(p.astype(float), formulas.sigmoid(X[..., 0].astype(float)), alpha, gamma)
    labels = np.asarray(SOFT if soft else LABELS)
    two_labels = np.concatenate([1 - SOFT, SOFT], -1) if soft else labels
    loss = functools.partial(focal, alpha=alpha, gamma=gamma, reduction="none")
    np.testing.assert_allclose(run(loss, np.asarray(X), labels), expected, rtol=1e-5, atol=1e-6)
    if gamma == 2:
        two = np.concatenate([np.full_like(X, -0.3), X - 0.3], -1)
        np.testing.assert_allclose(run(loss, two, two_labels), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_focal_of_many_classes(soft):
    x = RNG.normal(size=(1, 4, 5, 3)).astype(np.float32) * 2
    labels = RNG.integers(0, 3, (1, 4, 5))
    own = np.take_along_axis(formulas.softmax(x.astype(float)), labels[..., None], -1)[..., 0]
    weights = np.array([1.0, 2.0, 0.5])[labels]
    expected = (0.3 * weights * (1 - own) ** 1.5 * -np.log(own)).mean()
    given = formulas.one_hot(labels, 3) if soft else np.asarray(labels)
    actual = run(focal, np.asarray(x), given, alpha=0.3, gamma=1.5, class_weights=(1.0, 2.0, 0.5))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 2.0])
def test_focal_gradient_is_finite_where_the_prediction_is_perfect(gamma):
    x = np.array([0.0, 30.0, 200.0, 1e4, -1e4]).reshape(1, 1, 5, 1)
    gradient = run(focal, x, np.ones((1, 1, 5), int), function=jax.grad, gamma=gamma)
    assert np.isfinite(gradient).all()
    assert gradient[0, 0, 4, 0] < 0
    assert gradient[0, 0, 3, 0] == 0


def test_focal_refuses_a_negative_gamma():
    with pytest.raises(InputError, match=r"gamma=-1.0 must be at least 0"):
        focal(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2), int), gamma=-1.0)


def _ohem(nll, valid, threshold, min_kept):
    """Sort, then keep: what the loss must be, in plain words."""
    count = int(np.ceil(min_kept * valid.sum()))
    hardest = np.sort(nll[valid])[::-1]
    kept = valid & ((nll >= -np.log(threshold)) | ((nll >= hardest[count - 1]) if count else False))
    return nll[kept].mean() if kept.any() else 0.0


@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 0.0), (1e-3, 0.01), (1e-3, 0.3), (0.7, 0.3), (1e-3, 1.0)])
def test_ohem_keeps_the_hardest(min_kept, threshold):
    x = RNG.normal(size=(2, 6, 7, 3)).astype(np.float32) * 2
    labels = RNG.integers(0, 3, (2, 6, 7)).astype(np.uint8)
    labels[0, 0] = formulas.VOID
    valid = labels != formulas.VOID
    nll = np.asarray(run(cross_entropy, np.asarray(x), np.asarray(labels), reduction="none"))
    actual = run(ohem_cross_entropy, np.asarray(x), np.asarray(labels), threshold=threshold, min_kept=min_kept)
    np.testing.assert_allclose(actual, _ohem(nll, valid, threshold, min_kept), rtol=1e-6)


def test_ohem_gradient_is_zero_at_dropped_pixels_and_weights_do_not_choose():
    x = np.log(np.array([[[[0.95, 0.05], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]]]))
    labels = np.zeros((1, 1, 4), np.int32)
    loss = functools.partial(ohem_cross_entropy, min_kept=0.25, class_weights=(2.0, 1.0))
    value, gradient = run(loss, x, labels, np.array([[[100.0, 1.0, 1.0, 1.0]]]), function=jax.value_and_grad)
    np.testing.assert_allclose(value, -2 * (np.log(0.6) + np.log(0.2)) / 2, rtol=1e-6)
    gradient = np.asarray(gradient)[0, 0, :, 0]
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[[1, 3]] < 0).all()


def test_ohem_takes_soft_labels_and_all_void():
    x = np.asarray(RNG.normal(size=(1, 3, 4, 3)), np.float32)
    labels = np.asarray(RNG.integers(0, 3, (1, 3, 4)))
    soft, hard = run(ohem_cross_entropy, x, formulas.one_hot(labels, 3)), run(ohem_cross_entropy, x, labels)
    np.testing.assert_allclose(soft, hard, rtol=1e-6)
    assert run(ohem_cross_entropy, x, np.full_like(labels, 255)) == 0.0


def test_ohem_refuses_shares_outside_their_range():
    with pytest.raises(InputError, match=r"min_kept=100000.0, a share of the pixels, in \[0, 1\]"):
        ohem_cross_entropy(jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 2, 2), int), min_kept=100000.0)
