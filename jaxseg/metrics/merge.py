"""Merging what devices and hosts counted, each on its own share of the data.

Under ``jit`` over a mesh nothing of this is needed: ``update`` of a batch that is split over devices already counts all of it.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jaxtyping import Array

from jaxseg.metrics import wide

Metric = TypeVar("Metric")


def merge_stacked(metric: Metric) -> Metric:
    """Merge metrics that are stacked along a first axis, as ``vmap`` and ``pmap`` return them."""
    return _total(metric, lambda words: jnp.sum(words, 0, dtype=jnp.uint32))


def merge_over_axis(metric: Metric, axis_name: str) -> Metric:
    """Merge the metrics of the devices along a named axis, within ``pmap`` or ``shard_map``."""
    return _total(metric, lambda words: jax.lax.psum(words, axis_name))


def merge_over_processes(metric: Metric) -> Metric:
    """Merge the metrics of all processes of a job, each of which counted its own share; every process gets the sum.

    Every process must call it. A metric that lives on a mesh over several processes is of all the data already and is returned
    as it is, and so is that of a single process.
    """
    leaves = jax.tree.leaves(metric)
    if jax.process_count() == 1 or not all(leaf.is_fully_addressable for leaf in leaves):
        return metric
    gathered = multihost_utils.process_allgather(jax.device_get(metric))
    return merge_stacked(jax.tree.map(jnp.asarray, gathered))


def _total(metric: Metric, sum_words: Callable[[Array], Array]) -> Metric:
    def merge(counter: wide.Wide) -> wide.Wide:
        return wide.total(counter, sum_words)

    return jax.tree.map(merge, metric, is_leaf=lambda node: isinstance(node, wide.Wide))
