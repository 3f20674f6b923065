"""What report.html says of a run whose record, history or config does not tell all of it, or tells of another split."""

import json

import pytest
from run_report_page import config

from jaxseg.history import History
from jaxseg.run_report import facts


def history(workdir, lines):
    written = History(workdir, 0)
    for step, values in lines:
        written.add(step, values)
    written.close()


def said(workdir, made, step=8, split="val"):
    curves, _ = facts.curves_of(workdir)
    return dict(facts.facts(workdir, made, curves, step, 12, split))


@pytest.mark.parametrize("known", ["config.json", "history.jsonl", "nothing"])
def test_the_best_and_the_curves_are_of_the_split_that_training_evaluated(known, tmp_path):
    """``--set eval_split=test`` chooses what is scored now; training has scored another split."""
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    (tmp_path / "checkpoints" / "miou.json").write_text('{"8": 0.75}')
    if known == "config.json":
        (tmp_path / "config.json").write_text('{"eval_split": "val"}')
    if known != "nothing":
        history(tmp_path, [(8, {"val/miou": 0.75})])
    made = config(eval_split="test")
    curves, _ = facts.curves_of(tmp_path)
    split = "test" if known == "nothing" else "val"
    assert facts.trained_split(tmp_path, curves, made) == split
    assert said(tmp_path, made)["Best checkpoint"] == f"step 8: mIoU 75.00 % on {split}, this one"


def record(workdir, *steps):
    starts = [{"step": step, "time": "2026-11-23T03:30:16+00:00"} for step in steps]
    (workdir / "run.json").write_text(json.dumps({"starts": starts}))


def test_starts_that_found_the_run_finished_are_not_counted(tmp_path):
    history(tmp_path, [(4, {"loss": 1.0}), (8, {"loss": 1.0})])
    for steps, expected in (((0,), "0 s"), ((0, 8, 8), "0 s"), ((0, 4, 8), "0 s, in 2 starts")):
        record(tmp_path, *steps)
        assert said(tmp_path, config())["Time"] == expected
        assert said(tmp_path, config())["Begun"] == "2026-11-23 03:30 UTC"


def test_a_run_that_an_older_version_began_says_since_when_it_is_known(tmp_path):
    record(tmp_path, 4, 6)
    history(tmp_path, [(6, {"loss": 1.0}), (8, {"loss": 1.0})])
    found = said(tmp_path, config())
    assert found["Time"] == "0 s, in 2 starts, since step 4"
    assert "Begun" not in found


def test_a_history_that_is_not_there_or_damaged_is_said_without_its_place(tmp_path):
    assert facts.curves_of(tmp_path) == ({}, "This run was trained before history.jsonl was kept.")
    (tmp_path / "tensorboard").mkdir()
    text = "This run was trained before history.jsonl was kept; its curves are in tensorboard/."
    assert facts.curves_of(tmp_path) == ({}, text)
    (tmp_path / "history.jsonl").write_text("x\n")
    _, text = facts.curves_of(tmp_path)
    assert text.startswith("Line 1 of history.jsonl is damaged (b'x')")
