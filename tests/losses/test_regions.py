import functools

import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run

from jaxseg.errors import InputError
from jaxseg.losses import dice, jaccard, tversky
from jaxseg.losses.overlap import overlap
from jaxseg.losses.targets import prepare

# The worked example of the lecture: a prediction whose lower half is the object.
PREDICTION = np.array([[0.01, 0.03, 0.02, 0.02], [0.05, 0.12, 0.09, 0.07], [0.89, 0.85, 0.88, 0.91], [0.99, 0.97, 0.95, 0.97]])
TARGET = np.repeat([0, 0, 1, 1], 4).reshape(4, 4)
LOGITS = np.asarray(np.log(PREDICTION / (1 - PREDICTION)), np.float32)[None, ..., None]
LABELS = np.asarray(TARGET, np.uint8)[None]

RNG = np.random.default_rng(2)
X = RNG.normal(size=(3, 5, 6, 4)).astype(np.float32) * 2
MANY = RNG.integers(0, 3, (3, 5, 6)).astype(np.uint8)  # class 3 is absent
MANY[0, :2] = formulas.VOID
WEIGHTS = RNG.uniform(0.5, 2, MANY.shape).astype(np.float32)


def test_the_lectures_worked_example():
    sums = jax.jit(lambda x, y: overlap(prepare(x, y), per_image=False, foreground=True))(LOGITS, LABELS)
    np.testing.assert_allclose(sums.hits, 7.41, rtol=1e-6)  # intersection
    np.testing.assert_allclose(sums.hits + sums.alarms, 7.82, rtol=1e-6)  # sum of the prediction
    assert sums.labelled == 8
    np.testing.assert_allclose(run(dice, LOGITS, LABELS, smoothing=0.0), 1 - 2 * 7.41 / (7.82 + 8), rtol=1e-5)
    np.testing.assert_allclose(run(dice, LOGITS, LABELS), 1 - (2 * 7.41 + 1) / (7.82 + 8 + 1), rtol=1e-5)
    squares = (PREDICTION**2).sum()
    np.testing.assert_allclose(squares, 6.9132, rtol=1e-6)
    np.testing.assert_allclose(run(dice, LOGITS, LABELS, smoothing=0.0, squared=True), 1 - 2 * 7.41 / (squares + 8), rtol=1e-5)


