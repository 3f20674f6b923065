"""The commands as a user types them: train, kill, resume, evaluate, predict, and every way to give them bad input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from commands_data import make_folder
from PIL import Image

import jaxseg
from jaxseg import evaluate, predict, train
from jaxseg.checkpoints import restore_variables

CONFIG = str(Path(__file__).parent / "commands_config.py")


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "xla"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    train.main(["--config", CONFIG, "--workdir", str(workdir), "--set", f"data.root={data}", "--set", "steps=60"])
    return workdir


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def fails(command, arguments, capsys):
    """Run a command that must fail as a user's error, and return its message."""
    with pytest.raises(SystemExit) as stop:
        command.main([str(a) for a in arguments])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return " ".join(captured.err.split())


def fails_training(data, tmp_path, capsys, *more):
    return fails(train, ["--config", CONFIG, "--workdir", tmp_path / "run", "--set", f"data.root={data}", *more], capsys)


def test_a_run_leaves_scores_pictures_curves_and_its_config(run):
    scores = json.loads((run / "scores.json").read_text())
    assert scores["step"] == 60
    assert scores["miou"] > 0.75
    assert set(scores["iou"]) == {"ground", "blob"}
    assert (run / "pictures" / "val_000060.png").is_file()
    assert list((run / "tensorboard").iterdir())
    assert json.loads((run / "config.json").read_text())["steps"] == 60


def test_a_run_starts_from_another_and_says_what_was_taken(run, data, tmp_path, capsys):
    arguments = ["--workdir", str(tmp_path / "second"), "--set", f"data.root={data}", "--set", "steps=1"]
    train.main(["--config", CONFIG, *arguments, "--init", str(run)])
    said = " ".join(capsys.readouterr().err.split())
    assert f"init {run}: 34 arrays taken" in said
    assert "initial, for" not in said
    given, _ = restore_variables(run)
    started, _ = restore_variables(tmp_path / "second")
    step = 0.02  # the learning rate: Adam moves no parameter much further in one step
    for before, after in zip(jax.tree.leaves(given["params"]), jax.tree.leaves(started["params"])):
        np.testing.assert_allclose(after, before, atol=2 * step)
    train.main(["--config", CONFIG, *arguments, "--init", str(run)])
    assert "arrays taken" not in capsys.readouterr().err, "a run that goes on keeps its own parameters"


def test_evaluate_prints_a_table_and_json(run, capsys):
    evaluate.main(["--workdir", str(run)])
    table = capsys.readouterr().out
    assert "blob" in table
    assert "mIoU" in table
    evaluate.main(["--workdir", str(run), "--json", "--split", "train", "--checkpoint", "latest"])
    scores = json.loads(capsys.readouterr().out)
    assert scores["split"] == "train"
    assert scores["images"] == 9
    for key in ("miou", "pixel_accuracy", "mean_accuracy", "fwiou"):
        assert 0 <= scores[key] <= 1
    assert scores["miou"] == pytest.approx(np.mean(list(scores["iou"].values())))
    assert set(scores["dice"]) == {"ground", "blob"}
    assert 0 <= scores["boundary_f1"] <= 1
    assert json.loads((run / "evaluation" / "train.json").read_text()) == scores
    assert min(size_of(run / "evaluation" / "val_confusion.png")) > 50


def test_evaluation_by_hand_agrees(run, data, capsys):
    evaluate.main(["--workdir", str(run), "--json"])
    scores = json.loads(capsys.readouterr().out)
    predictor = jaxseg.load(run)
    right = wrong = 0
    for image in sorted((data / "images" / "val").iterdir()):
        labels = predictor.predict(cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB))
        truth = cv2.imread(str(data / "labels" / "val" / image.name), cv2.IMREAD_UNCHANGED)
        right, wrong = right + (labels == truth).sum(), wrong + (labels != truth).sum()
    assert scores["pixel_accuracy"] == pytest.approx(right / (right + wrong))


