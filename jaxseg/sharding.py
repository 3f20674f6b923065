"""Where arrays live: the mesh over all devices, the split of a batch along it, and what one process of several does."""

import argparse
import signal
import threading

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxseg.console import status
from jaxseg.errors import InputError


def join_processes(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Join the other processes of a job that spans hosts; call it before anything else touches a device.

    Without arguments JAX finds them itself on Cloud TPU pods, SLURM, Open MPI and Kubernetes.

    Args:
        coordinator: ``host:port`` of process 0.
        num_processes: in all.
        process_id: of this one, from 0.

    Raises:
        InputError: where nothing says who the others are. If they do not come within 300 s, JAX ends the process.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except ValueError as error:
        raise InputError(
            f"This machine does not say which processes belong together ({error}) "
            "Outside Cloud TPU, SLURM, Open MPI and Kubernetes, give --coordinator HOST:PORT, --num-processes and --process-id."
        ) from error
    # JAX swallows SIGTERM from here on, for an agreement that is not used; see jaxseg.interruption.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def device_mesh(batch_size: int, devices: list[jax.Device] | None = None, *, fsdp: int = 1, accumulate: int = 1) -> Mesh:
    """Return the mesh over all devices of all processes, with the axes ``data`` and ``fsdp``.

    Every device takes an equal share of the batch; the ``fsdp`` devices of a row also share one copy of the training state
    between them, each holding a part of it.

    Args:
        batch_size: of the whole job.
        devices: other than all.
        fsdp: length of the axis ``fsdp``; at 1 every device has the whole state.
        accumulate: parts of the batch that are computed one after the other.

    Raises:
        InputError: if the devices do not divide the batch, or ``fsdp`` does not divide the devices.
    """
    devices = jax.devices() if devices is None else devices
    number = len(devices)
    if number % fsdp:
        fitting = ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
        raise InputError(
            f"parallel.fsdp={fsdp} does not divide the {number} devices. Take one of {fitting}: --set parallel.fsdp=..."
        )
    if batch_size % (number * accumulate):
        lower = batch_size - batch_size % (number * accumulate)
        near = " or ".join(str(b) for b in (lower, lower + number * accumulate) if b)
        parts = f" in accumulate={accumulate} parts" if accumulate > 1 else ""
        raise InputError(
            f"batch_size={batch_size} does not split evenly over {number} devices{parts}. Take {near}: --set batch_size=..."
        )
    automatic = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((number // fsdp, fsdp), ("data", "fsdp"), axis_types=automatic, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the placement of arrays of which every device holds a copy."""
    return NamedSharding(mesh, PartitionSpec())


def batch_split(mesh: Mesh) -> NamedSharding:
    """Return the placement of arrays whose leading axis is split over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def place_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Make global arrays of each process's own rows of a batch."""
    split = batch_split(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(split, rows), batch)


def local_mesh() -> Mesh:
    """Return the mesh over this process's own devices, on which it evaluates its own share of the images."""
    return Mesh(np.asarray(jax.local_devices()).reshape(-1, 1), ("data", "fsdp"))


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a job in several processes."""
    group = parser.add_argument_group("several processes (one per host)")
    group.add_argument(
        "--distributed", action="store_true", help="join the processes that JAX finds: Cloud TPU pods, SLURM, Open MPI"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, where JAX finds nothing by itself")
    group.add_argument("--num-processes", type=int, metavar="N", help="in all")
    group.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")


def join_from_flags(args: argparse.Namespace) -> None:
    """Join the other processes if the flags say that there are any.

    Raises:
        InputError: if a flag is given that means nothing without another.
    """
    if args.coordinator is None and not args.distributed and (args.num_processes is not None or args.process_id is not None):
        raise InputError("--num-processes and --process-id need --coordinator HOST:PORT, or --distributed where JAX finds it.")
    if args.coordinator is not None and (args.num_processes is None or args.process_id is None):
        raise InputError("--coordinator needs --num-processes N, of the whole job, and --process-id I, of this process, from 0.")
    if args.coordinator is not None:
        status.print(
            f"processes    process {args.process_id} of {args.num_processes} waits up to 300 s for 0 at {args.coordinator}"
        )
    if args.distributed or args.coordinator is not None:
        join_processes(args.coordinator, args.num_processes, args.process_id)
