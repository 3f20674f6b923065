import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg import processes
from jaxseg.errors import InputError


def split(devices, *axes):
    mesh = Mesh(np.asarray(devices).reshape((-1, 2)), ("data", "fsdp"))
    return NamedSharding(mesh, PartitionSpec(axes))


@pytest.mark.parametrize("axes", [("data",), ("data", "fsdp")])
def test_the_rows_of_a_process_are_those_of_its_devices(axes, monkeypatch):
    devices = jax.devices()
    everywhere = split(devices, *axes)
    assert processes.own_rows(everywhere, 16) == list(range(16))
    halves = (devices[:4], devices[4:])
    rows = []
    for half in halves:  # as two processes of four devices each would see them
        index = {d: i for d, i in everywhere.devices_indices_map((16,)).items() if d in half}
        monkeypatch.setattr(NamedSharding, "addressable_devices_indices_map", lambda self, shape, index=index: index)
        rows.append(processes.own_rows(everywhere, 16))
    assert rows == [list(range(8)), list(range(8, 16))]


def test_devices_in_another_order_have_other_rows(monkeypatch):
    devices = jax.devices()
    mixed = split([devices[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)], "data", "fsdp")
    index = {d: i for d, i in mixed.devices_indices_map((8,)).items() if d in devices[:4]}
    monkeypatch.setattr(NamedSharding, "addressable_devices_indices_map", lambda self, shape: index)
    assert processes.own_rows(mixed, 8) == [0, 2, 4, 6]


def test_alone_the_first_process_is_the_only_one():
    done = []
    processes.on_first(lambda: done.append(1))
    assert done == [1]

    def fail():
        raise InputError("no disk")

    with pytest.raises(InputError, match="no disk"):
        processes.on_first(fail)


def test_the_first_process_alone_acts_and_all_learn_of_its_failure(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    heard = []
    monkeypatch.setattr(
        processes.multihost_utils, "broadcast_one_to_all", lambda flag: heard.append(bool(flag)) or len(heard) > 1
    )
    processes.on_first(lambda: pytest.fail("process 1 acted"))
    with pytest.raises(InputError, match="Process 0 of this job stopped; what it says is the reason"):
        processes.on_first(lambda: pytest.fail("process 1 acted"))
    assert heard == [False, False]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (jax.errors.JaxRuntimeError, "UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:27046\nmore"),
        (ValueError, "UNKNOWN: Gloo AllGather failed: [pair.cc:538] Read error [127.0.0.1]:17825: Connection reset by peer"),
        (jax.errors.JaxRuntimeError, "INTERNAL: NCCL operation ncclAllReduce failed"),
        (jax.errors.JaxRuntimeError, "UNAVAILABLE: Task 1 heartbeat timeout"),
        (TimeoutError, "Timed out while waiting for async_write_complete barrier."),
    ],
)
def test_errors_that_mean_that_another_process_is_gone(kind, text, monkeypatch):
    error = kind(text)
    assert processes.lost_process(error) is None, "there is no other process"
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    said = str(processes.lost_process(error))
    assert said.startswith(f"Another process of this job has ended or cannot be reached ({text.splitlines()[0]}).")
    assert "Start all processes again with the same commands: they go on from the last checkpoint." in said
    assert processes.lost_process(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")) is None
    wrapped = RuntimeError("the save failed")
    assert processes.lost_process(wrapped) is None
    wrapped.__cause__ = error
    assert str(processes.lost_process(wrapped)) == said


LEAVE = """
import atexit, multiprocessing, sys, time, jax
from jaxseg import processes
jax.distributed.is_initialized = lambda: {several}
atexit.register(lambda: print("waited for the others"))
if __name__ == "__main__":
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    print(worker.pid, flush=True)
    if {several} is False:
        worker.terminate()
    print("last words")
    processes.leave(7)
"""


@pytest.mark.parametrize("several", [True, False])
def test_leaving_a_job_waits_for_nobody(several):
    done = subprocess.run([sys.executable, "-c", LEAVE.format(several=several)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert "last words" in done.stdout
    assert ("waited for the others" in done.stdout) is not several
