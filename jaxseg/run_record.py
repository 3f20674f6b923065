"""What a run's folder keeps of how it was made: ``<workdir>/run.json``, its size, and each start with its command and devices."""

import datetime
import importlib.metadata
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxseg import describe, workdirs
from jaxseg.errors import InputError

#: Name of the file.
NAME = "run.json"


def note_start(workdir: Path, step: int, *, parameters: int, images: dict[str, int], command: Sequence[str]) -> None:
    """Add a start of training, now, to the file; a file that cannot be read is begun anew.

    Args:
        workdir: of the run.
        step: after which it goes on; 0 for a new run.
        parameters: numbers in the network.
        images: how many each split has.
        command: the module and its arguments, if it was started so.

    Raises:
        InputError: if the file cannot be written.
    """
    devices = jax.devices()
    start = {
        "step": step,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", *command]) if command else None,
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "processes": jax.process_count(),
        **{package: importlib.metadata.version(package) for package in ("jaxseg", "jax", "flax")},
    }
    before = read_record(workdir).get("starts", [])
    content = {"parameters": parameters, "images": images, "starts": [*before, start]}
    workdirs.write_json(workdir / NAME, content)


def read_record(workdir: Path) -> dict[str, Any]:
    """Return what :func:`note_start` wrote, or nothing where there is no such file or it is not of its form."""
    path = workdir / NAME
    try:
        found = describe.read_json(path) if path.is_file() else {}
    except InputError:
        return {}
    starts = found.get("starts") if isinstance(found, dict) else None
    sound = isinstance(starts, list) and all(isinstance(start, dict) for start in starts)
    return found if sound else {}
