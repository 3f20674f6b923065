"""The gradient of an objective over a batch: at once, in parts one after the other, or with less memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxseg.objectives import Batch

#: ``minimised(params, model_state, batch, key) -> (value to differentiate, (value to report, model_state))``.
Minimised = Callable[[PyTree, PyTree, Batch, PRNGKeyArray], tuple[Float[Array, ""], Any]]

#: What the backward pass keeps under rematerialisation: the results that are dear to compute again.
_KEPT = ("jaxseg_conv", "conv_general_dilated", "dot_general")


def rematerialised(minimised: Minimised) -> Minimised:
    """Keep the results of convolutions and matrix products for the backward pass, and compute all else again.

    Normalisations, activations, pooling and resizing cost little time and most of the memory. Chen et al., "Training Deep Nets
    with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174, section 3.
    """
    return jax.checkpoint(minimised, policy=lambda primitive, *_, **__: primitive.name in _KEPT)


def of_batch(
    minimised: Minimised, params: PyTree, model_state: PyTree, batch: Batch, key: PRNGKeyArray, parts: int = 1
) -> tuple[Float[Array, ""], PyTree, PyTree]:
    """Return an objective's value, the collections it changed, and its gradient to the parameters.

    In several parts, value and gradient are means over the parts: those of the whole batch where every part has as many valid
    pixels, as without void, and the network knows no statistics of a batch. Batch normalisation uses each part's own statistics
    and moves the running ones once per part.

    Args:
        minimised: the objective.
        params: to differentiate by.
        model_state: the network's other collections.
        batch: arrays with a common leading axis.
        key: of the step; part i has ``fold_in(key, i)`` where there are several.
        parts: of which part i has rows i, i + parts, ...: every device has its share of every part where it lies.
    """
    differentiate = jax.grad(minimised, has_aux=True)
    if parts == 1:
        gradient, (value, changed) = differentiate(params, model_state, batch, key)
        return value, changed, gradient

    def add(carry: Any, part: tuple[Any, Batch]) -> tuple[Any, None]:
        total, state, summed = carry
        number, rows = part
        gradient, (value, state) = differentiate(params, state, rows, jax.random.fold_in(key, number))
        return (total + value, state, jax.tree.map(jnp.add, summed, gradient)), None

    split = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch)
    start = (jnp.float32(0), model_state, jax.tree.map(jnp.zeros_like, params))
    (total, changed, summed), _ = jax.lax.scan(add, start, (jnp.arange(parts), split))
    return total / parts, changed, jax.tree.map(lambda g: g / parts, summed)
