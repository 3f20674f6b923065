import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import CalibrationError

RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=2)
def error_of(logits, labels, num_bins):
    return CalibrationError.empty(num_bins).update(logits, labels)


@pytest.mark.parametrize("num_bins", [1, 15])
def test_it_is_the_definition(num_bins):
    logits = RNG.normal(size=(2, 30, 40, 5)).astype(np.float32) * 2
    labels = RNG.integers(0, 5, (2, 30, 40)).astype(np.uint8)
    labels[0, :7] = 255
    valid = labels != 255
    q = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(-1, keepdims=True)
    confidence, hit = q.max(-1)[valid], (q.argmax(-1) == labels)[valid]
    expected, shares = 0.0, []
    for m in range(num_bins):
        inside = (confidence >= m / num_bins) & (confidence < (m + 1) / num_bins)
        shares.append(inside.mean())
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    scores = error_of(jnp.asarray(logits), jnp.asarray(labels), num_bins).scores()
    assert scores["calibration_error"] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(scores["bin_share"], shares, atol=1e-12)
    assert np.isnan(scores["bin_accuracy"]).tolist() == [share == 0 for share in shares]
    assert len(scores["bin_confidence"]) == num_bins


def test_a_binary_problem_has_one_logit_or_two():
    x = RNG.normal(size=(1, 10, 12, 1)).astype(np.float32)
    labels = jnp.asarray(RNG.integers(0, 2, (1, 10, 12)))
    one = error_of(jnp.asarray(x), labels, 10).scores()
    assert (
        error_of(jnp.concatenate([jnp.zeros_like(x), x], -1), labels, 10).scores()["calibration_error"]
        == one["calibration_error"]
    )
    q = 1 / (1 + np.exp(-np.abs(x[..., 0])))
    some = np.array(one["bin_share"]) > 0
    mean_confidence = np.nansum(np.array(one["bin_share"])[some] * np.array(one["bin_confidence"])[some])
    assert mean_confidence == pytest.approx(q.mean(), abs=1e-5)


def test_certainty_that_is_right_has_no_error_and_that_is_wrong_all():
    labels = jnp.array([[[0, 1]]])
    sure = 1e4 * jax.nn.one_hot(labels, 2)
    assert error_of(sure, labels, 15).scores()["calibration_error"] == 0
    assert error_of(-sure, labels, 15).scores()["calibration_error"] == 1


def test_nothing_is_nan():
    scores = CalibrationError.empty(3).scores()
    assert np.isnan(scores["calibration_error"])
    assert np.isnan(scores["bin_share"]).all()


def test_errors():
    with pytest.raises(InputError, match=r"num_bins=0 must be at least 1"):
        CalibrationError.empty(0)
    with pytest.raises(InputError, match=r"of 15 and 10 bins do not add up"):
        CalibrationError.empty().merge(CalibrationError.empty(10))
    with pytest.raises((InputError, TypeError), match=r"differ in batch, height or width|labels"):
        CalibrationError.empty().update(jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 3), int))