def test_predict_writes_masks_overlays_and_shares(run, data, tmp_path, capsys):
    odd = tmp_path / "photos" / "deep" / "odd.jpg"
    odd.parent.mkdir(parents=True)
    cv2.imwrite(str(odd), np.random.default_rng(0).integers(0, 255, (37, 51, 3)).astype(np.uint8))
    single = data / "images" / "val" / "val0.png"
    arguments = ["--workdir", str(run), "--output", str(tmp_path / "out"), "--json", str(single), str(tmp_path / "photos")]
    predict.main(arguments)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [str(single), str(odd)]
    assert lines[1]["mask"] == str(tmp_path / "out" / "deep" / "odd_mask.png")
    for line, size in zip(lines, ((16, 20), (37, 51))):
        with Image.open(line["mask"]) as mask:
            assert mask.mode == "P"
            labels = np.asarray(mask)
        assert labels.shape == size
        assert line["shares"]["blob"] == pytest.approx((labels == 1).mean(), abs=1e-6)
        assert sum(line["shares"].values()) == pytest.approx(1, abs=1e-5)
        assert size_of(line["overlay"])[0] >= size[1]
    with Image.open(lines[0]["mask"]) as mask, Image.open(single) as image:
        np.testing.assert_array_equal(np.asarray(mask), jaxseg.load(run).predict(np.asarray(image)))


def test_the_same_command_again_finds_the_run_finished(run, data, capsys):
    before = (run / "scores.json").read_text()
    train.main(["--config", CONFIG, "--workdir", str(run), "--set", f"data.root={data}", "--set", "steps=60"])
    assert "resuming after step 60" in " ".join(capsys.readouterr().err.split())
    assert (run / "scores.json").read_text() == before


def command_line(data, workdir, *more):
    options = ["--config", CONFIG, "--workdir", str(workdir), "--set", f"data.root={data}", *more]
    return [sys.executable, "-m", "jaxseg.train", *options]


