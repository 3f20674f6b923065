"""Frozen batch normalisation, in any network that has some: for training on batches too small for statistics of their own.

Chen et al., DeepLab v3 (https://arxiv.org/abs/1706.05587), section 4.1, train at output stride 16 in large batches, then freeze
it and go on at output stride 8 in small ones.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import PyTree

from jaxseg.errors import InputError
from jaxseg.models.layers import BatchNorm


@contextlib.contextmanager
def running_statistics() -> Iterator[None]:
    """Make every batch normalisation use its running statistics, and leave them alone, though the network is in training."""
    with nn.intercept_methods(_evaluate):
        yield


def without_gradient(params: PyTree, model_state: Mapping[str, Any]) -> PyTree:
    """Return the parameters, with no gradient to the scales and biases that stand beside running statistics.

    Args:
        params: of a network.
        model_state: its other collections.

    Raises:
        InputError: if the network has no batch normalisation.
    """
    statistics = model_state.get("batch_stats")
    if not statistics:
        raise InputError(
            "objective.frozen_batch_norm=True, but the network has no batch normalisation to freeze: "
            "set objective.frozen_batch_norm=False."
        )
    norms = {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(statistics)}
    return jax.tree_util.tree_map_with_path(lambda path, x: jax.lax.stop_gradient(x) if path[:-1] in norms else x, params)


def _evaluate(function: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
        kwargs = {**kwargs, "train": False}
    return function(*args, **kwargs)
