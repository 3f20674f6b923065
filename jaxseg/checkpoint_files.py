"""The files of a checkpoint: checksums of them all, whether they still hold, and what becomes of those that do not.

A step's folder gets ``checksums.json`` before it receives its final name, so that a step that is there is whole, and any
later change to it is seen. Nothing here needs JAX: a folder of files is read as it lies on the disk.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxseg.errors import InputError

#: Of the checkpoints that this version writes. 1 had no checksums and no number; 2 has both, and further fields of the state.
FORMAT = 2

#: Name of the list of checksums in a step's folder.
CHECKSUMS = "checksums.json"

#: Folders beside the steps: steps that were set aside, and steps that are about to be deleted.
DAMAGED, DELETED = "damaged", ".deleted"

#: Orbax writes this one again when all others are finished: it must parse, and is not in the list.
_COMMIT = "_CHECKPOINT_METADATA"


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found in the folder of a run's checkpoints before it goes on.

    Attributes:
        step: the newest one that is sound; ``None`` where there are no checkpoints at all.
        lines: for people: what was damaged or unfinished, and what became of it.
    """

    step: int | None
    lines: tuple[str, ...]


def version() -> str:
    """Return the version of jaxseg that is installed."""
    try:
        return importlib.metadata.version("jaxseg")
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        return "unknown"


def steps(folder: Path) -> list[int]:
    """Return the steps that have a folder under their final name, rising, whatever is in them."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal() and p.is_dir()) if folder.is_dir() else []


def write_checksums(folder: Path) -> None:
    """Write the list of checksums of all files in a step's folder, when they have reached the disk.

    Args:
        folder: of the step, under its temporary name, and complete.
    """
    sums = {str(p.relative_to(folder)): list(_checksum(p, sync=True)) for p in _files(folder)}
    with (folder / CHECKSUMS).open("w") as file:
        json.dump({"crc32": _own_checksum(sums), "files": sums}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def format_of(folder: Path) -> tuple[int, str]:
    """Return the format of a step and the version of jaxseg that wrote it, ``(1, "unknown")`` where it does not say."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        written = json.loads((folder / _COMMIT).read_text())["custom_metadata"]
        return int(written["format"]), str(written["jaxseg"])
    return 1, "unknown"


def damage(folder: Path, *, thorough: bool = True) -> str | None:
    """Return what is wrong with a step's folder, or ``None``.

    Args:
        folder: of the step.
        thorough: compare the checksums; else only that all files are there, and their sizes.

    Raises:
        InputError: if a newer version of jaxseg wrote it, which is no damage.
    """
    if not any(folder.iterdir()):
        return "its folder is empty"
    try:
        json.loads((folder / _COMMIT).read_text())
    except OSError:
        return f"{_COMMIT} is missing"
    except ValueError:
        return f"{_COMMIT} cannot be parsed"
    number, written_by = format_of(folder)
    if number > FORMAT:
        raise InputError(
            f"{folder} was written by jaxseg {written_by} in format {number}, and this jaxseg {version()} reads formats up to "
            f"{FORMAT}. Update jaxseg, or give another --workdir."
        )
    if not (folder / CHECKSUMS).is_file():
        return f"{CHECKSUMS} is missing" if number > 1 else _old_damage(folder)
    try:
        noted = json.loads((folder / CHECKSUMS).read_text())
        files, own = noted["files"], noted["crc32"]
    except (ValueError, TypeError, KeyError):
        return f"{CHECKSUMS} cannot be parsed"
    if _own_checksum(files) != own:
        return f"{CHECKSUMS} has changed since it was written"
    return next((found for name, noted in files.items() if (found := _difference(folder, name, noted, thorough))), None)


def is_unverified(folder: Path) -> bool:
    """Say whether a step has no checksums, as those of format 1: its damage may go unnoticed."""
    return not (folder / CHECKSUMS).is_file()


def prepare(folder: Path) -> Findings:
    """Make the folder ready to go on from its newest sound step; every later one is set aside, and nothing of it is deleted.

    The newest sound step is read in full. Of older ones only the sizes are compared, and those that fail are set aside too.

    Args:
        folder: of the run's checkpoints; it need not exist.

    Raises:
        InputError: if there are steps and none is sound, or a newer version of jaxseg wrote one.
    """
    found, bad, good = steps(folder), {}, None
    for step in reversed(found):
        problem = damage(folder / str(step), thorough=good is None)
        if problem is not None:
            bad[step] = problem
        elif good is None:
            good = step
    if found and good is None:
        listed = "; ".join(f"step {step}: {problem}" for step, problem in bad.items())
        raise InputError(
            f"No checkpoint in {folder} is sound ({listed}). Nothing was changed there. Bring one back from a copy, give another "
            "--workdir, or remove that folder to start anew."
        )
    lines = _drop_leftovers(folder)
    for step, problem in bad.items():
        lines.append(f"step {step} is damaged ({problem}): moved to {_set_aside(folder / str(step))}")
    if good is not None and is_unverified(folder / str(good)):
        lines.append(f"step {good} was written without checksums, by an older jaxseg: it is taken unverified")
    if good is not None and bad and good < max(bad):
        lines.append(f"the last good one is step {good}")
    return Findings(good, tuple(lines))


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder; of one that is not there, 0."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _drop_leftovers(folder: Path) -> list[str]:
    """Remove what an interrupted save or deletion left; neither was ever a checkpoint that could be read."""
    lines = []
    for leftover in sorted(folder.glob("*.orbax-checkpoint-tmp*")):
        lines.append(f"step {leftover.name.partition('.')[0]} was being written when the run ended: dropped")
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder / DELETED, ignore_errors=True)
    return lines


def _set_aside(folder: Path) -> Path:
    """Move a step's folder to ``damaged/<step>``, or ``<step>-2`` and so on where that is taken."""
    target = folder.parent / DAMAGED / folder.name
    target.parent.mkdir(exist_ok=True)
    count = 1
    while target.exists():
        count += 1
        target = target.with_name(f"{folder.name}-{count}")
    folder.rename(target)
    return target


def _old_damage(folder: Path) -> str | None:
    """Look at a step of format 1, of which no more is known than which files it must have."""
    for name in ("state/_METADATA", "state/manifest.ocdbt"):
        if not (folder / name).is_file():
            return f"{name} is missing"
    return None


def _difference(folder: Path, name: str, noted: Any, thorough: bool) -> str | None:
    path, (length, checksum) = folder / name, noted
    try:
        if path.stat().st_size != length:
            return f"{name} has {path.stat().st_size} bytes, and {length} were written"
        if thorough and _checksum(path)[1] != checksum:
            return f"{name} has changed since it was written: its checksum differs"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None


def _own_checksum(sums: Any) -> int:
    """Return the checksum of the list itself."""
    return zlib.crc32(json.dumps(sums, sort_keys=True).encode())


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (_COMMIT, CHECKSUMS):
            yield path


def _checksum(path: Path, *, sync: bool = False) -> tuple[int, int]:
    """Return the length and the CRC-32 of a file. It is to find accidents, and twice as fast as a cryptographic one."""
    total = length = 0
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        while block := file.read(1 << 22):
            total, length = zlib.crc32(block, total), length + len(block)
    return length, total
