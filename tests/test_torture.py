"""A run that is killed at 30 random moments, with SIGTERM in between, ends in the bits of one that was left alone."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from commands_data import make_folder
from processes_start import environment, state_of

from jaxseg import checkpoint_files

CONFIG = str(Path(__file__).parent / "interruption_config.py")
STEPS, KILLS = 2000, 30


def command(data, workdir):
    options = {"data.root": data, "steps": STEPS, "eval_every": 40, "checkpoint_every": 4, "log_every": 40}
    assignments = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "jaxseg.train", "--config", CONFIG, "--workdir", str(workdir), *assignments]


def newest(folder):
    return max(checkpoint_files.steps(folder), default=0)


def wait_for_random_moment(process, folder, draw, log):
    """Return at a moment of the start (one time in five), or soon after some steps more are saved."""
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 5))
        return
    goal = newest(folder) + draw.randrange(1, 25)
    deadline = time.monotonic() + 900
    while newest(folder) < goal:
        assert process.poll() is None, "the run ended too soon: give it more steps"
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGABRT)
            process.wait()
            pytest.fail(f"no step for 15 minutes; its threads are in\n{log.read_text()}")
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.4))


@pytest.mark.slow
def test_thirty_kills_change_no_bit(tmp_path):
    """Takes five minutes or more; ``pytest -m slow tests/test_torture.py -s`` shows each kill."""
    data = make_folder(tmp_path / "data")
    env = environment(tmp_path / "xla")
    alone = subprocess.run(command(data, tmp_path / "alone"), env=env, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    workdir, draw = tmp_path / "killed", random.Random(0)
    folder = workdir / "checkpoints"
    in_save = lost = 0
    for kill in range(1, KILLS + KILLS // 5 + 1):
        number = signal.SIGTERM if kill % 6 == 0 else signal.SIGKILL
        before = newest(folder)
        with (tmp_path / "killed.log").open("w") as log:
            process = subprocess.Popen(command(data, workdir), env=env, stderr=log, stdout=log)
            wait_for_random_moment(process, folder, draw, tmp_path / "killed.log")
            process.send_signal(number)
            status = process.wait(timeout=120)
        said = (tmp_path / "killed.log").read_text()
        assert status in (-number, 128 + number), said
        assert "Traceback" not in said
        assert before == 0 or status == -number or f"resuming     after step {before}\n" in said
        in_save += number == signal.SIGKILL and bool(list(folder.glob("*tmp*")))
        lost += newest(folder) < before
        print(f"{kill:2} {signal.Signals(number).name} at step {newest(folder)}, exit status {status}")
    assert newest(folder) < STEPS, "the run ended too soon: give it more steps"
    finished = subprocess.run(command(data, workdir), env=env, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    print(f"{KILLS} kills, {in_save} of them in a save")
    assert lost == 0, "a checkpoint that was there is gone"
    assert in_save > 0
    assert not (folder / "damaged").exists(), "no kill damages a checkpoint that is whole"
    expected, got = (jax.tree_util.tree_leaves_with_path(state_of(w, STEPS)) for w in (tmp_path / "alone", workdir))
    assert len(expected) > 20
    for (path, a), (_, b) in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))
    for name in ("scores.json", "checkpoints/miou.json"):
        assert (workdir / name).read_text() == (tmp_path / "alone" / name).read_text()
