"""A job of two real processes: the same result as one, and what happens when one of them ends."""

import json
import re
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from commands_data import make_folder
from processes_start import pair, said, start_single

import jaxseg
from jaxseg import checkpoint_files
from jaxseg.checkpoints import restore_variables

CONFIG = str(Path(__file__).parent / "interruption_config.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"))


def command(data, workdir, **options):
    options = {"data.root": data, **options}
    return ["--config", CONFIG, "--workdir", str(workdir), *(p for n, v in options.items() for p in ("--set", f"{n}={v}"))]


def assert_same_result(workdir, other):
    (a, step), (b, expected) = (restore_variables(w, "latest") for w in (workdir, other))
    assert step == expected
    assert len(jax.tree.leaves(a)) == 7
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert json.loads((workdir / "scores.json").read_text()) == json.loads((other / "scores.json").read_text())


def test_two_processes_are_as_one(data, tmp_path):
    """Two processes of one device, joined by SLURM's variables, and one of two: the same bits, with dropout and batch norm."""
    options = {"steps": 6, "eval_every": 6, "checkpoint_every": 3}
    with pair(command(data, tmp_path / "two", **options), tmp_path, slurm=True) as started:
        single = start_single(command(data, tmp_path / "one", **options), tmp_path)
        assert single.wait(timeout=240) == 0, (tmp_path / "single.log").read_text()
        for i, process in enumerate(started):
            assert process.wait(timeout=240) == 0, said(tmp_path, i)
    assert_same_result(tmp_path / "two", tmp_path / "one")
    assert "devices 2 x cpu (cpu) in 2 processes" in said(tmp_path, 0)
    assert "processes if one ends, all end; the same commands again go on from the last checkpoint" in said(tmp_path, 0)
    assert "mIoU" in said(tmp_path, 0)
    for word in ("step", "mIoU", "loss", "pictures", "devices"):
        assert word not in said(tmp_path, 1), "process 0 alone reports"
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
    curves, expected = (jaxseg.read_history(tmp_path / name) for name in ("two", "one"))
    for name in ("loss", "learning_rate", "val/miou"):
        np.testing.assert_array_equal(curves[name], expected[name])
    shown, alone = (
        re.findall(r'<img src="[^"]*" alt="[^"]*"', (tmp_path / n / "report.html").read_text()) for n in ("two", "one")
    )
    assert shown == alone != [], "the scores of images are gathered over both"
    folder = tmp_path / "two" / "checkpoints" / "6"
    assert checkpoint_files.damage(folder) is None
    assert {p.name for p in (folder / "state").glob("ocdbt.process_*")} == {"ocdbt.process_0", "ocdbt.process_1"}, "both save"


#: Long enough to be interrupted, with a save every few steps.
LONG = {"steps": 200, "eval_every": 200, "checkpoint_every": 5}


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """One process that is left alone."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert start_single(command(data, workdir, **LONG), workdir.parent).wait(timeout=240) == 0
    return workdir


def wait_for_step(workdir, step, started):
    deadline = time.monotonic() + 240
    while max(checkpoint_files.steps(workdir / "checkpoints"), default=0) < step:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in started)
        time.sleep(0.02)


def finish(arguments, logs):
    with pair(arguments, logs) as started:
        for i, process in enumerate(started):
            assert process.wait(timeout=240) == 0, said(logs, i)
    assert "resuming after step" in said(logs, 0)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_other_ends_and_both_go_on(victim, data, alone, tmp_path):
    workdir = tmp_path / "run"
    arguments = command(data, workdir, **LONG)
    with pair(arguments, tmp_path) as started:
        wait_for_step(workdir, 20, started)
        started[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        # Gloo notices at once. A save whose other half is missing waits for JAX's heartbeat, 100 s.
        status = started[1 - victim].wait(timeout=130)
        took = time.monotonic() - killed
    last = said(tmp_path, 1 - victim)
    if status == 1:
        assert "Error: Another process of this job has ended or cannot be reached" in last
        assert "Start all processes again with the same commands: they go on from the last checkpoint." in last
    else:  # JAX itself ends a process whose coordinator is gone, and sometimes it is first
        assert status == -signal.SIGABRT
        assert "This most likely indicates that another task died" in last
    print(f"process {victim} killed; the other ended with status {status} after {took:.1f} s")
    assert not (workdir / "scores.json").exists()
    finish(arguments, tmp_path)
    assert_same_result(workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("receivers", [(0,), (1,), (0, 1)])
def test_a_signal_to_any_of_them_saves_the_same_step_in_all(receivers, number, status, data, alone, tmp_path):
    workdir = tmp_path / "run"
    arguments = command(data, workdir, **LONG)
    with pair(arguments, tmp_path) as started:
        wait_for_step(workdir, 10, started)
        for i in receivers:
            started[i].send_signal(number)
        statuses = [process.wait(timeout=100) for process in started]
    assert statuses == [status if i in receivers else 143 for i in range(2)], said(tmp_path, 0)
    step = max(checkpoint_files.steps(workdir / "checkpoints"))
    assert f"step {step} is done and saved. Go on with python -m jaxseg.train" in said(tmp_path, 0)
    assert checkpoint_files.damage(workdir / "checkpoints" / str(step)) is None
    finish(arguments, tmp_path)
    assert_same_result(workdir, alone)


@pytest.mark.slow
def test_a_state_that_is_split_over_processes_is_saved_evaluated_and_restored(data, alone, tmp_path):
    """Half of every array lies in each process; a signal comes in between."""
    workdir = tmp_path / "run"
    arguments = command(data, workdir, **LONG, **{"parallel.fsdp": 2, "parallel.rule": "smallest_network.split_all"})
    with pair(arguments, tmp_path) as started:
        wait_for_step(workdir, 10, started)
        started[1].send_signal(signal.SIGTERM)
        assert [process.wait(timeout=100) for process in started] == [143, 143], said(tmp_path, 0)
    finish(arguments, tmp_path)
    assert "each holds 5" in said(tmp_path, 0)  # per cent of the training state; the rest are odd lengths and counters
    for x, y in zip(*(jax.tree.leaves(restore_variables(w, "latest")[0]) for w in (workdir, alone)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)


@pytest.mark.slow
def test_a_disk_that_they_do_not_share_is_noticed(data, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    arguments = command(data, "run", **LONG)
    with pair(arguments, tmp_path, folders=folders) as started:
        assert started[1].wait(timeout=200) == 1
        started[0].wait(timeout=130)
    assert "Process 1 does not see run/config.json, which process 0 has written." in said(tmp_path, 1)
    assert "Give a --workdir on a disk that all hosts share." in said(tmp_path, 1)
