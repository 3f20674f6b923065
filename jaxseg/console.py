"""What the commands say to a person: status on standard error, results on standard output, errors without a traceback."""

import argparse
import contextlib
import errno
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxseg import processes
from jaxseg.errors import InputError
from jaxseg.interruption import Interrupted
from jaxseg.notebook import in_notebook


def make_console(*, stderr: bool = False) -> Console:
    """Return a console; that of a notebook writes plain lines below the cell, instead of a block of HTML for each."""
    if in_notebook():
        return Console(highlight=False, soft_wrap=True, force_jupyter=False, force_terminal=False)
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


#: Progress, settings and hints.
status = make_console(stderr=True)

#: What the command was asked for.
results = make_console()


@contextlib.contextmanager
def reporting_errors(command: Sequence[str] = ()) -> Iterator[None]:
    """Print an :class:`InputError` anywhere below as one message and exit with code 1; leave bugs their traceback.

    A run that a signal ended exits with 128 and the signal's number, after a line that says how to go on.

    Args:
        command: the module and its arguments, to be shown as what goes on.
    """
    try:
        yield
    except Interrupted as stop:
        if jax.process_index() == 0:
            status.print(f"{stop} Go on with\n  {_escape(shlex.join(['python', '-m', *command]))}")
        sys.exit(stop.exit_status)
    except KeyboardInterrupt:
        status.print("Interrupted. The same command goes on from the last checkpoint.")
        processes.leave(130)
    except Exception as error:
        cause = _input_error(error) or processes.lost_process(error) or _full_disk(error)
        if cause is None:
            if not jax.distributed.is_initialized():
                raise
            traceback.print_exc()
        else:
            status.print(f"[bold red]Error:[/] {_escape(str(cause))}")
        processes.leave(1)
    finally:
        processes.end_workers()


def _full_disk(error: BaseException) -> InputError | None:
    """Return what to tell the user where a file could not be written, for the disk is full or read-only, else ``None``."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return None
    return InputError(
        f"{error.filename or 'A file'} cannot be written: {error.strerror}. Make room there, and give the "
        "same command again: it goes on from the last checkpoint."
    )


def _input_error(error: BaseException | None) -> InputError | None:
    """Find the user's error where a loading thread or process has wrapped it."""
    while error is not None:
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def use_compilation_cache() -> None:
    """Keep compiled programs between runs, under ``$JAX_COMPILATION_CACHE_DIR`` or ``~/.cache/jaxseg/xla``."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path("~/.cache/jaxseg/xla").expanduser()))


def print_devices() -> None:
    """Say what the run computes on."""
    devices = jax.devices()
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    status.print(
        f"devices      {len(devices)} x {devices[0].device_kind} ({devices[0].platform}){processes}, JAX {jax.__version__}"
    )


def count_parameters(params: Any) -> int:
    """Return the number of scalars in a tree of parameters."""
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def score_table(scores: dict[str, Any], class_names: tuple[str, ...]) -> Table:
    """Return the table of a finished evaluation: IoU and Dice per class, then the summary."""
    table = Table()
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("Dice", justify="right")
    for name, iou, dice in zip(class_names, scores["iou"], scores["dice"]):
        table.add_row(name, _percent(iou), _percent(dice))
    table.add_section()
    for key, title in (
        ("miou", "mIoU"),
        ("pixel_accuracy", "pixel accuracy"),
        ("mean_accuracy", "mean accuracy"),
        ("fwiou", "fwIoU"),
        ("boundary_f1", "boundary F1"),
        ("calibration_error", "calibration error"),
    ):
        if key in scores:
            table.add_row(title, _percent(scores[key]), "")
    return table


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which the commands find a trained network."""
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--checkpoint", default="best", metavar="WHICH", help="best (default), latest or a step")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field of the run's config")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE", help="also build this package's objects from it"
    )
