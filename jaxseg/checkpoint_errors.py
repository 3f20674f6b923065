"""What disks and Orbax raise, as the user's errors."""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxseg import checkpoint_files as files
from jaxseg.errors import InputError


@contextlib.contextmanager
def reading(folder: Path, step: int) -> Iterator[None]:
    """Name the step and the remedy where a checkpoint cannot be read.

    Raises:
        InputError: for anything that Orbax raises.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Orbax raises anything on files that it cannot read
        raise InputError(
            f"The checkpoint of step {step} in {folder} cannot be read ({str(error).splitlines()[0][:200]}). "
            "Give another --workdir, or start the same command again if the disk was out of reach."
        ) from error


def not_written(error: Exception, folder: Path, step: int | None) -> InputError | None:
    """Return what to say of a disk that is full, gone or read-only; ``None`` where the error is of another kind.

    Args:
        error: what Orbax or Python raised.
        folder: of the checkpoints.
        step: that was to be written.
    """
    problem = _storage_problem(error)
    if problem is None:
        return None
    good = [s for s in files.steps(folder) if s != step]
    last = f"The last good one is step {good[-1]}; it stays." if good else "There is no earlier one."
    with contextlib.suppress(OSError):
        megabytes = files.size(folder / str(good[-1])) / 1e6 if good else 0
        room = shutil.disk_usage(folder).free / 1e6
        last += f" One takes {megabytes:,.1f} MB, and {room:,.1f} MB are free." if good else f" {room:,.1f} MB are free."
    return InputError(
        f"The checkpoint of step {step} cannot be written to {folder}: {problem}. {last} "
        "Make room, or the folder writable, and give the same command again: it goes on from there."
    )


def _storage_problem(error: Exception) -> str | None:
    """Return what the operating system says of a disk in an error of Python or of TensorStore, else ``None``."""
    if isinstance(error, OSError):
        return error.strerror
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code.group(1))) if code else None


def not_of_orbax(record: logging.LogRecord) -> bool:
    """Leave out what Orbax logs: tracebacks of errors that it raises as well, and remarks that are no user's business."""
    return f"{os.sep}orbax{os.sep}" not in record.pathname
