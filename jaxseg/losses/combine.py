"""Sums of losses."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.losses.targets import AnyLabels

Term = tuple[float, Callable[..., Any]]


def weighted_sum(*terms: Term) -> Callable[..., Float[Array, ""]]:
    """Return the loss ``sum_i weight_i loss_i`` of pairs ``(weight, loss)``.

    It is a :class:`functools.partial` of :func:`sum_of_losses`, so that a config can be written down and overridden in it:
    ``--set loss.terms.1.0=0.3`` changes the weight of the second term, ``--set loss.terms.1.1.smoothing=0`` its argument.

    Raises:
        InputError: there are no terms, or one is not a pair of a finite number and a function.

    >>> import jax.numpy as jnp
    >>> from jaxseg.losses import cross_entropy, dice
    >>> loss = weighted_sum((1.0, cross_entropy), (0.5, functools.partial(dice, smoothing=0.0)))
    >>> f"{loss(jnp.zeros((1, 1, 2, 1)), jnp.array([[[1, 1]]])):.4f}"  # log 2 + 0.5 * 1/3
    '0.8598'
    """
    if not terms:
        raise InputError(
            "weighted_sum needs at least one pair (weight, loss), such as weighted_sum((1.0, losses.cross_entropy))."
        )
    for term in terms:
        pair = isinstance(term, tuple) and len(term) == 2 and isinstance(term[0], int | float) and callable(term[1])
        if not pair or not math.isfinite(term[0]):
            raise InputError(f"weighted_sum takes pairs (weight, loss), such as (0.5, losses.dice), and got {term!r}.")
    return functools.partial(sum_of_losses, terms=tuple((float(weight), loss) for weight, loss in terms))


def sum_of_losses(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    terms: tuple[Term, ...],
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    """Return the sum of losses, each times its weight; :func:`weighted_sum` binds ``terms``.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        terms: pairs of a weight and a loss.
        pixel_weights: one per pixel, for every term.
    """
    more = {} if pixel_weights is None else {"pixel_weights": pixel_weights}
    return sum((weight * loss(logits, labels, **more) for weight, loss in terms), start=jnp.zeros(()))
