"""What a training run shows and writes while it goes: a progress bar, lines of scalars, TensorBoard, pictures."""

import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import UInt8
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from jaxseg import visualize
from jaxseg.config import Config
from jaxseg.console import status
from jaxseg.errors import InputError

#: Steps that may be under way at once.
_AHEAD = 4


class Report:
    """The report of one run. Only process 0 shows and writes; every process checks the loss."""

    def __init__(self, config: Config, workdir: Path, schedule: optax.Schedule, start: int) -> None:
        """Open the report of a run that begins, or goes on, at step ``start``."""
        self._config, self._workdir, self._schedule = config, workdir, schedule
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._since, self._counted = time.perf_counter(), 0
        self._main = jax.process_index() == 0
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1) if self._main else None
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

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._writer is not None:
            self._writer.close()

    def add(self, step: int, scalars: dict[str, Any]) -> None:
        """Note the scalars of a step without waiting for them."""
        self._waiting.append((step, scalars))
        if len(self._waiting) > _AHEAD:  # or batches would pile up on the device
            jax.block_until_ready(self._waiting[-_AHEAD][1])
        self._counted += 1
        self._progress.update(self._task, completed=step)

    def flush(self) -> None:
        """Wait for all noted scalars, check the loss, and show the mean of them.

        Raises:
            InputError: with the step and the learning rate, if a loss is not finite. Call this before saving the state.
        """
        if not self._waiting:
            return
        fetched = [(step, {k: float(v) for k, v in s.items()}) for step, s in jax.device_get(self._waiting)]
        self._waiting = []
        for step, scalars in fetched:
            if not math.isfinite(scalars["loss"]):
                rate = float(self._schedule(step - 1))
                raise InputError(
                    f"The loss is {scalars['loss']} at step {step} (learning rate {rate:.3g}). The last good checkpoint stays. "
                    "Lower schedule.learning_rate, clip the gradients (--set optimizer.clip_norm=1.0), or take another --workdir."
                )
        step = fetched[-1][0]
        means = {k: float(np.mean([s[k] for _, s in fetched])) for k in fetched[0][1]}
        means["learning_rate"] = float(self._schedule(step - 1))
        means["images_per_second"] = self._counted * self._config.batch_size / (time.perf_counter() - self._since)
        self.restart_clock()
        self.scalars(step, {f"train/{k}": v for k, v in means.items()})
        figures = f"loss {means['loss']:.4f}  {means['images_per_second']:.1f} images/s"
        self._progress.update(self._task, figures=figures)
        self.say(f"step {step:>6}/{self._config.steps}  {figures}  learning rate {means['learning_rate']:.3g}")

    def restart_clock(self) -> None:
        """Count images per second from here, leaving out what was not training."""
        self._since, self._counted = time.perf_counter(), 0

    def say(self, line: str) -> None:
        """Print one line of status."""
        if self._main:
            status.print(line)

    def scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Write scalars to TensorBoard, under their names."""
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> Path:
        """Write a picture to ``<workdir>/pictures`` and to TensorBoard."""
        path = self._workdir / "pictures" / f"{name}_{step:06d}.png"
        if self._writer is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            visualize.save_picture(path, picture)
            self._writer.add_image(name, picture, step, dataformats="HWC")
        return path
