"""Every interruption of a run, one after the other, and the same bits at the end as in a run that was left alone."""

import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from commands_data import make_folder
from processes_start import state_of

import jaxseg
from jaxseg import checkpoint_files, loop, train

CONFIG = str(Path(__file__).parent / "interruption_config.py")
STEPS = 24


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory):
    """Every start compiles the same programs."""
    options = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in options}
    jax.config.update(options[0], str(tmp_path_factory.mktemp("xla")))
    jax.config.update(options[1], 0.0)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"))


def command(data, workdir, *more):
    options = {"data.root": data, "steps": STEPS, "eval_every": 12, "checkpoint_every": 4, "log_every": 2}
    assignments = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    return ["--config", CONFIG, "--workdir", str(workdir), *assignments, *more]


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run that nobody interrupts."""
    workdir = tmp_path_factory.mktemp("alone")
    train.main(command(data, workdir))
    return workdir


def assert_same_bits(workdir, other):
    a, b = (jax.tree_util.tree_leaves_with_path(state_of(w, STEPS)) for w in (workdir, other))
    assert [path for path, _ in a] == [path for path, _ in b]
    assert len(a) > 20
    for (path, x), (_, y) in zip(a, b):
        np.testing.assert_array_equal(x, y, err_msg=str(path))
    for name in ("scores.json", "checkpoints/miou.json"):
        assert json.loads((workdir / name).read_text()) == json.loads((other / name).read_text())


@pytest.fixture
def at_step(monkeypatch):
    """A function that does something when a step is under way, once."""

    def plan(step, action):
        add = train.Report.add

        def acting(self, number, *more):
            add(self, number, *more)
            if number == step:
                action()

        monkeypatch.setattr(train.Report, "add", acting)

    yield plan
    monkeypatch.undo()


def stops(arguments, capsys, status):
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


def send(number):
    return lambda: os.kill(os.getpid(), number)


def test_a_run_that_meets_everything_ends_in_the_same_bits(alone, data, tmp_path, capsys, monkeypatch, at_step):
    workdir = tmp_path / "run"
    arguments = command(data, workdir)
    folder = workdir / "checkpoints"
    shown = "Go on with python -m jaxseg.train " + " ".join(arguments)

    # SIGTERM in step 7
    at_step(7, send(signal.SIGTERM))
    said = stops(arguments, capsys, 143)
    assert f"SIGTERM: step 7 is done and saved. {shown}" in said
    assert checkpoint_files.steps(folder) == [4, 7]
    monkeypatch.undo()

    # Ctrl-C in the evaluation after step 12: the step is on disk, and its evaluation is not waited for
    evaluate = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", lambda *a: send(signal.SIGINT)() or evaluate(*a))
    said = stops(arguments, capsys, 130)
    assert "resuming after step 7" in said
    assert f"SIGINT: step 12 is done and saved. {shown}" in said
    assert checkpoint_files.steps(folder) == [8, 12]
    assert not (folder / "miou.json").exists()
    monkeypatch.undo()

    # the evaluation is made up for before the next step; then SIGTERM again
    at_step(18, send(signal.SIGTERM))
    said = stops(arguments, capsys, 143)
    assert said.index("resuming after step 12") < said.index("step 12 val mIoU") < said.index("SIGTERM: step 18 is done")
    assert list(json.loads((folder / "miou.json").read_text())) == ["12"]
    monkeypatch.undo()

    # a byte of the newest checkpoint changes, and there is what kill -9 leaves of a save and of a deletion
    file = max((folder / "18" / "state" / "d").iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    file.write_bytes(content)
    shutil.copytree(folder / "16", folder / "20.orbax-checkpoint-tmp")
    shutil.copytree(folder / "16", folder / ".deleted" / "8")
    train.main(arguments)
    said = " ".join(capsys.readouterr().err.split())
    name = file.relative_to(folder / "18")
    assert "checkpoints step 20 was being written when the run ended: dropped" in said
    assert (
        f"step 18 is damaged ({name} has changed since it was written: its checksum differs): moved to {folder}/damaged/18"
        in said
    )
    assert "checkpoints the last good one is step 16" in said
    assert "resuming after step 16" in said
    assert not (folder / ".deleted").exists()
    assert_same_bits(workdir, alone)
    curves, expected = jaxseg.read_history(workdir), jaxseg.read_history(alone)
    assert curves["loss"].steps.tolist() == [2, 4, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24], "none is lost, none doubled"
    for got, wanted in zip(curves["val/miou"], expected["val/miou"], strict=True):
        np.testing.assert_array_equal(got, wanted)


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_stops_the_run_and_keeps_the_last_good_checkpoint(
    data, alone, tmp_path, capsys, at_step, monkeypatch, file_size_limit
):
    workdir = tmp_path / "run"
    before = workdir / "checkpoints" / "4"
    monkeypatch.setattr(train.Report, "scalars", lambda *_: None)  # whose file would be the first that fails
    at_step(7, lambda: (until(before.is_dir), file_size_limit(1500)))
    said = stops(command(data, workdir), capsys, 1)
    assert f"Error: The checkpoint of step 8 cannot be written to {workdir / 'checkpoints'}: File too large." in said
    assert "The last good one is step 4; it stays. One takes 0." in said
    assert "Make room, or the folder writable, and give the same command again: it goes on from there." in said
    file_size_limit(resource.RLIM_INFINITY)
    monkeypatch.undo()
    train.main(command(data, workdir))
    said = " ".join(capsys.readouterr().err.split())
    assert "checkpoints step 8 was being written when the run ended: dropped" in said
    assert "resuming after step 4" in said
    assert_same_bits(workdir, alone)


def test_a_disk_that_is_full_between_two_checkpoints_stops_the_run(data, tmp_path, capsys, at_step, file_size_limit):
    """TensorBoard's file is the first that cannot grow; nothing waits for it for ever."""
    at_step(5, lambda: file_size_limit(1500))
    more = ("--set", "log_every=1", "--set", "checkpoint_every=1000", "--set", "eval_every=1000")
    said = stops(command(data, tmp_path / "run", *more), capsys, 1)
    assert re.search(r"Error: .* cannot be written: File too large\. Make room there, and give the same command again", said)


