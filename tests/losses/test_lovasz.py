import functools

import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run

from jaxseg.errors import InputError
from jaxseg.losses import lovasz_hinge, lovasz_softmax
from jaxseg.losses.lovasz import _sorted_slopes

RNG = np.random.default_rng(4)
X = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32) * 2
LABELS = RNG.integers(0, 2, (2, 4, 5)).astype(np.uint8)  # class 2 is absent
LABELS[0, 1] = formulas.VOID
LABELS[1] = np.where(LABELS[1] == 1, 0, LABELS[1])  # class 1 is absent from the second image


def _softmax_losses(images, classes):
    valid = LABELS[images] != formulas.VOID
    q, labels = formulas.softmax(X.astype(float))[images][valid], LABELS[images][valid]
    values = []
    for c in range(3):
        foreground = labels == c
        if foreground.any() or classes == "all":
            values.append(formulas.lovasz_extension(np.abs(foreground - q[:, c]), foreground))
    return np.mean(values)


@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
def test_softmax_is_the_definition(classes, per_image):
    expected = np.mean([_softmax_losses(images, classes) for images in ([[0], [1]] if per_image else [[0, 1]])])
    actual = run(lovasz_softmax, np.asarray(X), np.asarray(LABELS), classes=classes, per_image=per_image)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("per_image", [False, True])
def test_hinge_is_the_definition_with_one_logit_and_with_two(per_image):
    values = []
    for images in [[0], [1]] if per_image else [[0, 1]]:
        valid = LABELS[images] != formulas.VOID
        foreground = LABELS[images][valid] == 1
        margin = 1 - np.where(foreground, 1, -1) * X[images][valid][:, 0].astype(float)
        values.append(formulas.lovasz_extension(np.maximum(margin, 0), foreground))
    one = np.asarray(X[..., :1])
    np.testing.assert_allclose(run(lovasz_hinge, one, np.asarray(LABELS), per_image=per_image), np.mean(values), rtol=1e-5)
    two = np.concatenate([np.full_like(one, 0.25), one + 0.25], -1)
    np.testing.assert_allclose(run(lovasz_hinge, two, np.asarray(LABELS), per_image=per_image), np.mean(values), rtol=1e-5)


def test_binary_softmax_is_of_the_foreground_unless_told_otherwise():
    one, labels = np.asarray(X[:1, ..., :1]), np.asarray(LABELS[:1])
    foreground = run(lovasz_softmax, one, labels)
    np.testing.assert_allclose(run(lovasz_softmax, np.concatenate([-one, one], -1) / 2, labels), foreground, rtol=1e-6)
    swapped = np.where(labels == formulas.VOID, labels, 1 - labels)
    both = (foreground + run(lovasz_softmax, -one, swapped)) / 2
    np.testing.assert_allclose(run(lovasz_softmax, one, labels, class_weights=(1.0, 1.0)), both, rtol=1e-6)


def test_hard_errors_give_the_jaccard_loss_itself():
    foreground = RNG.integers(0, 2, 50).astype(bool)
    wrong = RNG.integers(0, 2, 50).astype(bool)
    errors = np.asarray(wrong, np.float32)
    slopes = jax.jit(_sorted_slopes)(errors, foreground, np.ones(50, np.float32))
    np.testing.assert_allclose(np.sum(errors * slopes), formulas.jaccard_of_set(wrong, foreground), rtol=1e-6)


def test_pixel_weights_are_repeated_pixels_and_ties_share():
    x, labels = np.asarray(X[:1]), np.asarray(LABELS[:1])
    weights = np.ones((1, 4, 5), np.float32)
    weights[:, 2:] = 2
    repeated = np.concatenate([x, x[:, 2:]], 1), np.concatenate([labels, labels[:, 2:]], 1)
    np.testing.assert_allclose(run(lovasz_softmax, x, labels, weights), run(lovasz_softmax, *repeated), rtol=1e-6)
    weighted, copies = (
        run(lovasz_softmax, x, labels, weights, function=jax.grad),
        run(lovasz_softmax, *repeated, function=jax.grad),
    )
    expected = np.array(copies[:, :4])
    expected[:, 2:] += copies[:, 4:]
    np.testing.assert_allclose(weighted, expected, atol=1e-7)


def test_gradient_is_that_of_finite_differences():
    x, labels = np.asarray(X), np.asarray(LABELS)
    gradient = np.asarray(run(lovasz_softmax, x, labels, function=jax.grad), float)
    direction = RNG.normal(size=X.shape).astype(np.float32)
    step = 1e-3
    difference = run(lovasz_softmax, x + step * direction, labels) - run(lovasz_softmax, x - step * direction, labels)
    np.testing.assert_allclose((gradient * direction).sum(), difference / (2 * step), rtol=1e-2)


def test_slopes_keep_their_digits_among_a_million_pixels():
    n = 1_000_000
    errors = np.linspace(1, 1e-6, n, dtype=np.float32)
    foreground = np.arange(n) % 3 == 0
    slopes = np.asarray(jax.jit(_sorted_slopes)(errors, foreground, np.ones(n, np.float32)), float)
    total = foreground.sum()
    left, union = total - np.cumsum(foreground), total + np.cumsum(~foreground)
    expected = np.diff(1 - left / union, prepend=0.0)
    np.testing.assert_allclose(slopes, expected, rtol=1e-4)
    np.testing.assert_allclose(slopes.sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("loss", [lovasz_softmax, lovasz_hinge, functools.partial(lovasz_softmax, classes="all")])
def test_no_foreground_and_no_pixels(loss):
    x = np.asarray(X[..., :1])
    value, gradient = run(loss, x, np.full((2, 4, 5), 255), function=jax.value_and_grad)
    assert value == 0
    assert (gradient == 0).all()
    background, _ = run(loss, x, np.zeros((2, 4, 5), int), function=jax.value_and_grad)
    largest = {
        "per_image": np.maximum(1 + X[..., 0], 0).max((1, 2)).mean(),
        "all": formulas.sigmoid(X[..., 0]).max(),
        "present": 0.0,
    }
    kind = "per_image" if loss is lovasz_hinge else "present" if loss is lovasz_softmax else "all"
    np.testing.assert_allclose(background, largest[kind], rtol=1e-6)


def test_errors():
    with pytest.raises(InputError, match=r"lovasz_hinge is for one logit or two, and there are 3: use lovasz_softmax"):
        lovasz_hinge(jnp.asarray(X), jnp.asarray(LABELS))
    with pytest.raises((InputError, TypeError), match=r"class indices: take the argmax of soft labels|labels"):
        lovasz_softmax(jnp.asarray(X), jax.nn.one_hot(LABELS, 3))
