"""Monte-Carlo dropout: dropout that stays on at prediction, in any network that has some.

Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet", 2015, https://arxiv.org/abs/1511.02680; after Gal and Ghahramani, "Dropout as
a Bayesian approximation", 2016, https://arxiv.org/abs/1506.02142.

Everything else stays in evaluation mode: batch normalisation uses its running statistics, and stochastic depth drops nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax


@contextlib.contextmanager
def active_dropout() -> Iterator[None]:
    """Make every dropout drop, though its network is applied with ``train=False`` and ``rngs={"dropout": key}``."""
    with nn.intercept_methods(_drop):
        yield


def has_dropout(model: Any, variables: Mapping[str, Any], image: jax.ShapeDtypeStruct) -> bool:
    """Say whether a network drops anything in training.

    Args:
        model: a network.
        variables: its parameters and statistics, or their shapes.
        image: the shape of a batch that it takes.
    """
    found = False

    def look(function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal found
        found |= isinstance(context.module, nn.Dropout) and context.module.rate > 0
        return function(*args, **kwargs)

    with nn.intercept_methods(look):
        jax.eval_shape(lambda given, x: model.apply(given, x, train=False), variables, image)
    return found


def _drop(function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    dropout = context.module
    if not isinstance(dropout, nn.Dropout) or context.method_name != "__call__" or dropout.deterministic is False:
        return function(*args, **kwargs)
    active = dropout.clone(deterministic=False, parent=None)
    return active.apply({}, args[0], rngs={dropout.rng_collection: dropout.make_rng(dropout.rng_collection)})
