"""The search finds what was hidden: a unary that only smoothing by colour can mend."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.crf import Parameters, search, unary_from_labels
from jaxseg.crf import __main__ as command
from jaxseg.crf.search import Case
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.models import UNet

GRID = {"w1": (0.001, 4.0), "sigma_alpha": (6.0,), "sigma_beta": (10.0, 1000.0)}
START = Parameters(w2=0.001, sigma_gamma=1.0, iterations=3)


def cases(count=2):
    """Two halves of different colours, and labels of which a fifth are wrong."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        label = np.zeros((10, 12), np.uint8)
        label[:, 5:] = 1
        image = (np.where(label, 60.0, 180.0)[..., None] + rng.normal(0, 3, (10, 12, 3))).astype(np.float32)
        wrong = np.where(rng.random(label.shape) < 0.2, 1 - label, label)
        label[0, 0] = 255
        made.append(Case(np.asarray(unary_from_labels(jnp.asarray(wrong), 2), np.float16), image, label))
    return made


def test_finds_the_best_of_the_grid_and_goes_on_around_it():
    said = []
    found = search.search(cases(), 2, start=START, grid=GRID, rounds=2, say=said.append)
    best = next(iter(found))
    assert best.w1 > 2
    assert best.sigma_beta < 600
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[best] > 0.95 > search.plain_score(cases(), 2)
    assert len(found) == 4 + 4 - 1
    assert said[0] == "round 1: 4 candidates on 2 images"
    assert said[1].startswith("round 1: best w1=")
    assert all((p.w2, p.iterations) == (0.001, 3) for p in found)


def test_a_finer_grid_lies_around_the_best():
    finer = search.refined({"w1": (3.0, 5.0, 8.0), "sigma_alpha": (30.0, 50.0)}, Parameters(w1=5.0, sigma_alpha=30.0))
    assert finer == {"w1": (4.0, 5.0, 6.5), "sigma_alpha": (30.0, 40.0)}


def test_refuses():
    with pytest.raises(InputError, match="0 images and 2 rounds: a search needs at least one of each"):
        search.search([], 2, start=START, grid=GRID)


class Examples(list):
    """A split in memory."""


def test_the_command_prints_the_flags_to_use(monkeypatch, capsys, tmp_path):
    model = UNet(num_classes=2, width=2, depth=1)
    config = Config(model=model, data=Folder(root="unused", num_classes=2), crop_size=(16, 16), steps=1, batch_size=1)
    predictor = Predictor.of_state(config, model.init(jax.random.key(5), jnp.zeros((1, 16, 16, 3))))
    split = [{"image": c.image.clip(0, 255).astype(np.uint8), "label": c.label, "name": "x"} for c in cases(3)]
    monkeypatch.setattr(command, "load", lambda *_, **__: predictor)
    monkeypatch.setattr(Folder, "split", lambda *_: Examples(split))
    flags = ["search", "--workdir", str(tmp_path), "--images", "2", "--rounds", "1", "--w1", "1", "--sigma-alpha", "5,9"]
    command.main([*flags, "--sigma-beta", "20"])
    out = capsys.readouterr().out
    assert "without CRF" in out
    assert "evaluate and predict with  --crf=w1=1,sigma_alpha=" in out
    command.main([*flags, "--sigma-beta", "20", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 2
    assert {row["sigma_alpha"] for row in report["candidates"]} == {5.0, 9.0}
    assert 0 <= report["plain_miou"] <= 1
    with pytest.raises(SystemExit):
        command.main([*flags, "--sigma-beta", "-3"])
