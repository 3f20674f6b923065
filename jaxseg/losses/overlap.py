"""How the predicted regions overlap the labelled ones: the sums over pixels that the region losses are made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.losses.likelihood import probabilities
from jaxseg.losses.targets import Target


class Overlap(NamedTuple):
    """Sums over the pixels of each group (an image, or the batch), weighted, for each class.

    Attributes:
        hits: ``sum p q``, with ``p`` the label and ``q`` the probability.
        alarms: ``sum (1 - p) q``, the false alarms.
        misses: ``sum p (1 - q)``.
        labelled: ``sum p``.
        pixels: sum of the weights.
    """

    hits: Float[Array, "groups columns"]
    alarms: Float[Array, "groups columns"]
    misses: Float[Array, "groups columns"]
    labelled: Float[Array, "groups columns"]
    pixels: Float[Array, "groups 1"]


def overlap(target: Target, *, per_image: bool, squared: bool = False, foreground: bool = False) -> Overlap:
    """Measure the overlap.

    Args:
        target: logits and labels.
        per_image: one group per image; else the batch is one.
        squared: ``alarms + misses`` is ``sum (p - q)^2``.
        foreground: of a binary problem, class 1 alone.
    """
    if foreground and target.num_classes == 2:
        # Without a class axis: XLA sums arrays whose last axis is 1 ten times more slowly on a CPU.
        p = target.labels[..., 1] if target.soft else target.labels.astype(jnp.float32)
        q, weights = jax.nn.sigmoid(target.logits[..., 0]), target.weights
    else:
        p, q, weights = target.distributions(), probabilities(target.logits), target.weights[..., None]
    # Sums of products, not differences of sums: they cannot be negative by rounding.
    alarms, misses = ((p - q) ** 2, jnp.zeros_like(p)) if squared else ((1 - p) * q, p * (1 - q))

    def total(terms: Array) -> Array:
        sums = jnp.sum(weights * terms, (1, 2) if per_image else (0, 1, 2))
        return sums.reshape(len(terms) if per_image else 1, -1)

    return Overlap(total(p * q), total(alarms), total(misses), total(p), total(jnp.ones_like(weights)))
