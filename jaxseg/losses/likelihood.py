"""Probabilities and log-likelihoods, exact at any finite logits, whose gradients hold no copy of the logits.

Differentiating ``log_softmax`` keeps the exponentials of the forward pass until the backward pass: a third array of the logits'
size, beside the logits and their gradient. The rules below compute them anew, as ``exp((x - max) - log_sum)``, an expression that
the compiler cannot share with the forward pass and hence fuses into the gradient's own loop. They are rules for forward mode, so
reverse mode, forward mode and higher orders all work.

One channel is the one logit of a binary problem: the log-odds of class 1.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def negative_log_likelihood(logits: Float[Array, "*pixels k"], labels: Int[Array, "*pixels"]) -> Float[Array, "*pixels"]:
    """Return ``-log`` of the probability of the label, at least 0, for labels that are classes."""
    if logits.shape[-1] == 1:
        return jax.nn.softplus(jnp.where(labels > 0, -1.0, 1.0) * logits[..., 0])
    return _negative_log_likelihood(logits, labels)


def class_negative_log_likelihoods(logits: Float[Array, "*pixels k"]) -> Float[Array, "*pixels classes"]:
    """Return ``-log`` of the probability of every class, at least 0."""
    if logits.shape[-1] == 1:
        return jax.nn.softplus(jnp.concatenate([logits, -logits], -1))
    shifted = logits - lax.stop_gradient(jnp.max(logits, -1, keepdims=True))
    return _log_sum_exp(shifted) - shifted


def probabilities(logits: Float[Array, "*pixels k"]) -> Float[Array, "*pixels classes"]:
    """Return the probability of every class."""
    if logits.shape[-1] == 1:
        return jax.nn.sigmoid(jnp.concatenate([-logits, logits], -1))
    return _softmax(logits)


@jax.custom_jvp
def _negative_log_likelihood(logits: Array, labels: Array) -> Array:
    largest, log_sum, own = _parts(logits, labels)
    return (log_sum + (largest - own))[..., 0]


@_negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (logits, labels), (tangent, _) = primals, tangents
    largest, log_sum, own = _parts(logits, labels)
    slope = jnp.exp((logits - largest) - log_sum) - one_hot(labels, logits.shape[-1])
    return (log_sum + (largest - own))[..., 0], jnp.sum(slope * tangent, -1)


def _parts(logits: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Return the largest logit, the log of the sum of exponentials less it, and the label's own logit, each ``(..., 1)``."""
    largest = jnp.max(logits, -1, keepdims=True)
    log_sum = jnp.log(jnp.sum(jnp.exp(logits - largest), -1, keepdims=True))
    # A gather of one number per pixel: a masked sum would read the logits once more, and on a CPU store them.
    return largest, log_sum, jnp.take_along_axis(logits, labels[..., None], -1, mode="promise_in_bounds")


def one_hot(labels: Int[Array, "*pixels"], classes: int) -> Float[Array, "*pixels classes"]:
    """Return labels as distributions."""
    index = lax.broadcasted_iota(labels.dtype, (*labels.shape, classes), labels.ndim)
    return (labels[..., None] == index).astype(jnp.float32)


@jax.custom_jvp
def _log_sum_exp(shifted: Array) -> Array:
    """Return ``log sum exp`` of logits whose largest is 0."""
    return jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))


@_log_sum_exp.defjvp
def _log_sum_exp_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (shifted,), (tangent,) = primals, tangents
    value = _log_sum_exp(shifted)
    return value, jnp.sum(jnp.exp(shifted - value) * tangent, -1, keepdims=True)


@jax.custom_jvp
def _softmax(logits: Array) -> Array:
    shifted = logits - jnp.max(logits, -1, keepdims=True)
    return jnp.exp(shifted - jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True)))


@_softmax.defjvp
def _softmax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (logits,), (tangent,) = primals, tangents
    value = _softmax(logits)
    return value, value * (tangent - jnp.sum(value * tangent, -1, keepdims=True))
