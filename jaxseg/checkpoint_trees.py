"""A training state as named arrays: what of it is in a checkpoint, and what does not fit."""

import dataclasses
from typing import Any

import jax
from jaxtyping import PyTree

from jaxseg.step import TrainState


def fields(state: TrainState) -> dict[str, Any]:
    """Return the state's fields by name."""
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def shapes(tree: PyTree) -> PyTree:
    """Return the shape, dtype and place of every array."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def leaves(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array by its path, the same for a tuple and what Orbax makes of it."""
    paths = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: hasattr(node, "shape"))
    return {"/".join(_key(entry) for entry in path): tuple(leaf.shape) for path, leaf in paths if hasattr(leaf, "shape")}


def misfits(want: PyTree, have: PyTree) -> list[str]:
    """Return a line for every array that two trees do not have alike."""
    mine, theirs = leaves(want), leaves(have)
    lines = [f"{name} {mine[name]} is not in the checkpoint" for name in mine if name not in theirs]
    lines += [f"{name} {theirs[name]} is not in this run" for name in theirs if name not in mine]
    differing = [name for name in mine if theirs.get(name, mine[name]) != mine[name]]
    return lines + [f"{name} is {theirs[name]}, and {mine[name]} here" for name in differing]


def _key(entry: Any) -> str:
    return str(next(getattr(entry, name) for name in ("key", "idx", "name") if hasattr(entry, name)))
