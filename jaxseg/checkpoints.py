"""Checkpoints with Orbax: the latest few and the best by mIoU, written in the background, restored bit for bit."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
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
        self._manager = ocp.CheckpointManager(_folder(workdir), options=options)

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
    handlers = {"state": ocp.PyTreeCheckpointHandler()}
    with ocp.CheckpointManager(_folder(workdir), item_handlers=handlers) as manager:
        saved = manager.item_metadata(step)["state"].tree
        params = "ema" if saved.get("ema") else "params"
        wanted = {name: saved[name] for name in (params, "model_state")}
        on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arguments = ocp.args.PyTreeRestore(wanted, restore_args=on_host, partial_restore=True)
        state = manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
    return {"params": state[params], **(state.get("model_state") or {})}, step


def _folder(workdir: Path) -> Path:
    return (workdir / "checkpoints").absolute()


def _miou(metrics: Any) -> float:
    return float(metrics.get("miou", -1.0))
