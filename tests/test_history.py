"""The run's own record of its scalars: what a kill, a resume and a full disk leave of it."""

import json
import math
import os
import resource

import numpy as np
import pytest

import jaxseg
from jaxseg.errors import InputError
from jaxseg.history import History, read_history


def written(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]


def run(workdir, start, lines):
    history = History(workdir, start)
    for step, values in lines:
        history.add(step, values)
    history.close()


def test_a_line_for_every_report_and_curves_from_them(tmp_path):
    run(tmp_path, 0, [(50, {"loss": 2.0}), (100, {"loss": math.nan, "skipped": 1.0}), (100, {"val/miou": 0.25})])
    assert [{k: v for k, v in line.items() if k != "seconds"} for line in written(tmp_path)] == [
        {"step": 50, "loss": 2.0},
        {"step": 100, "loss": None, "skipped": 1.0},
        {"step": 100, "val/miou": 0.25},
    ]
    curves = jaxseg.read_history(str(tmp_path))
    assert set(curves) == {"seconds", "loss", "skipped", "val/miou"}
    steps, loss = curves["loss"]
    assert steps.tolist() == [50, 100]
    np.testing.assert_array_equal(loss, [2.0, math.nan])
    assert curves["val/miou"].steps.tolist() == [100]
    assert curves["val/miou"].values.tolist() == [0.25]
    assert (np.diff(curves["seconds"].values) >= 0).all()


def test_a_resumed_run_drops_what_comes_again_and_doubles_nothing(tmp_path):
    run(tmp_path, 0, [(step, {"loss": float(step)}) for step in (2, 4, 6, 8)])
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')  # kill -9
    assert read_history(tmp_path)["loss"].steps.tolist() == [2, 4, 6, 8]
    run(tmp_path, 6, [(8, {"loss": 80.0})])
    assert [(line["step"], line["loss"]) for line in written(tmp_path)] == [(2, 2.0), (4, 4.0), (6, 6.0), (8, 80.0)]
    assert not list(tmp_path.glob(".*")), "no unfinished file stays"


def test_an_evaluation_that_is_made_up_for_is_written_once(tmp_path):
    run(tmp_path, 0, [(6, {"loss": 1.0})])
    run(tmp_path, 6, [(6, {"val/miou": 0.5})])
    run(tmp_path, 6, [(6, {"val/miou": 0.5}), (8, {"loss": 0.5})])
    assert [line["step"] for line in written(tmp_path)] == [6, 6, 8]


def test_time_goes_on_where_the_run_was(tmp_path):
    (tmp_path / "history.jsonl").write_text(
        '{"step": 5, "seconds": 100.0, "loss": 1}\n{"step": 9, "seconds": 900.0, "loss": 1}\n'
    )
    run(tmp_path, 5, [(6, {"loss": 1.0})])
    assert 100 <= written(tmp_path)[-1]["seconds"] < 110


def test_a_run_that_is_whole_is_not_written_again(tmp_path):
    run(tmp_path, 0, [(2, {"loss": 1.0})])
    before = (tmp_path / "history.jsonl").stat()
    run(tmp_path, 2, [])
    after = (tmp_path / "history.jsonl").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_no_file_and_a_damaged_line_are_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no .*history.jsonl.* Train first, or give another folder"):
        read_history(tmp_path)
    numbers = (f'{{"step": {2**63}, "loss": 1}}', f'{{"step": 1, "loss": {10**400}}}', "[" * 100_000)
    for bad in ("garbage", "[1]", '{"loss": 1}', '{"step": "1"}', '{"step": 1, "loss": "x"}', *numbers):
        (tmp_path / "history.jsonl").write_text(f'{{"step": 1, "loss": 1}}\n{bad}\n{{"step": 3, "loss": 1}}\n')
        with pytest.raises(InputError, match=r"Line 2 of .* is damaged .*a whole number as step is needed. Delete that line"):
            read_history(tmp_path)
    run(tmp_path, 3, [])
    assert read_history(tmp_path)["loss"].steps.tolist() == [1, 3], "a run that goes on leaves it out"


def test_empty_lines_are_nothing(tmp_path):
    (tmp_path / "history.jsonl").write_text('\n{"step": 1, "loss": 1}\n \n{"step": 3, "loss": 1}\n\n')
    assert read_history(tmp_path)["loss"].steps.tolist() == [1, 3]


def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path, file_size_limit):
    history = History(tmp_path, 0)
    file_size_limit(100)
    history.add(1, {"loss": 1.0})
    history.add(2, {"loss": 1.0})
    with pytest.raises(OSError, match="File too large") as error:
        history.add(3, {"loss": 1.0})
    file_size_limit(resource.RLIM_INFINITY)
    assert error.value.filename == str(tmp_path / "history.jsonl")
    history.close()
    assert os.path.getsize(tmp_path / "history.jsonl") == 100, "a line is cut off, as on a disk that is full"
    whole = read_history(tmp_path)["loss"].steps.tolist()
    run(tmp_path, whole[-1], [(whole[-1] + 1, {"loss": 1.0})])
    assert read_history(tmp_path)["loss"].steps.tolist() == [*whole, whole[-1] + 1]