def test_killed_and_started_again_gives_the_same_bits(data, tmp_path):
    """kill -9 in the middle; the resumed run ends in the parameters of one that was left alone."""
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    options = ["--set", "steps=400", "--set", "eval_every=400", "--set", "checkpoint_every=20"]
    alone = subprocess.run(command_line(data, tmp_path / "alone", *options), env=environment, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    killed = subprocess.Popen(command_line(data, tmp_path / "killed", *options), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    folder = tmp_path / "killed" / "checkpoints"
    while not [p for p in folder.glob("*") if p.name.isdecimal() and (p / "_CHECKPOINT_METADATA").is_file()]:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert "400" not in {p.name for p in folder.glob("*")}, "the run ended before it could be killed"
    again = subprocess.run(command_line(data, tmp_path / "killed", *options), env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "resuming" in again.stderr
    expected, got = restore_variables(tmp_path / "alone", "latest"), restore_variables(tmp_path / "killed", "latest")
    assert expected[1] == got[1] == 400
    flat = [np.asarray(x) for x in _leaves(expected[0])]
    assert flat
    for a, b in zip(flat, _leaves(got[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def _leaves(tree):
    return [leaf for key in sorted(tree) for leaf in (_leaves(tree[key]) if isinstance(tree[key], dict) else [tree[key]])]


def test_a_config_that_does_not_exist(capsys):
    message = fails(train, ["--config", str(Path(CONFIG).with_name("commands_confg.py"))], capsys)
    assert "There is no config file" in message
    assert "Did you mean 'commands_config.py'?" in message


def test_a_folder_that_does_not_exist(tmp_path, capsys):
    assert str(tmp_path / "nowhere") in fails_training(tmp_path / "nowhere", tmp_path, capsys)


def broken(tmp_path, change):
    root = make_folder(tmp_path / "data")
    change(root)
    return root


def write_mask(root, value, size=(16, 20)):
    cv2.imwrite(str(root / "labels/train/train3.png"), np.full(size, value, np.uint8))


def truncate_image(root):
    path = root / "images/train/train3.png"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda root: write_mask(root, 7), ["labels/train/train3.png", "7", "num_classes"]),
        (lambda root: (root / "labels/train/train3.png").unlink(), ["train3", "label"]),
        (lambda root: write_mask(root, 0, (8, 8)), ["train3.png", "8", "16", "20"]),
        (truncate_image, ["images/train/train3.png", "truncated"]),
        (lambda root: [p.unlink() for p in root.glob("*/train/*")], ["train", "no image"]),
    ],
    ids=["mask-values", "no-mask", "sizes", "truncated", "empty"],
)
def test_bad_data_is_named_before_training_starts(change, parts, tmp_path, capsys):
    message = fails_training(broken(tmp_path, change), tmp_path, capsys)
    for part in parts:
        assert part in message


def test_a_workdir_of_another_network_says_what_differs(run, data, capsys):
    message = fails(
        train, ["--config", f"{CONFIG}:other", "--workdir", run, "--set", f"data.root={data}", "--set", "steps=60"], capsys
    )
    assert "holds a run of another network" in message
    assert "model.width: 2 -> 4" in message
    assert "Give another --workdir" in message


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="needs a folder that nobody can write")
def test_a_workdir_that_cannot_be_written(data, capsys):
    message = fails(train, ["--config", CONFIG, "--workdir", "/proc/run", "--set", f"data.root={data}"], capsys)
    assert "/proc/run cannot be written" in message
    assert "--workdir DIR" in message


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(data, tmp_path, capsys):
    message = fails_training(data, tmp_path, capsys, "--set", "schedule.learning_rate=1e30", "--set", "checkpoint_every=1")
    assert "The loss is nan at step" in message or "The loss is inf at step" in message
    assert re.search(r"at step \d \(learning rate 9.25e\+29, files train\d, .*train\d\). The last good checkpoint stays", message)
    assert "optimizer.clip_norm" in message
    assert "--set skip_nonfinite=5" in message
    variables, _ = restore_variables(tmp_path / "run", "latest")
    assert variables["params"]


def test_steps_that_go_bad_are_skipped_and_named_until_there_are_too_many(data, tmp_path, capsys):
    """A learning rate of 1e30 breaks the network at the first step; three bad ones are skipped, the fourth ends the run."""
    message = fails_training(
        data, tmp_path, capsys, "--set", "schedule.learning_rate=1e30", "--set", "skip_nonfinite=3", "--set", "log_every=1"
    )
    for row in (1, 2, 3):
        assert f"update skipped, {row} so far, {row} of 3 allowed in a row." in message
    assert "the step 4 in a row of that kind" in message
    assert "--set skip_nonfinite=6" in message


def test_a_workdir_without_a_run(tmp_path, capsys):
    for command, more in ((evaluate, []), (predict, [CONFIG])):
        assert "holds no run of jaxseg" in fails(command, ["--workdir", tmp_path, *more], capsys)


def test_images_that_are_not_there(run, tmp_path, capsys):
    assert f"There is no image {tmp_path / 'a.png'}" in fails(predict, ["--workdir", run, tmp_path / "a.png"], capsys)
    assert "holds no image" in fails(predict, ["--workdir", run, tmp_path], capsys)


def test_two_images_that_would_be_written_to_one_place(run, tmp_path, capsys):
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    message = fails(predict, ["--workdir", run, tmp_path / "a.png", tmp_path / "a.jpg"], capsys)
    assert "would both be written as a" in message


def test_a_field_that_does_not_exist(data, tmp_path, capsys):
    assert "Did you mean 'steps'?" in fails_training(data, tmp_path, capsys, "--set", "step=3")


def test_processes_that_cannot_be_found():
    result = subprocess.run(
        [sys.executable, "-m", "jaxseg.train", "--config", CONFIG, "--distributed"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "give --coordinator HOST:PORT, --num-processes and --process-id" in " ".join(result.stderr.split())


def test_show_data_draws_the_augmentation(data, tmp_path, capsys):
    train.main(["--config", CONFIG, "--workdir", str(tmp_path), "--set", f"data.root={data}", "--show-data"])
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "augmentation.png"
    assert min(size_of(path)) > 100


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_shows_an_example(command, capsys):
    module = {"train": train, "evaluate": evaluate, "predict": predict}[command]
    with pytest.raises(SystemExit) as stop:
        module.main(["--help"])
    assert stop.value.code == 0
    assert f"  python -m jaxseg.{command} --" in capsys.readouterr().out
