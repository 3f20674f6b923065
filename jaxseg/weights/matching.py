"""What of one network's variables fits into another's: it is taken, and what is not is named."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

#: Names of arrays that belong to a layer, here and in PyTorch.
_ARRAYS = ("kernel", "bias", "scale", "mean", "var", "weight", "running_mean", "running_var", "num_batches_tracked")

#: A list of more layers than this is shortened to their parts of the network.
_LONG = 12


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
                lines.append(f"{what}: {', '.join(_short(layers(names)))}")
        return "\n".join(lines)


def match(own: Mapping[str, PyTree], given: Mapping[str, PyTree]) -> Match:
    """Take what fits: every array of ``given`` that ``own`` has under the same name and in the same shape.

    What ``own`` has inside its ``network`` (CRF-RNN around FCN-8s) may also be given as that network's alone.

    Args:
        own: the network's variables, arrays or their shapes; each keeps its dtype and its place on the devices.
        given: of another network, on the host; a tree, or arrays by names such as ``params/stem/kernel``.
    """
    theirs, taken, other, missing = flat(given), [], [], []
    if not any("/network/" in name for name in theirs):
        given_names = {_inner(name): name for name in flat(own)}
        theirs = {given_names.get(name, name): value for name, value in theirs.items()}

    def choose(path: Any, leaf: Any) -> Any:
        name = name_of(path)
        if name not in theirs:
            missing.append(name)
            return leaf
        value = theirs[name]
        if value.shape != leaf.shape:
            other.append(f"{name} {tuple(value.shape)} -> {tuple(leaf.shape)}")
            return leaf
        taken.append(name)
        return jax.device_put(np.asarray(value, leaf.dtype), getattr(leaf, "sharding", None))

    variables = jax.tree_util.tree_map_with_path(choose, dict(own))
    unused = sorted(theirs.keys() - flat(own).keys())
    return Match(variables, tuple(taken), tuple(other), tuple(missing), tuple(unused))


def flat(tree: Mapping[str, PyTree]) -> dict[str, Any]:
    """Return a tree's leaves by names such as ``params/backbone/stem/conv/kernel``."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(dict(tree))}


def layers(names: Iterable[str]) -> list[str]:
    """Return names with their arrays gathered: ``params/a/kernel`` and ``params/a/bias`` are ``a``, ``a.weight`` is ``a``."""
    found: dict[str, None] = {}
    for name in names:
        name, space, shapes = name.partition(" ")
        slash = "/" if "/" in name else "."
        parts = name.split(slash)[1 if slash == "/" else 0 :]
        layer = slash.join(parts[:-1] if parts[-1] in _ARRAYS and len(parts) > 1 else parts)
        found[layer + space + shapes] = None
    return list(found)


def _short(found: list[str]) -> list[str]:
    """Return a list that a person reads: a long one as its parts of the network, and how many layers each has."""
    if len(found) <= _LONG:
        return found
    counts: dict[str, int] = {}
    for layer in found:
        slash = "/" if "/" in layer else "."
        part = layer.partition(" ")[0].partition(slash)[0]
        counts[part] = counts.get(part, 0) + 1
    shown = [f"{part} ({count} layers)" if count > 1 else part for part, count in counts.items()]
    return shown if len(shown) <= _LONG else [*shown[:_LONG], f"and {len(found)} layers in all"]


def _inner(name: str) -> str:
    return name.replace("/network/", "/", 1)


def name_of(path: Iterable[Any]) -> str:
    """Return the name of a leaf, ``params/stem/kernel``, from its path in a tree."""
    return "/".join(str(getattr(entry, "key", entry)) for entry in path)
