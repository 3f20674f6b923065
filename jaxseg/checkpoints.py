"""Checkpoints with Orbax: the latest few and the best by mIoU, written in the background, restored bit for bit."""

import math
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import preservation_policy

from jaxseg.errors import InputError
from jaxseg.step import TrainState


class Checkpoints:
    """The checkpoints of one run, under ``<workdir>/checkpoints/<step>``.

    The position in the data is the step itself, since batch i depends on (seed, i) alone.
    """

    def __init__(self, workdir: Path, keep: int = 2) -> None:
        """Open the run's checkpoints; ``keep`` is the number of latest ones kept besides the best."""
        policy = preservation_policy.AnyPreservationPolicy(
            [preservation_policy.LatestN(keep), preservation_policy.BestN(get_metric_fn=_miou, n=1)]
        )
        # Without best_fn the metrics would be forgotten when the run is resumed.
        options = ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=_miou)
        self._manager = ocp.CheckpointManager((workdir / "checkpoints").absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """All steps that have a checkpoint, rising."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, miou: float | None = None) -> None:
        """Save in the background; ``miou`` ranks it. A step that is saved already stays as it is."""
        metrics = {"miou": -1.0 if miou is None or math.isnan(miou) else float(miou)}
        self._manager.save(int(state.step), args=ocp.args.Composite(state=ocp.args.StandardSave(state)), metrics=metrics)

    def wait(self) -> None:
        """Return when everything is on disk."""
        self._manager.wait_until_finished()

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """Restore the whole state onto the devices of ``like``.

        Args:
            like: a state of the same structure and placement; its values are ignored.
            step: the latest by default.
        """
        step = self.steps[-1] if step is None else step
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]

    def choose(self, which: str) -> int:
        """Return the step that ``best``, ``latest`` or a number names.

        Raises:
            InputError: if there is none, or not that one.
        """
        steps = self.steps
        if not steps:
            raise InputError(f"{self._manager.directory} holds no checkpoint yet. Train first, or give another --workdir.")
        if which == "latest":
            return steps[-1]
        if which == "best":
            return max(steps, key=lambda s: (_miou(self._manager.metrics(s) or {}), s))
        if not which.isdecimal() or int(which) not in steps:
            raise InputError(f"There is no checkpoint {which!r}: best, latest, or one of {', '.join(map(str, steps))}.")
        return int(which)


def restore_variables(workdir: Path, which: str = "best") -> tuple[dict[str, PyTree], int]:
    """Read what evaluation needs of a checkpoint, onto the host: the averaged parameters, or the parameters, and the statistics.

    Args:
        workdir: of the run.
        which: ``best``, ``latest`` or a step.

    Returns:
        The network's variables, NumPy arrays, and the step.

    Raises:
        InputError: if there is no such checkpoint.
    """
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.choose(which)
        item = checkpoints._manager.directory / str(step) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = _tree(reader.metadata(item))
        params = "ema" if tree.get("ema") else "params"
        wanted = {name: tree[name] for name in (params, "model_state") if name in tree}
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=_host_array()), wanted)
        state = reader.restore(item, args=ocp.args.PyTreeRestore(wanted, restore_args=numpy, partial_restore=True))
    return {"params": state[params], **(state.get("model_state") or {})}, step


def _host_array() -> Any:
    import numpy as np

    return np.ndarray


def _tree(metadata: Any) -> dict[str, Any]:
    """Return the saved tree's structure out of Orbax's metadata."""
    tree = metadata.item_metadata
    return dict(getattr(tree, "tree", tree))


def _miou(metrics: Any) -> float:
    return float(metrics.get("miou", -1.0))
