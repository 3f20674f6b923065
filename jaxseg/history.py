"""The scalars of a run in a file for people and notebooks: ``<workdir>/history.jsonl``, one JSON object per line.

    {"step": 50, "seconds": 31.4, "loss": 1.2, "learning_rate": 0.002, "images_per_second": 13.1, ...}
    {"step": 500, "seconds": 300.2, "val/miou": 0.41, "val/pixel_accuracy": 0.8, ...}

``step`` and ``seconds``, the time that the run has taken until then, are in every line. What belongs to training has a plain
name, what belongs to a split has that of the split before it. A number that is not finite is ``null``.

A run that goes on after a kill drops the lines of the steps that were lost, for they come again; the seconds that those took are
not counted.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxseg.errors import InputError

#: Name of the file.
NAME = "history.jsonl"


class Curve(NamedTuple):
    """One scalar over a run.

    Attributes:
        steps: at which it was written, rising.
        values: NaN where one was not finite.
    """

    steps: Int64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]


def read_history(workdir: str | Path) -> dict[str, Curve]:
    """Read the curves of a run, finished, interrupted or under way.

    >>> steps, loss = read_history("runs/unet-scenes")["loss"]                    # doctest: +SKIP
    >>> steps, miou = read_history("runs/unet-scenes")["val/miou"]                # doctest: +SKIP

    Args:
        workdir: of the run.

    Returns:
        A curve by the name of each scalar: ``loss``, ``gradient_norm``, ``learning_rate``, ``images_per_second``, ``skipped``,
        ``val/miou``, ``val/pixel_accuracy`` and so on; and ``seconds``, the time that the run had taken, without the pauses
        between its starts.

    Raises:
        InputError: if there is no such file, or one of its lines, other than an unfinished last one, cannot be read.
    """
    path = Path(workdir).expanduser() / NAME
    if not path.is_file():
        raise InputError(f"There is no {path}: no run has written its scalars there. Train first, or give another folder.")
    found: dict[str, list[tuple[int, float]]] = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            if number < len(lines) and line.strip():
                raise InputError(
                    f"Line {number} of {path} is damaged ({line[:60]!r}): a JSON object with a whole number as step is needed. "
                    "Delete that line, or bring the file back from a copy."
                )
            continue  # an empty line, or one that is being written, or that a kill cut off
        for name, value in entry.items():
            if name != "step":
                found.setdefault(name, []).append((entry["step"], math.nan if value is None else value))
    return {name: _curve(points) for name, points in found.items()}


class History:
    """The file of a run that trains; an :class:`OSError` of the disk passes through, with the file's name."""

    def __init__(self, workdir: Path, start: int) -> None:
        """Open it at the step from which the run goes on: what it says of later ones is dropped, as they come again."""
        workdir.mkdir(parents=True, exist_ok=True)
        self._path = workdir / NAME
        kept = [entry for entry in _entries(self._path) if entry["step"] <= start]
        self._written = {name for entry in kept if entry["step"] == start for name in entry}
        self._start = start
        self._before = max((entry.get("seconds") or 0.0 for entry in kept), default=0.0)
        self._since = time.perf_counter()
        _rewrite(self._path, kept)
        self._file = self._path.open("ab", buffering=0)

    def holds(self, step: int, names: Iterable[str]) -> bool:
        """Say whether an earlier start has written one of these scalars, of the step from which this one goes on."""
        return step == self._start and not self._written.isdisjoint({*names} - {"step", "seconds"})

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write a line, at once, unless the file :meth:`holds` it."""
        if self.holds(step, values):
            return
        seconds = self._before + time.perf_counter() - self._since
        line = json.dumps({"step": step, "seconds": round(seconds, 2), **{k: _plain(v) for k, v in values.items()}}) + "\n"
        rest = line.encode()
        try:
            while rest:  # a disk that is nearly full takes a part, and says so at the next attempt
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _rewrite(path: Path, entries: list[dict[str, Any]]) -> None:
    """Replace the file, whole or not at all, if it holds anything else."""
    content = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    if path.is_file() and path.read_bytes() == content:
        return
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _entries(path: Path) -> list[dict[str, Any]]:
    """Return what can be read of the file's lines."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    return [entry for entry in map(_parse, lines) if entry is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line's object; ``None`` for anything but a step, of 64 bits, with numbers that a float can hold."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int) or abs(entry["step"]) >= 2**63:
        return None
    return entry if all(value is None or _is_number(value) for value in entry.values()) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _curve(points: list[tuple[int, float]]) -> Curve:
    steps, values = zip(*points)
    return Curve(np.asarray(steps, np.int64), np.asarray(values, np.float64))
