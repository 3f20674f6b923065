"""Which checkpoint is the best: the mIoU of every step that was evaluated, in one file beside the steps."""

import contextlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxseg import checkpoint_files as files
from jaxseg.errors import InputError

#: Name of the file.
NAME = "miou.json"


class Ranking:
    """The mIoU of the steps of one run."""

    def __init__(self, folder: Path) -> None:
        """Read what is known of the steps in ``folder``."""
        self._folder, self._mious = folder, _read(folder)

    def __contains__(self, step: int) -> bool:
        return step in self._mious

    def note(self, step: int, miou: float) -> None:
        """Note the mIoU of a step; NaN ranks lowest."""
        self._mious[step] = None if math.isnan(miou) else float(miou)

    def write(self) -> None:
        """Write the file, whole or not at all; an :class:`OSError` of the disk passes through."""
        path = self._folder / NAME
        new = path.with_suffix(".new")
        with new.open("w") as file:
            json.dump({str(s): m for s, m in sorted(self._mious.items())}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def best(self, steps: Sequence[int]) -> int:
        """Return which of some steps has the highest mIoU, the latest of equals; one that was not evaluated ranks lowest."""
        return max(steps, key=self._order)

    def miou(self, step: int) -> float | None:
        """Return the mIoU of a step; ``None`` if it was not evaluated, or is NaN."""
        return self._mious.get(step)

    def _order(self, step: int) -> tuple[float, int]:
        miou = self.miou(step)
        return -1.0 if miou is None else miou, step


class LatestAndBest:
    """Orbax's question which steps to keep, answered by a run's ranking."""

    def __init__(self, ranking: Ranking, latest: int) -> None:
        """Keep so many of the latest steps, and the best."""
        self._ranking, self._latest = ranking, latest

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Return for every checkpoint whether it stays."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*steps[-self._latest :], self._ranking.best(steps)} if steps else set()
        return [step in kept for step in steps]


def _read(folder: Path) -> dict[int, float | None]:
    """Read the mIoU of each step; of steps of format 1, from the file that Orbax kept in the step itself."""
    ranking: dict[int, float | None] = {}
    for step in files.steps(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            miou = json.loads((folder / str(step) / "metrics" / "metrics").read_text())["miou"]
            if miou >= 0:
                ranking[step] = miou
    with contextlib.suppress(FileNotFoundError):
        ranking.update(_parse(folder / NAME))
    return ranking


def _parse(file: Path) -> dict[int, float | None]:
    try:
        return {int(step): None if miou is None else float(miou) for step, miou in json.loads(file.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file}, which says which checkpoint is the best, cannot be parsed ({error}). Bring it back from a copy, or remove "
            "it: the latest is the best then, until the next evaluation."
        ) from None
