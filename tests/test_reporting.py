"""What a run writes while it goes: its speed, and nothing twice."""

import itertools
import json
import signal
from unittest.mock import Mock

import numpy as np
import optax
import pytest
from pixelwise import Pixelwise
from tensorboardX.event_file_writer import EventsWriter

from jaxseg.checkpoints import Checkpoints
from jaxseg.compilation import OverMesh
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.interruption import Interrupted, Signals
from jaxseg.loop import Loop
from jaxseg.reporting import Report
from jaxseg.step import TrainState

CONFIG = Config(
    model=Pixelwise(num_classes=2),
    data=Folder(root="none", num_classes=2, class_names=("a", "b")),
    crop_size=(8, 8),
    steps=4,
    batch_size=8,
    log_every=1,
    checkpoint_every=100,
    eval_every=100,
)


@pytest.fixture
def events(monkeypatch):
    """What is written to TensorBoard: names, at their steps."""
    found = []

    def write(self, event):
        found.extend((event.step, value.tag) for value in event.summary.value)

    monkeypatch.setattr(EventsWriter, "write_event", write)
    return found


def report(workdir, start=0):
    return Report(CONFIG, workdir, optax.constant_schedule(0.1), start)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]


def test_a_score_that_is_there_is_doubled_in_neither_file(tmp_path, events):
    picture = np.zeros((2, 2, 3), np.uint8)
    for start, expected in ((0, 3), (4, 0)):  # the second run scores step 4 again, as the first was killed before it was ranked
        events.clear()
        with report(tmp_path, start) as made:
            if not start:
                made.scalars(4, {"train/loss": 1.0})
            made.scalars(4, {"val/miou": 0.5})
            made.picture(4, "val", picture)
        assert len(events) == expected
        assert [line["step"] for line in lines(tmp_path)] == [4, 4]
    with report(tmp_path, 4) as made:
        made.scalars(4, {"test/miou": 0.5})
        made.picture(4, "test", picture)
    assert events == [(4, "test/miou"), (4, "test/predictions")], "another split is no repetition"


@pytest.mark.parametrize("stop", [1, 3])
def test_the_first_step_which_is_compiled_has_no_speed(stop, tmp_path, events):
    """A signal that comes in some step ends the run after it, with what was counted until then."""
    done = []

    def update(state, batch):
        done.append(batch)
        if len(done) == stop:
            signal.raise_signal(signal.SIGTERM)
        return state, {"loss": 1.0, "gradient_norm": 1.0, "nonfinite_in_row": 0, "updates": 0, "skipped": 0}

    training, checkpoints, state = Mock(spec=OverMesh, update=update), Mock(spec=Checkpoints), Mock(spec=TrainState, step=0)
    training.spread.side_effect = lambda state: state
    batches = ({"name": ("a",)} for _ in itertools.count())
    with report(tmp_path) as made, Signals() as signals, pytest.raises(Interrupted):
        Loop(CONFIG, training, checkpoints, made, signals, ()).run(state, batches)
    assert [line["step"] for line in lines(tmp_path)] == [*range(1, stop + 1)]
    assert ["images_per_second" in line for line in lines(tmp_path)] == [False, *[True] * (stop - 1)]
    assert all(line.get("images_per_second", 1) > 0 for line in lines(tmp_path))
