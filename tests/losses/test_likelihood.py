"""The rules of differentiation, and the memory they save."""

import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.losses import cross_entropy, likelihood

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 5)).astype(np.float32) * 4


@pytest.mark.parametrize("channels", [1, 5])
def test_probabilities_and_likelihoods_of_all_classes(channels):
    x = X[..., :channels]
    expected = formulas.softmax(x.astype(float)) if channels > 1 else formulas.sigmoid(np.concatenate([-x, x], -1).astype(float))
    q, nll = jax.jit(lambda x: (likelihood.probabilities(x), likelihood.class_negative_log_likelihoods(x)))(x)
    np.testing.assert_allclose(q, expected, rtol=1e-5)
    np.testing.assert_allclose(nll, -np.log(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["probabilities", "class_negative_log_likelihoods"])
def test_derivatives_are_those_of_jax(name):
    plain = {"probabilities": jax.nn.softmax, "class_negative_log_likelihoods": lambda x: -jax.nn.log_softmax(x)}[name]
    direction, weights = (jnp.asarray(RNG.normal(size=X.shape), jnp.float32) for _ in range(2))

    def derivatives(function):
        def scalar(x):
            return jnp.sum(weights * function(x))

        return jax.jit(lambda x: (jax.jvp(function, (x,), (direction,))[1], jax.grad(scalar)(x), jax.hessian(scalar)(x)))(
            jnp.asarray(X)
        )

    for ours, theirs in zip(derivatives(getattr(likelihood, name)), derivatives(plain)):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_large_logits_lose_no_precision():
    x = np.array([1e4, 1e4 + 0.125, 1e4 - 1.0], np.float32)
    expected = formulas.softmax(np.array([0, 0.125, -1.0]))
    functions = likelihood.probabilities, likelihood.class_negative_log_likelihoods, jax.grad(likelihood.negative_log_likelihood)
    q, nll, slope = jax.jit(lambda x: (functions[0](x), functions[1](x), functions[2](x, jnp.array(0))))(x)
    np.testing.assert_allclose(q, expected, rtol=1e-6)
    np.testing.assert_allclose(nll, -np.log(expected), rtol=1e-6)
    np.testing.assert_allclose(slope, expected - [1, 0, 0], rtol=1e-5)


def plain_cross_entropy(logits, labels):
    """What one would write first: the log-softmax, one number of it per pixel, a masked mean."""
    valid = labels != formulas.VOID
    index = jnp.where(valid, labels, 0).astype(jnp.int32)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), index[..., None], -1)[..., 0]
    return jnp.sum(jnp.where(valid, nll, 0)) / jnp.sum(valid)


def copies(loss, batch, size, classes):
    """Return how many arrays of the logits' size the gradient holds: its arguments, its result and in between."""
    logits = jax.ShapeDtypeStruct((batch, size, size, classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch, size, size), jnp.uint8)
    memory = jax.jit(jax.grad(loss)).lower(logits, labels).compile().memory_analysis()
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return total / (4 * batch * size * size * classes)


def test_gradient_of_cross_entropy_holds_two_copies_of_the_logits():
    # ADE20K's batch of 8 at 512 x 512, 150 classes, in small; the ratios are those of the full size to two decimals.
    assert copies(plain_cross_entropy, 2, 128, 150) > 2.9
    assert copies(cross_entropy, 2, 128, 150) < 2.1


def test_plain_and_ours_are_the_same_function():
    x, labels = RNG.normal(size=(2, 4, 5, 6)).astype(np.float32), RNG.integers(0, 6, (2, 4, 5)).astype(np.uint8)
    labels[0, 0] = formulas.VOID
    for ours, theirs in zip(*(jax.jit(jax.value_and_grad(loss))(x, labels) for loss in (cross_entropy, plain_cross_entropy))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
