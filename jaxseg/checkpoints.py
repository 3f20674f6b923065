"""Checkpoints with Orbax: the latest few and the best by mIoU, written in the background, verified, restored bit for bit."""

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxseg import checkpoint_errors as errors
from jaxseg import checkpoint_files as files
from jaxseg import checkpoint_trees as trees
from jaxseg.checkpoint_ranking import LatestAndBest, Ranking
from jaxseg.errors import InputError
from jaxseg.step import TrainState

#: The fields of the state that every format has. One that came later, and is not in an older file, keeps its initial value.
_ALWAYS = ("step", "params", "model_state", "opt_state", "ema")


class Checkpoints:
    """The checkpoints of one run, under ``<workdir>/checkpoints/<step>``; every process of a job has to call its methods.

    The position in the data is the step itself, since batch i depends on (seed, i) alone.

    Attributes:
        ranking: the mIoU of the steps that were evaluated.
    """

    def __init__(self, workdir: Path, keep: int = 2) -> None:
        """Open the run's checkpoints; ``keep`` is the number of latest ones kept besides the best."""
        self._folder = _folder(workdir)
        self._saving: int | None = None
        self._writes = False
        self.ranking = Ranking(self._folder)
        logging.getLogger("absl").addFilter(errors.not_of_orbax)
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_handlers={"state": ocp.PyTreeCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=LatestAndBest(self.ranking, keep),
                todelete_subdir=files.DELETED,  # so that a step is there whole or not at all, also while it is deleted
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=self._seal,
                    # Else Orbax's threads wait for folders that could not be made, for 20 minutes.
                    create_directories_asynchronously=False,
                ),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.wait()
        elif jax.process_count() > 1:
            return  # the others, for whom this would wait, may be gone
        with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
            self._manager.close()
        self._delete()
        logging.getLogger("absl").removeFilter(errors.not_of_orbax)

    @property
    def steps(self) -> list[int]:
        """All steps that have a checkpoint, rising."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState) -> None:
        """Save in the background. A step that is saved already stays as it is.

        Raises:
            InputError: if this one, or the one before, could not be written.
        """
        self.wait()
        step = int(state.step)
        if step in self.steps:
            return
        self._saving, self._writes = step, True
        arguments = ocp.args.Composite(state=ocp.args.PyTreeSave(trees.fields(state)))
        with self._writing():
            self._manager.save(step, args=arguments, custom_metadata={"format": files.FORMAT, "jaxseg": files.version()})

    def rank(self, step: int, miou: float) -> None:
        """Note the mIoU of a step, for :meth:`choose` and for which one is kept; NaN ranks lowest.

        Raises:
            InputError: if it could not be written.
        """
        self.ranking.note(step, miou)
        if jax.process_index() == 0:
            with self._writing():
                self.ranking.write()

    def check(self) -> None:
        """Raise what went wrong in the background, without waiting for what still goes on.

        Raises:
            InputError: if a checkpoint could not be written.
        """
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Return when everything is on disk.

        Raises:
            InputError: if a checkpoint could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()
        self._saving = None
        self._delete()

    def restore(self, like: TrainState, step: int | None = None, say: Callable[[str], None] = lambda line: None) -> TrainState:
        """Restore the whole state onto the devices of ``like``: more or fewer than those it was saved from, or another mesh.

        Args:
            like: a state of the same structure, placed as wanted. Fields that the checkpoint does not have, because an older
                jaxseg wrote it, keep the values that they have here.
            step: the latest by default.
            say: is told, in a line each, which fields are not in the checkpoint, or not in the state.

        Raises:
            InputError: if the checkpoint is of another network or optimizer, naming arrays that differ, or cannot be read.
        """
        step = self.steps[-1] if step is None else step
        own = trees.fields(like)
        saved = self._saved(step)
        there = {name for name in own if trees.leaves(saved.get(name))}
        here = {name for name in own if trees.leaves(own[name])}
        absent = sorted(name for name in here - there if name not in _ALWAYS)
        idle = sorted(name for name in {*saved} - here if name not in _ALWAYS and trees.leaves(saved[name]))
        target = {name: trees.shapes(own[name]) for name in own if name in here and name not in absent}
        self._check_fit(step, target, saved)
        arguments = ocp.args.PyTreeRestore(
            target, restore_args=ocp.checkpoint_utils.construct_restore_args(target), partial_restore=True
        )
        with errors.reading(self._folder, step):
            found = self._manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
        for name in absent:
            say(f"{name} is not in the checkpoint, written by {self._written_by(step)}: it starts anew")
        for name in idle:
            say(f"{name} is in the checkpoint, and this run does not use it")
        return dataclasses.replace(like, **found)

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
            return self.ranking.best(steps)
        if not which.isdecimal() or int(which) not in steps:
            raise InputError(f"There is no checkpoint {which!r}: best, latest, or one of {', '.join(map(str, steps))}.")
        return int(which)

    def host_variables(self, step: int) -> dict[str, PyTree]:
        """Read what evaluation needs of a step, onto the host; see :func:`restore_variables`.

        Raises:
            InputError: if the checkpoint is damaged.
        """
        problem = files.damage(self._folder / str(step))
        if problem is not None:
            others = ", ".join(str(s) for s in self.steps if s != step)
            raise InputError(
                f"The checkpoint of step {step} in {self._folder} is damaged: {problem}. "
                + (f"Take another: --checkpoint with one of {others}." if others else "It is the only one: bring back a copy.")
            )
        saved = self._saved(step)
        params = "ema" if trees.leaves(saved.get("ema")) else "params"
        wanted = {name: saved[name] for name in (params, "model_state")}
        on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        arguments = ocp.args.PyTreeRestore(wanted, restore_args=on_host, partial_restore=True)
        with errors.reading(self._folder, step):
            state = self._manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
        return {"params": state[params], **(state.get("model_state") or {})}

    def _saved(self, step: int) -> dict[str, Any]:
        with errors.reading(self._folder, step):
            return dict(self._manager.item_metadata(step)["state"].tree)

    def _seal(self) -> None:
        """Write the checksums; Orbax calls this in process 0 when a step is complete and has its temporary name still."""
        (folder,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        files.write_checksums(folder)

    def _delete(self) -> None:
        """Delete the steps that are not kept, which Orbax has moved away in one stroke each."""
        if self._writes and jax.process_index() == 0:  # one that only reads may stand beside a training
            shutil.rmtree(self._folder / files.DELETED, ignore_errors=True)

    def _check_fit(self, step: int, target: dict[str, Any], saved: dict[str, Any]) -> None:
        lines = trees.misfits(target, {name: saved.get(name) for name in target})
        if lines:
            more = f"\n  and {len(lines) - 5} more" if len(lines) > 5 else ""
            raise InputError(
                f"The checkpoint of step {step} in {self._folder}, written by jaxseg {self._written_by(step)}, is of another "
                "network or optimizer:\n  " + "\n  ".join(lines[:5]) + more + "\nGive another --workdir. "
                f"What fits of its parameters can begin a new run: --init {self._folder.parent}."
            )

    def _written_by(self, step: int) -> str:
        number, version = files.format_of(self._folder / str(step))
        return f"jaxseg {version} (format {number})" if number > 1 else "an older jaxseg (format 1)"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what a disk that is full, gone or read-only makes Orbax raise into the user's error."""
        try:
            yield
        except (OSError, ValueError) as error:
            failed, self._saving = self._saving, None
            told = errors.not_written(error, self._folder, failed)
            if told is None:
                raise
            raise told from error


def restore_variables(workdir: Path, which: str = "best") -> tuple[dict[str, PyTree], int]:
    """Read what evaluation needs of a checkpoint, onto the host: the averaged parameters, or the parameters, and the statistics.

    Args:
        workdir: of the run.
        which: ``best``, ``latest`` or a step.

    Returns:
        The network's variables, NumPy arrays, and the step.

    Raises:
        InputError: if there is no such checkpoint, or it is damaged.
    """
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.choose(which)
        return checkpoints.host_variables(step), step


def _folder(workdir: Path) -> Path:
    return (workdir / "checkpoints").absolute()
