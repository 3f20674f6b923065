"""The report as training leaves it and as ``python -m jaxseg.report`` makes it again, of a run that was really trained."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from commands_data import make_folder

import jaxseg
from jaxseg import report, run_report, train

CONFIG = str(Path(__file__).parent / "interruption_config.py")

#: The network of that config is in a module of its own.
TRUST = ["--trust", "smallest_network"]

SCHEDULE = ("steps=12", "log_every=4", "eval_every=6", "checkpoint_every=3")


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "xla"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"))


def arguments(data, workdir, *more):
    given = ["--config", CONFIG, "--workdir", str(workdir), "--set", f"data.root={data}"]
    return [*given, *(part for assignment in (*SCHEDULE, *more) for part in ("--set", assignment))]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    train.main(arguments(data, workdir, "data.class_names=('ground', '<script>alert(1)</script>')"))
    return workdir


def words(path):
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]*>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(text.split())


def test_training_leaves_a_history_a_record_and_a_report(run):
    curves = jaxseg.read_history(run)
    assert curves["loss"].steps.tolist() == [3, 4, 6, 8, 9, 12]
    assert curves["val/miou"].steps.tolist() == [6, 12]
    scores = json.loads((run / "scores.json").read_text())
    assert curves["val/miou"].values[-1] == scores["miou"]
    assert {"learning_rate", "images_per_second", "gradient_norm", "seconds"} <= set(curves)
    record = json.loads((run / "run.json").read_text())
    assert record["images"] == {"train": 9, "val": 3}
    assert record["parameters"] > 10
    assert [start["step"] for start in record["starts"]] == [0]
    assert f"python -m jaxseg.train --config {CONFIG} --workdir {run} --set" in record["starts"][0]["command"]
    said = words(run / "report.html")
    assert f"mIoU {100 * scores['miou']:.2f} %" in said
    assert "12 steps of 8 images at 8 x 8, 10.7 epochs" in said
    assert f"SmallestNetwork, {record['parameters']:,} parameters" in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said


def test_the_path_is_printed_and_a_further_start_is_noted(run, data, capsys):
    before = (run / "history.jsonl").read_text()
    train.main(arguments(data, run, "data.class_names=('ground', '<script>alert(1)</script>')"))
    assert f"report       {run / 'report.html'}\n" in capsys.readouterr().out
    assert (run / "history.jsonl").read_text() == before, "nothing was trained"
    assert [start["step"] for start in json.loads((run / "run.json").read_text())["starts"]] == [0, 12]
    assert "starts" not in words(run / "report.html").partition("Config")[0], "the second one has trained nothing"


def test_the_command_makes_it_again(run, tmp_path, capsys):
    (run / "report.html").unlink()
    report.main(["--workdir", str(run), *TRUST])
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    assert "images, 2 classes" in words(run / "report.html")
    output = tmp_path / "deep" / "other.html"
    flags = ["--checkpoint", "6", "--split", "train", "--output", str(output), *TRUST]
    report.main(["--workdir", str(run), *flags, "--set", "eval_batch_size=5", "--set", "data.class_names=('ground', 'disc')"])
    assert capsys.readouterr().out == f"{output}\n"
    said = words(output)
    assert "of step 6, on 9 train images" in said
    assert "In percent" in said
    assert "right wrong void, not counted" in said
    assert re.search(r"disc \d", said), "a class of --set"
    assert "eval_batch_size 5" in said


def fails(arguments, capsys, trust=TRUST):
    with pytest.raises(SystemExit) as stop:
        report.main([*(str(a) for a in arguments), *trust])
    assert stop.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def test_what_is_not_there_is_named(run, tmp_path, capsys):
    assert f"{tmp_path} holds no run of jaxseg" in fails(["--workdir", tmp_path], capsys)
    assert not list(tmp_path.iterdir())
    assert "If you trust that package, add --trust smallest_network" in fails(["--workdir", run], capsys, trust=[])
    assert "There is no checkpoint '5': best, latest, or one of 6, 9, 12" in fails(
        ["--workdir", run, "--checkpoint", "5"], capsys
    )
    message = fails(["--workdir", run, "--output", "/dev/null/report.html"], capsys)
    assert "/dev/null/report.html cannot be written (" in message
    assert "). Give another place: --output FILE." in message, "there is no room to be made"


def test_an_unfinished_run_has_a_report(data, tmp_path, monkeypatch, capsys):
    class Stopped(Exception):
        pass

    add = train.Report.add

    def stop(self, step, *more):
        if step == 8:
            raise Stopped
        add(self, step, *more)

    monkeypatch.setattr(train.Report, "add", stop)
    with pytest.raises(Stopped):
        train.main(arguments(data, tmp_path / "run"))
    assert not (tmp_path / "run" / "report.html").exists()
    report.main(["--workdir", str(tmp_path / "run"), "--checkpoint", "latest", *TRUST])
    assert "6 of 12 steps of 8 images" in words(tmp_path / "run" / "report.html")


def test_a_report_that_cannot_be_written_loses_no_run(data, tmp_path, monkeypatch, capsys):
    """The scores are there, the command succeeds, an old report is gone, and what to do is said."""
    replace = os.replace

    def full(source, target):
        if Path(target).name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "report.html").write_text("of an earlier state")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        train.main(arguments(data, workdir, "steps=1"))
    captured = capsys.readouterr()
    said = " ".join(captured.err.split())
    assert f"report {workdir / 'report.html'} cannot be written (No space left on device). Make room there" in said
    assert f"The run is finished; the report is made by python -m jaxseg.report --workdir {workdir}" in said
    assert "report " not in captured.out
    assert json.loads((workdir / "scores.json").read_text())["step"] == 1
    assert not (workdir / "report.html").exists()
    assert not [path for path in workdir.iterdir() if path.name.startswith(".")], "no half-written file stays"
    report.main(["--workdir", str(workdir), *TRUST])
    assert (workdir / run_report.NAME).is_file()
