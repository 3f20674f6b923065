"""Where arrays live: the mesh over all devices, the split of a batch along it, and what one process of several does."""

import argparse

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxseg.errors import InputError


def join_processes(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Join the other processes of a job that spans hosts; call it before anything else touches a device.

    Without arguments JAX finds them itself on Cloud TPU pods, SLURM, Open MPI and Kubernetes.

    Args:
        coordinator: ``host:port`` of process 0.
        num_processes: in all.
        process_id: of this one, from 0.

    Raises:
        InputError: where nothing says who the others are.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except ValueError as error:
        raise InputError(
            f"This machine does not say which processes belong together ({error}) "
            "Outside Cloud TPU, SLURM, Open MPI and Kubernetes, give --coordinator HOST:PORT, --num-processes and --process-id."
        ) from error


def data_mesh(batch_size: int, devices: list[jax.Device] | None = None) -> Mesh:
    """Return the mesh with one axis, ``data``, over all devices of all processes.

    Args:
        batch_size: of the whole job; every device takes an equal share.
        devices: other than all.

    Raises:
        InputError: if the devices do not divide the batch.
    """
    devices = jax.devices() if devices is None else devices
    if batch_size % len(devices):
        lower = batch_size - batch_size % len(devices)
        near = " or ".join(str(b) for b in (lower, lower + len(devices)) if b)
        raise InputError(
            f"batch_size={batch_size} does not split evenly over {len(devices)} devices. Take {near}: --set batch_size=..."
        )
    return Mesh(np.asarray(devices), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the placement of arrays of which every device holds a copy."""
    return NamedSharding(mesh, PartitionSpec())


def batch_split(mesh: Mesh) -> NamedSharding:
    """Return the placement of arrays whose leading axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Make global arrays of each process's own rows of a batch."""
    split = batch_split(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(split, rows), batch)


def local_mesh() -> Mesh:
    """Return the mesh over this process's own devices, on which it evaluates its own share of the images."""
    return Mesh(np.asarray(jax.local_devices()), ("data",))


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
    """Join the other processes if the flags say that there are any."""
    if args.distributed or args.coordinator is not None:
        join_processes(args.coordinator, args.num_processes, args.process_id)