BINARY = {
    "dice": (dice, formulas.dl),
    "squared dice": (functools.partial(dice, squared=True), functools.partial(formulas.dl, squared=True)),
    "tversky": (functools.partial(tversky, beta=0.3), lambda p, q: 1 - formulas.ti(p, q, 0.3)),
    "tversky, alpha and beta": (functools.partial(tversky, beta=0.3, alpha=0.9), lambda p, q: 1 - formulas.ti(p, q, 0.3, 0.9)),
    "focal tversky": (functools.partial(tversky, beta=0.3, gamma=4 / 3), lambda p, q: (1 - formulas.ti(p, q, 0.3)) ** 0.75),
    "jaccard": (functools.partial(jaccard, smoothing=0.0), lambda p, q: 1 - formulas.iou(p, q)),
    "smooth jaccard": (jaccard, lambda p, q: 1 - formulas.iou(p, q, 1.0)),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("soft", [False, True])
def test_binary_form_is_the_formula_with_one_logit_and_with_two(name, soft):
    loss, formula = BINARY[name]
    p = RNG.uniform(size=(1, 4, 4, 1)).astype(np.float32) if soft else np.asarray(LABELS)
    expected = formula((p[..., 0] if soft else p).astype(float), PREDICTION[None])
    np.testing.assert_allclose(run(loss, LOGITS, np.asarray(p)), expected, rtol=2e-5)
    if not soft:
        two = np.concatenate([np.full_like(LOGITS, 0.4), LOGITS + 0.4], -1)
        np.testing.assert_allclose(run(loss, two, LABELS), expected, rtol=2e-5)


def _per_class(formula, images):
    """Each class's loss over the given images: only valid pixels, by boolean indexing rather than by masks."""
    valid = MANY[images] != formulas.VOID
    q, labels = formulas.softmax(X.astype(float))[images][valid], MANY[images][valid]
    return [formula((labels == c).astype(float), q[:, c]) for c in range(4)]


@pytest.mark.parametrize("name", ["dice", "squared dice", "smooth jaccard"])
@pytest.mark.parametrize(
    ("classes", "per_image", "soft"), [("all", False, False), ("present", True, False), ("present", False, True)]
)
def test_many_classes(name, classes, per_image, soft):
    loss, formula = BINARY[name]
    class_weights = np.array([1.0, 2.0, 0.5, 3.0])
    keep = slice(None) if classes == "all" else slice(3)
    losses = [
        np.average(_per_class(formula, images)[keep], weights=class_weights[keep])
        for images in ([[0], [1], [2]] if per_image else [[0, 1, 2]])
    ]
    labels = formulas.one_hot(MANY, 4) if soft else np.asarray(MANY)
    actual = run(loss, np.asarray(X), labels, classes=classes, per_image=per_image, class_weights=(1.0, 2.0, 0.5, 3.0))
    np.testing.assert_allclose(actual, np.mean(losses), rtol=1e-5)


def test_both_classes_of_a_binary_problem():
    both = run(dice, LOGITS, LABELS, class_weights=(1.0, 1.0))
    np.testing.assert_allclose(both, (run(dice, LOGITS, LABELS) + run(dice, -LOGITS, 1 - LABELS)) / 2, rtol=1e-6)


def test_pixel_weights_are_repeated_pixels():
    doubled = np.concatenate([LOGITS, LOGITS[:, :2]], 1), np.concatenate([LABELS, LABELS[:, :2]], 1)
    weights = np.array([2.0, 2.0, 1.0, 1.0])[None, :, None] * np.ones((1, 4, 4))
    for loss in (dice, tversky):
        np.testing.assert_allclose(run(loss, LOGITS, LABELS, weights), run(loss, *doubled), rtol=1e-6)


def test_images_without_a_valid_pixel_are_not_averaged_in():
    labels = MANY.copy()
    labels[1] = formulas.VOID
    rest = np.array([0, 2])
    expected = run(dice, np.asarray(X)[rest], labels[rest], per_image=True)
    np.testing.assert_allclose(run(dice, np.asarray(X), labels, per_image=True), expected, rtol=1e-6)


def test_an_absent_class_pushes_its_probability_down_if_all_count():
    labels = np.zeros((1, 4, 4), np.uint8)
    np.testing.assert_allclose(run(dice, LOGITS, labels), 1 - 1 / (7.82 + 1), rtol=1e-6)
    assert run(dice, LOGITS, labels, function=jax.grad).min() > 0
    assert run(dice, LOGITS, labels, classes="present") == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-8, 1.0])
@pytest.mark.parametrize("loss", [functools.partial(dice, smoothing=0.0), tversky, functools.partial(tversky, gamma=4 / 3)])
def test_gradient_without_smoothing_is_finite_however_small_the_region(loss, scale):
    x = np.full((1, 2, 2, 1), np.log(scale), np.float32)
    value, gradient = run(loss, x, np.zeros((1, 2, 2), int), function=jax.value_and_grad)
    assert 0 <= value <= 1
    assert np.isfinite(gradient).all()


def test_sums_are_exact_enough_for_a_large_batch():
    x, labels = np.full((4, 512, 512, 1), -2.0, np.float32), np.zeros((4, 512, 512), np.uint8)
    x[:, ::2], labels[:, :, ::3] = 3.0, 1
    expected = formulas.dl(np.asarray(labels, float), formulas.sigmoid(np.asarray(x[..., 0], float)))
    np.testing.assert_allclose(run(dice, x, labels), expected, rtol=1e-6)


def test_errors():
    with pytest.raises(InputError, match=r"gamma=0.0 must be positive"):
        tversky(jnp.asarray(LOGITS), jnp.asarray(LABELS), gamma=0.0)
    with pytest.raises(InputError, match=r"class_weights has 3 numbers for 2 classes: give one per class"):
        dice(jnp.asarray(LOGITS), jnp.asarray(LABELS), class_weights=(1.0, 1.0, 1.0))
    with pytest.raises((InputError, TypeError), match="classes"):
        dice(jnp.asarray(LOGITS), jnp.asarray(LABELS), classes="those present")