def test_a_damaged_config_and_a_damaged_ranking_are_named(alone, data, tmp_path, capsys):
    workdir = shutil.copytree(alone, tmp_path / "run")
    (workdir / "checkpoints" / "miou.json").write_text("[]")
    said = stops(command(data, workdir), capsys, 1)
    assert "miou.json, which says which checkpoint is the best, cannot be parsed" in said
    assert "remove it: the latest is the best then" in said
    (workdir / "config.json").write_text("")
    said = stops(command(data, workdir), capsys, 1)
    assert f"{workdir / 'config.json'} cannot be parsed" in said
    assert "the same training command writes it anew" in said


def test_a_run_goes_on_in_another_precision(alone, data, tmp_path, capsys):
    workdir = shutil.copytree(alone, tmp_path / "run")
    train.main(command(data, workdir, "--set", "precision=bfloat16", "--set", f"steps={STEPS + 1}"))
    said = " ".join(capsys.readouterr().err.split())
    assert f"resuming after step {STEPS}" in said
    assert "changed since the run began: precision: None -> bfloat16" in said


def test_without_a_sound_checkpoint_it_does_not_begin_anew(alone, data, tmp_path, capsys):
    workdir = shutil.copytree(alone, tmp_path / "run")
    for step in checkpoint_files.steps(workdir / "checkpoints"):
        (workdir / "checkpoints" / str(step) / "state" / "_METADATA").unlink()
    said = stops(command(data, workdir), capsys, 1)
    assert f"Error: No checkpoint in {workdir / 'checkpoints'} is sound (step 24: state/_METADATA is missing;" in said
    assert "give another --workdir, or remove that folder to start anew." in said


def test_a_checkpoint_of_a_newer_jaxseg_is_refused(alone, data, tmp_path, capsys):
    workdir = shutil.copytree(alone, tmp_path / "run")
    file = workdir / "checkpoints" / str(STEPS) / "_CHECKPOINT_METADATA"
    content = json.loads(file.read_text())
    assert content["custom_metadata"] == {"format": checkpoint_files.FORMAT, "jaxseg": checkpoint_files.version()}
    content["custom_metadata"] = {"format": 3, "jaxseg": "0.9"}
    file.write_text(json.dumps(content))
    said = stops(command(data, workdir), capsys, 1)
    assert "was written by jaxseg 0.9 in format 3, and this jaxseg" in said
