"""How a run uses its devices: which compilation, and which part of the training state lies where.

With ``fsdp`` ("fully sharded data parallel", Zhao et al., https://arxiv.org/abs/2304.11277; ZeRO-3 of Rajbhandari et al.,
https://arxiv.org/abs/1910.02054) the parameters, their averages and the optimizer's moments are split over devices, and a
parameter is whole only while a step computes with it. JAX's compiler inserts the communication.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxseg.errors import InputError

#: ``rule(name, shape, parts)`` returns the axis of an array that is split into so many parts, or ``None`` to leave it whole.
Rule = Callable[[str, tuple[int, ...], int], int | None]


def split_largest_axis(name: str, shape: tuple[int, ...], parts: int, *, smallest: int = 4096) -> int | None:
    """Split the longest axis that divides evenly, the last of equals; leave small arrays whole.

    Args:
        name: of the array, such as ``params/backbone/conv1_1/kernel``; unused here, there for rules of one's own.
        shape: of the array.
        parts: to split into.
        smallest: number of elements below which splitting costs more messages than it saves memory.
    """
    del name
    if math.prod(shape) < smallest:
        return None
    fitting = [axis for axis, length in enumerate(shape) if length % parts == 0]
    return max(fitting, key=lambda axis: (shape[axis], axis), default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parallel:
    """How a run uses its devices.

    Attributes:
        fsdp: devices that share one copy of the training state; 1 gives every device a whole one.
        rule: which axis of which array is split over them; another function of the same signature, by its import path.
        pmap: compile with ``pmap`` instead of ``jit`` over a mesh. Batch normalisation then takes its statistics from each
            device's own images (only the running ones are averaged), and ``fsdp`` is not available.
    """

    fsdp: int = 1
    rule: Rule = split_largest_axis
    pmap: bool = False

    def __post_init__(self) -> None:
        if self.fsdp < 1:
            raise InputError(f"parallel.fsdp={self.fsdp} must be at least 1, the number of devices that share a training state.")

    def check(self) -> None:
        """Check what several fields must agree on.

        Raises:
            InputError: for ``pmap`` with ``fsdp``.
        """
        if self.pmap and self.fsdp > 1:
            raise InputError(
                f"parallel.pmap=True keeps a whole training state on every device, and parallel.fsdp={self.fsdp} splits it. "
                "Set one of the two."
            )


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each array of a training state lies.

    Attributes:
        shardings: of the state's structure.
        lines: one for every array: its name, its shape, and how it is split.
        summary: the same in one line.
    """

    shardings: PyTree
    lines: tuple[str, ...]
    summary: str


def lay_out(state: PyTree, mesh: Mesh, rule: Rule = split_largest_axis) -> Layout:
    """Decide which array of a state is split over the mesh's axis ``fsdp``, and how.

    Args:
        state: arrays, or their shapes.
        mesh: from :func:`jaxseg.sharding.device_mesh`.
        rule: asked for every array; at ``fsdp`` 1 it is not, and all are whole.

    Raises:
        InputError: if the rule names an axis that is not there or does not divide evenly.
    """
    parts = mesh.shape["fsdp"]
    lines: list[str] = []
    held, total = 0, 0

    def place(path: Any, leaf: Any) -> NamedSharding:
        nonlocal held, total
        name = "/".join(_entry(entry) for entry in path)
        axis = rule(name, leaf.shape, parts) if parts > 1 else None
        if axis is not None and not (0 <= axis < leaf.ndim and leaf.shape[axis] % parts == 0):
            raise InputError(
                f"parallel.rule wants to split axis {axis} of {name} {leaf.shape} into {parts}. "
                "It must return an axis whose length divides evenly, or None."
            )
        total += leaf.size
        held += leaf.size if axis is None else leaf.size // parts
        lines.append(f"{name} {leaf.shape}: " + ("whole" if axis is None else f"axis {axis} in {parts} parts"))
        return NamedSharding(mesh, PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "fsdp"))

    shardings = jax.tree_util.tree_map_with_path(place, state)
    split = sum(not line.endswith("whole") for line in lines)
    summary = (
        f"{split} of {len(lines)} arrays split over {parts} devices; each holds {held / max(total, 1):.1%} of the training state"
    )
    return Layout(shardings, tuple(lines), summary)


def _entry(entry: Any) -> str:
    """Return a path's entry as a name: a key, a field or an index."""
    return str(next(getattr(entry, kind) for kind in ("key", "name", "idx") if hasattr(entry, kind)))
