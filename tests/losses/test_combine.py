import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run

from jaxseg import losses
from jaxseg.describe import from_json, to_json
from jaxseg.errors import InputError
from jaxseg.losses.combine import sum_of_losses
from jaxseg.override import override

RNG = np.random.default_rng(5)
X = np.asarray(RNG.normal(size=(2, 4, 5, 3)), np.float32)
LABELS = RNG.integers(0, 3, (2, 4, 5)).astype(np.uint8)
LABELS[0, 0] = 255
WEIGHTS = np.asarray(RNG.uniform(0.5, 2, (2, 4, 5)), np.float32)
LOSS = losses.weighted_sum((1.0, losses.cross_entropy), (0.5, functools.partial(losses.dice, smoothing=0.0)))


def test_it_is_the_sum_and_hands_pixel_weights_to_every_term():
    entropy, overlap = run(losses.cross_entropy, X, LABELS, WEIGHTS), run(losses.dice, X, LABELS, WEIGHTS, smoothing=0.0)
    np.testing.assert_allclose(jax.jit(LOSS)(X, LABELS, pixel_weights=WEIGHTS), entropy + 0.5 * overlap, rtol=1e-6)


def test_terms_need_not_know_of_pixel_weights_that_are_not_given():
    assert (
        losses.weighted_sum((2, lambda logits, labels: jnp.mean(logits)))(jnp.ones((1, 2, 2, 3)), jnp.zeros((1, 2, 2), int)) == 2
    )


def test_a_config_can_write_it_down_and_override_it():
    assert isinstance(LOSS, functools.partial)
    assert LOSS.func is sum_of_losses
    hash(tuple(LOSS.keywords.items()))
    read = from_json(json.loads(json.dumps(to_json(LOSS))))
    assert to_json(read) == to_json(LOSS)
    changed = override({"loss": read}["loss"], ["terms.1.0=0.25", "terms.1.1.smoothing=1.0", "terms.0.1=jaxseg.losses.focal"])
    expected = run(losses.focal, X, LABELS) + 0.25 * run(losses.dice, X, LABELS)
    np.testing.assert_allclose(jax.jit(changed)(X, LABELS), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "argument", "good", "bad"),
    [
        (losses.focal, "gamma", "3", "high"),
        (losses.dice, "smoothing", "0", "None"),
        (losses.tversky, "alpha", "None", "much"),
        (losses.cross_entropy, "class_weights", "(1.0, 2.0)", "heavy"),
        (losses.cross_entropy, "reduction", "weighted_mean", "median"),
        (losses.jaccard, "classes", "present", "some"),
    ],
)
def test_arguments_can_be_overridden_and_are_checked(loss, argument, good, bad):
    assert override(loss, [f"{argument}={good}"]).keywords.keys() == {argument}
    with pytest.raises(InputError, match=f"--set {argument}={bad}"):
        override(loss, [f"{argument}={bad}"])


def test_errors():
    with pytest.raises(InputError, match=r"weighted_sum needs at least one pair"):
        losses.weighted_sum()
    with pytest.raises(InputError, match=r"takes pairs \(weight, loss\), such as \(0.5, losses.dice\), and got \(nan, "):
        losses.weighted_sum((float("nan"), losses.dice))
    with pytest.raises((InputError, TypeError)):
        losses.weighted_sum((losses.dice, 1.0))
