"""Starting a network from another one's parameters: what fits is taken, and what is not is named."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxseg import checkpoints
from jaxseg.errors import InputError
from jaxseg.step import TrainState


@dataclasses.dataclass(frozen=True)
class Match:
    """How one set of variables fits into another.

    Attributes:
        variables: the network's own, with the values given where name and shape are the same.
        taken: names of the arrays that were taken, such as ``params/backbone/conv1_1/kernel``.
        other_shape: names of those given in another shape, with both shapes; they keep their initial value.
        missing: names of those that were not given; they keep their initial value.
        unused: names of those given that the network does not have.
    """

    variables: dict[str, PyTree]
    taken: tuple[str, ...]
    other_shape: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def report(self) -> str:
        """Return lines for people: how many arrays were taken, and the layers that were not."""
        lines = [f"{len(self.taken)} arrays taken"]
        for what, names in (
            ("initial, for they have another shape", self.other_shape),
            ("initial, for they were not given", self.missing),
            ("given, but not in this network", self.unused),
        ):
            if names:
                lines.append(f"{what}: {', '.join(_layers(names))}")
        return "\n".join(lines)


def match(own: Mapping[str, PyTree], given: Mapping[str, PyTree]) -> Match:
    """Take what fits: every array of ``given`` that ``own`` has under the same name and in the same shape.

    What ``own`` has inside its ``network`` (CRF-RNN around FCN-8s) may also be given as that network's alone.

    Args:
        own: the network's variables; each array keeps its dtype and its place on the devices.
        given: of another network, on the host.
    """
    theirs, taken, other, missing = _flat(given), [], [], []
    if not any("/network/" in name for name in theirs):
        given_names = {_inner(name): name for name in _flat(own)}
        theirs = {given_names.get(name, name): value for name, value in theirs.items()}

    def choose(path: Any, leaf: Any) -> Any:
        name = _name(path)
        if name not in theirs:
            missing.append(name)
            return leaf
        value = theirs[name]
        if value.shape != leaf.shape:
            other.append(f"{name} {tuple(value.shape)} -> {tuple(leaf.shape)}")
            return leaf
        taken.append(name)
        return jax.device_put(np.asarray(value, leaf.dtype), leaf.sharding)

    variables = jax.tree_util.tree_map_with_path(choose, dict(own))
    unused = sorted(theirs.keys() - _flat(own).keys())
    return Match(variables, tuple(taken), tuple(other), tuple(missing), tuple(unused))


def from_run(state: TrainState, source: str) -> tuple[TrainState, Match]:
    """Start from the checkpoint of another run, for instance FCN-16s from FCN-32s.

    Args:
        state: as initialised.
        source: a run's folder, for its best checkpoint, or ``FOLDER:latest`` or ``FOLDER:STEP``.

    Returns:
        The state with the parameters, running statistics and averaged parameters that fit, and how they fit.

    Raises:
        InputError: if there is no such checkpoint, or nothing of it fits.
    """
    folder, colon, which = source.rpartition(":")
    if not colon or Path(source).is_dir():
        folder, which = source, "best"
    if not (Path(folder).expanduser() / "checkpoints").is_dir():
        raise InputError(f"{folder} holds no run of jaxseg, for there is no folder checkpoints in it. Give the --workdir of one.")
    given, step = checkpoints.restore_variables(Path(folder).expanduser(), which)
    found = match({"params": state.params, **state.model_state}, given)
    if not found.taken:
        raise InputError(
            f"Nothing of the checkpoint {folder} (step {step}) fits this network: no array has the same name and shape. "
            f"It has {', '.join(_layers(found.unused)[:5])} ..."
        )
    params = found.variables.pop("params")
    ema = None if state.ema is None else jax.tree.map(lambda x: x.copy(), params)
    return dataclasses.replace(state, params=params, model_state=found.variables, ema=ema), found


def _flat(tree: Mapping[str, PyTree]) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(dict(tree))}


def _inner(name: str) -> str:
    return name.replace("/network/", "/", 1)


def _name(path: Iterable[Any]) -> str:
    return "/".join(str(getattr(entry, "key", entry)) for entry in path)


def _layers(names: Iterable[str]) -> list[str]:
    """Return names with their arrays gathered: ``params/a/kernel`` and ``params/a/bias`` are ``a``."""
    layers: dict[str, None] = {}
    for name in names:
        name, space, shapes = name.partition(" ")
        parts = name.split("/")[1:]
        layer = "/".join(parts[:-1] if parts[-1] in ("kernel", "bias", "scale", "mean", "var") else parts)
        layers[layer + space + shapes] = None
    return list(layers)
