"""What a training run shows and writes while it goes: a progress bar, lines of scalars, curves, TensorBoard, pictures."""

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import UInt8
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxseg import visualize
from jaxseg.config import Config
from jaxseg.console import status
from jaxseg.errors import InputError
from jaxseg.event_file import EventFile
from jaxseg.history import History

#: Steps that may be under way at once.
_AHEAD = 4


class Report:
    """The report of one run. Only process 0 shows and writes; every process checks the loss."""

    def __init__(self, config: Config, workdir: Path, schedule: optax.Schedule, start: int) -> None:
        """Open the report of a run that begins, or goes on, at step ``start``."""
        self._config, self._workdir, self._schedule = config, workdir, schedule
        self._waiting: list[tuple[int, dict[str, Any], Sequence[str]]] = []
        self._since, self._counted = time.perf_counter(), 0
        self._main = jax.process_index() == 0
        self._history = History(workdir, start) if self._main else None
        self._events = EventFile(workdir / "tensorboard", start + 1) if self._main else None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=status,
            disable=not (self._main and status.is_terminal),
        )
        self._task = self._progress.add_task("training", total=config.steps, completed=start, figures="")

    def __enter__(self) -> "Report":
        self._progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._progress.stop()
        if self._history is not None:
            self._history.close()
        if self._events is not None:
            with contextlib.nullcontext() if kind is None else contextlib.suppress(OSError):  # the first error is the one to tell
                self._events.close()

    def add(self, step: int, scalars: dict[str, Any], names: Sequence[str] = ()) -> None:
        """Note the scalars of a step, and the files it saw, without waiting for them."""
        self._waiting.append((step, scalars, names))
        if len(self._waiting) > _AHEAD:  # or batches would pile up on the device
            jax.block_until_ready(self._waiting[-_AHEAD][1])
        self._counted += 1
        self._progress.update(self._task, completed=step)

    def flush(self) -> None:
        """Wait for all noted scalars, check them, and show their means.

        Raises:
            InputError: with the step, the learning rate and the files, if more losses or gradients in a row were not finite than
                ``config.skip_nonfinite``. Call this before saving the state.
        """
        if not self._waiting:
            return
        names = {step: files for step, _, files in self._waiting}
        values = jax.device_get([scalars for _, scalars, _ in self._waiting])
        fetched = [(step, {k: float(v) for k, v in scalars.items()}) for (step, _, _), scalars in zip(self._waiting, values)]
        self._waiting = []
        for step, scalars in fetched:
            if scalars["nonfinite_in_row"]:
                self._refuse_or_say(step, scalars, names[step])
        step, last = fetched[-1]
        means = {k: _mean_of_finite([s[k] for _, s in fetched]) for k in ("loss", "gradient_norm")}
        means.update({k: last[k] for k in ("skipped", "loss_scale") if k in last})
        means["learning_rate"] = self._rate(last)
        figures = f"loss {means['loss']:.4f}"
        if self._counted:
            means["images_per_second"] = self._counted * self._config.batch_size / (time.perf_counter() - self._since)
            figures += f"  {means['images_per_second']:.1f} images/s"
        self.restart_clock()
        self.scalars(step, {f"train/{k}": v for k, v in means.items()})
        self._progress.update(self._task, figures=figures)
        self.say(f"step {step:>6}/{self._config.steps}  {figures}  learning rate {means['learning_rate']:.3g}")

    def _refuse_or_say(self, step: int, scalars: dict[str, float], files: Sequence[str]) -> None:
        loss, norm, row = scalars["loss"], scalars["gradient_norm"], int(scalars["nonfinite_in_row"])
        what = f"loss is {loss}" if not math.isfinite(loss) else f"norm of the gradient is {norm}"
        where = f"at step {step} (learning rate {self._rate(scalars):.3g}, {_of_process()}files {', '.join(map(str, files))})"
        allowed = self._config.skip_nonfinite
        if row <= allowed:
            status.print(  # in every process: each has its own files
                f"The {what} {where}: update skipped, {int(scalars['skipped'])} so far, {row} of {allowed} allowed in a row."
            )
            return
        rows = f", the step {row} in a row of that kind" if allowed else ""
        raise InputError(
            f"The {what} {where}{rows}. The last good checkpoint stays. Lower schedule.learning_rate, clip the gradients "
            f"(--set optimizer.clip_norm=1.0), skip single bad batches (--set skip_nonfinite={max(5, 2 * allowed)}), look at the "
            "files named, or take another --workdir."
        )

    def _rate(self, scalars: dict[str, float]) -> float:
        """Return the learning rate of a step: the schedule counts updates done."""
        return float(self._schedule(int(scalars["updates"])))

    def restart_clock(self) -> None:
        """Count images per second from here, leaving out what was not training."""
        self._since, self._counted = time.perf_counter(), 0

    def say(self, line: str) -> None:
        """Print one line of status."""
        if self._main:
            status.print(line)

    def scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Write scalars to TensorBoard under their names, and to the run's history, where those of training have plain ones.

        What an earlier start has written of the step from which this one goes on is written again to neither.
        """
        plain = {name.removeprefix("train/"): value for name, value in scalars.items()}
        if self._history is not None and self._events is not None and not self._history.holds(step, plain):
            self._history.add(step, plain)
            self._events.scalars(step, scalars)

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> Path:
        """Write a picture of a split to ``<workdir>/pictures``, and to TensorBoard unless an earlier start scored this step."""
        path = self._workdir / "pictures" / f"{name}_{step:06d}.png"
        if self._events is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            visualize.save_picture(path, picture)
            if self._history is None or not self._history.holds(step, [f"{name}/miou"]):
                self._events.picture(step, f"{name}/predictions", picture)
        return path


def _mean_of_finite(values: Sequence[float]) -> float:
    """Return the mean of what is finite: a skipped step has no say in the curve."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _of_process() -> str:
    return f"process {jax.process_index()} of {jax.process_count()}: " if jax.process_count() > 1 else ""
