"""What the processes of a job that spans hosts do together: who acts alone, who loads which rows, and how all of them end."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from jaxseg.errors import InputError

#: What JAX and its transports (Gloo on CPU, NCCL on GPU, the coordination service) say when another process is gone.
_LOST = ("Gloo ", "NCCL ", "heartbeat", "coordination service", "Barrier ", "barrier ", "async_write_complete", "async_commit")


def on_first(action: Callable[[], None]) -> None:
    """Run something in process 0 while the others wait for it.

    Args:
        action: what touches files that all processes share.

    Raises:
        InputError: in every process, if ``action`` raises one.
    """
    error = None
    if jax.process_index() == 0:
        try:
            action()
        except InputError as raised:
            error = raised
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.int32(error is not None))
        if failed and error is None:
            error = InputError("Process 0 of this job stopped; what it says is the reason.")
    if error is not None:
        raise error


def own_rows(split: NamedSharding, batch_size: int) -> list[int]:
    """Return the rows of the global batch that this process's devices hold, rising.

    A process that loads these, in this order, gives :func:`jax.make_array_from_process_local_data` what it expects, and row i
    of the global array is example i of the batch, in a job of any number of processes: dropout, whose mask depends on the
    row, is then the same too.

    Args:
        split: where the batch goes; only its leading axis matters.
        batch_size: of the whole job.
    """
    slices = split.addressable_devices_indices_map((batch_size,)).values()
    return sorted({row for index in slices if index is not None for row in range(batch_size)[index[0]]})


def lost_process(error: BaseException) -> InputError | None:
    """Return what to tell the user if an error means that another process of the job has ended, else ``None``."""
    if not jax.distributed.is_initialized():
        return None
    text = str(error)  # its type says nothing: JaxRuntimeError, ValueError or TimeoutError, by where it was noticed
    if not any(sign in text for sign in _LOST):
        return lost_process(error.__cause__) if error.__cause__ is not None else None
    return InputError(
        f"Another process of this job has ended or cannot be reached ({text.splitlines()[0][:200]}). See what it said last. "
        "Start all processes again with the same commands: they go on from the last checkpoint."
    )


def leave(status: int) -> NoReturn:
    """End this process with an exit status, without waiting for processes that will not come.

    At the end of a job JAX lets every process wait for all others. One that ends on an error must not: the others would only
    find out when it stops, and so end minutes later, if at all.
    """
    if not jax.distributed.is_initialized():
        sys.exit(status)
    end_workers()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def end_workers() -> None:
    """End the processes that load data for this one: they would outlive an exit that does not clean up."""
    for worker in multiprocessing.active_children():
        worker.kill()  # they outlive gentler signals for a while
