"""The rows of the pipeline's benchmark, on a tiny folder, and its verdict in words."""

import dataclasses
import json
import sys
import types

import pytest
from commands_data import make_folder

from jaxseg import benchmark, device_augment
from jaxseg.benchmarks import data
from jaxseg.data.augment import ColorJitter, RandomFlip
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(data, "SECONDS", 0.05)
    monkeypatch.setattr(data, "EXAMPLES", 4)


@pytest.fixture
def config(tmp_path):
    source = Folder(root=str(make_folder(tmp_path / "data")), num_classes=2)
    return dataclasses.replace(
        data.drawn_scenes(), data=source, crop_size=(8, 8), augment=(RandomFlip(), ColorJitter(0.2), RandomFlip()), batch_size=4
    )


def rows(config, **options):
    return list(data.rows(1, None, True, False, **{"config": config, "workers": (0,), **options}))


def test_every_stage_has_its_time_and_the_shares_add_up(config):
    *stages, whole, verdict = rows(dataclasses.replace(config, image_size=(12, 12)))
    assert [row["name"] for row in stages] == [
        *("reading", "decoding the image", "decoding the label", "Resize"),
        *("RandomFlip", "ColorJitter", "RandomFlip (3)", "RandomCrop", "batching", "transfer to the device"),
    ]
    assert all(row["jaxseg_ms"] > 0 for row in stages)
    assert sum(row["share"] for row in stages) == pytest.approx(1)
    for row in stages[1:3]:
        assert row["ratio_pillow"] == pytest.approx(row["jaxseg_ms"] / row["pillow_ms"])
    assert whole["name"] == "threads"
    assert whole["images_per_second"] == whole["per_process"] == pytest.approx(1e3 / whole["jaxseg_ms"])
    assert benchmark.table([*stages, whole, verdict]).row_count == 12
    worst = max(stages, key=lambda row: row["share"])["name"]
    assert verdict["words"].startswith(f"The bottleneck is {worst}: ")
    assert json.loads(json.dumps([*stages, whole, verdict], allow_nan=False))


def test_the_remedy_is_that_of_the_slowest_stage(config, monkeypatch):
    def slow(jitter, example, rng):
        sum(range(10**6))
        return example

    monkeypatch.setattr(ColorJitter, "__call__", slow)
    verdict = rows(config, steps_per_second=100.0)[-1]
    assert "The bottleneck is ColorJitter: " in verdict["words"]
    assert "Remedy: crop before it, do it on the device (device_augment)" in verdict["words"]
    assert "100 steps per second of 4 images need 400 images/s: " in verdict["words"]


@pytest.mark.parametrize(("image_size", "free"), [(None, 3), ((12, 12), 4)])
def test_what_is_in_memory_has_no_share(config, image_size, free):
    config = dataclasses.replace(config, image_size=image_size, cache_mb=1)
    *stages, verdict = rows(config, workers=())
    assert [row["share"] is None for row in stages] == [True] * free + [False] * (len(stages) - free)
    assert sum(row["share"] or 0 for row in stages) == pytest.approx(1)
    assert "reading" not in verdict["words"]


def test_what_the_device_does_is_timed_but_no_share_of_the_hosts(config):
    config = dataclasses.replace(config, load_size=(12, 16), device_augment=(device_augment.RandomCrop((8, 8)),))
    (row,) = data.rows(1, "device_augment", True, False, config=config, workers=())
    assert row["jaxseg_ms"] > 0
    assert row["share"] is None


def test_a_source_of_ones_own_is_read_and_decoded_as_one(config, monkeypatch):
    from jaxseg.data.folder import FolderSplit

    monkeypatch.delattr(FolderSplit, "stored")
    names = [row["name"] for row in rows(config)]
    assert names[:2] == ["reading and decoding", "RandomFlip"]


def test_a_memory_is_full_before_the_clock_starts(config, monkeypatch):
    seen = []
    monkeypatch.setattr(data, "_rate", lambda batches, size, warm: seen.append(warm) or 1.0)
    rows(config)
    rows(dataclasses.replace(config, batch_size=1, cache_mb=1), workers=(2,))
    assert seen == [8, 24]


def test_ratio_to_pytorchs_loader(config, monkeypatch):
    peer = types.SimpleNamespace(batches=lambda *_: iter(lambda: 0, 1))
    monkeypatch.setitem(sys.modules, "jaxseg.benchmarks.torch_loading", peer)
    monkeypatch.setattr("jaxseg.benchmarks.torch_loading", peer, raising=False)
    (row,) = data.rows(1, "threads", True, True, config=config, workers=(0,))
    assert row["ratio_torch"] == pytest.approx(row["jaxseg_ms"] / row["torch_ms"])


def test_the_command_measures_the_config_that_it_names(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda _: None)
    root = make_folder(tmp_path / "data")
    flags = ["--config", "tests/commands_config.py", "--set", f"data.root={root}", "--workers", "0", "--rounds", "1"]
    benchmark.main(["data", *flags, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found][3:] == [
        "RandomFlip",
        "RandomCrop",
        "batching",
        "transfer to the device",
        "threads",
        "bottleneck",
    ]
    benchmark.main(["data", *flags])
    assert "The bottleneck is" in capsys.readouterr().out


def test_flags_of_the_pipeline_are_for_it_alone(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["ops", "--step-rate", "3"])
    assert "--config, --set and --step-rate are for the benchmark of data alone" in capsys.readouterr().err


def test_default_config_can_be_overridden():
    assert data.chosen(None, ["crop_size=(32, 32)", "data.train_size=10"]).crop_size == (32, 32)
    with pytest.raises(InputError, match="the config has no 'crop'"):
        data.chosen(None, ["crop=3"])
