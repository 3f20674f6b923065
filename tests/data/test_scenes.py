import dataclasses
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxseg.data.scene_drawing import draw_scene
from jaxseg.data.scenes import Scenes, SceneSplit
from jaxseg.data.scenes_builder import ScenesBuilder, scenes_config
from jaxseg.data.source import Source
from jaxseg.errors import InputError
from jaxseg.types import VOID

SIZE = (32, 48)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    source = Scenes(root=str(tmp_path_factory.mktemp("scenes")), size=SIZE, train_size=5, val_size=2, test_size=1)
    source.split("train")
    return source


def forbid_drawing(monkeypatch):
    def fail(*args):
        raise AssertionError("drawn again")

    monkeypatch.setattr(ScenesBuilder, "_generate_examples", fail)


def same(examples, others):
    return all(
        np.array_equal(a["image"], b["image"]) and np.array_equal(a["label"], b["label"]) and a["name"] == b["name"]
        for a, b in zip(examples, others, strict=True)
    )


def test_satisfies_source(scenes):
    assert isinstance(scenes, Source)
    assert scenes.class_names == ("sky", "road", "building", "tree", "car", "person")
    assert len(set(scenes.palette)) == 6
    assert scenes.num_channels == 3


def test_examples(scenes):
    assert [len(scenes.split(name)) for name in ("train", "val", "test")] == [5, 2, 1]
    for example in scenes.split("train"):
        assert example["image"].shape == (*SIZE, 3)
        assert example["label"].shape == SIZE
        assert example["image"].dtype == example["label"].dtype == np.uint8
        assert set(np.unique(example["label"])) <= {*range(6), VOID}
    assert [example["name"] for example in scenes.split("val")] == ["val_00000", "val_00001"]


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("val", 1), ("test", 2)])
def test_a_scene_depends_on_seed_split_and_index_alone(scenes, split, number):
    image, label = draw_scene(np.random.default_rng([0, number, 0]), SIZE)
    example = scenes.split(split)[0]
    np.testing.assert_array_equal(example["image"], image)
    np.testing.assert_array_equal(example["label"], label)


def test_more_scenes_begin_with_the_same(scenes, tmp_path):
    more = dataclasses.replace(scenes, root=str(tmp_path), train_size=7).split("train")
    assert same(more[:5], scenes.split("train"))


def test_scenes_are_drawn_once(scenes, monkeypatch, capfd):
    before = list(scenes.split("train"))
    forbid_drawing(monkeypatch)
    assert same(scenes.split("train"), before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"train_size": 4}, {"val_size": 1}, {"test_size": 2}, {"size": (48, 32)}, {"posters": True}]
)
def test_other_scenes_have_another_cache(scenes, monkeypatch, change):
    forbid_drawing(monkeypatch)
    with pytest.raises(AssertionError, match="drawn again"):
        dataclasses.replace(scenes, **change).split("train")


def test_another_version_has_another_cache(scenes, monkeypatch):
    forbid_drawing(monkeypatch)
    monkeypatch.setattr(ScenesBuilder, "VERSION", tfds.core.Version("9.0.0"))
    with pytest.raises(AssertionError, match="drawn again"):
        scenes.split("train")


def test_the_drawing_is_that_of_its_version():
    # A change of the drawing needs another VERSION, and then these numbers anew. Other versions of OpenCV may round otherwise.
    assert str(ScenesBuilder.VERSION) == "1.0.0"
    image, label = draw_scene(np.random.default_rng([0, 0, 0]), (96, 128))
    counts = np.bincount(label.ravel(), minlength=256)[[0, 1, 2, 3, 4, 5, VOID]]
    np.testing.assert_allclose(counts, [1470, 5735, 2670, 1238, 597, 257, 321], atol=30)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), [68.4, 67.4, 63.7], atol=1)


def test_the_default_configuration_is_listed_by_the_builder(monkeypatch, tmp_path):
    listed = scenes_config((32, 32), (1, 1, 1), 0)
    monkeypatch.setattr(ScenesBuilder, "BUILDER_CONFIGS", [listed])
    monkeypatch.setattr(ScenesBuilder, "builder_configs", {listed.name: listed})
    assert len(Scenes(root=str(tmp_path), size=(32, 32), train_size=1, val_size=1, test_size=1).split("train")) == 1


def test_indexing(scenes):
    train = scenes.split("train")
    assert train[-1]["name"] == train[np.int64(4)]["name"] == "train_00004"
    assert [example["name"] for example in train[1:5:2]] == ["train_00001", "train_00003"]
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"scene {index} of 5"):
            train[index]


def test_threads_and_pickling(scenes):
    train = scenes.split("train")
    assert same(pickle.loads(pickle.dumps(train)), train)
    with ThreadPoolExecutor(4) as pool:
        assert same(pool.map(train.__getitem__, range(5)), train)


PROGRAM = """
import sys, zlib
from jaxseg.data.scenes import Scenes, SceneSplit
train = Scenes(root=sys.argv[1], size=(64, 96), train_size=20, val_size=1, test_size=1).split("train")
print(len(train), zlib.crc32(b"".join(example["image"].tobytes() for example in train)), "tensorflow" in sys.modules)
"""


def test_two_processes_at_once_and_no_tensorflow(tmp_path):
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    (out, err), (other_out, other_err) = (run.communicate(timeout=60) for run in runs)
    assert out == other_out
    assert out.split()[::2] == ["20", "False"]
    announced = (err + other_err).splitlines()
    assert len(announced) == 1
    assert announced[0].startswith(f"Drawing 22 scenes of 64x96, once, into {tmp_path}")


def test_without_locks_another_process_may_be_first(monkeypatch, tmp_path):
    source = Scenes(root=str(tmp_path), size=(32, 32), train_size=1, val_size=1, test_size=1)
    prepare = ScenesBuilder.download_and_prepare

    def refuse(*args):
        raise OSError("no locks available")

    def second(builder):
        prepare(ScenesBuilder(data_dir=tmp_path, config=builder.builder_config, file_format="array_record"))
        raise OSError("Directory not empty")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(ScenesBuilder, "download_and_prepare", second)
    assert len(source.split("train")) == 1


def test_what_a_killed_process_left_is_removed(tmp_path):
    source = Scenes(root=str(tmp_path), size=(32, 32), train_size=1, val_size=1, test_size=1)
    config = scenes_config((32, 32), (1, 1, 1), 0)
    leftover = tmp_path / ScenesBuilder.name / config.name / f"incomplete.ABCDEF_{ScenesBuilder.VERSION}"
    leftover.mkdir(parents=True)
    (leftover / "some.array_record").touch()
    assert len(source.split("train")) == 1
    assert not leftover.exists()


def test_a_name_that_is_no_split(scenes):
    with pytest.raises(InputError, match=r"The scenes have no split 'tran'\. Did you mean 'train'\?"):
        scenes.split("tran")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (31, 128)}, r"size=\(31, 128\) is too small: a scene needs at least 32 pixels on both sides"),
        ({"train_size": 0}, "train_size=0 must be at least 1"),
        ({"val_size": -1}, "val_size=-1 must be at least 1"),
        ({"test_size": 0}, "test_size=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
def test_fields_out_of_range(fields, message):
    with pytest.raises(InputError, match=message):
        Scenes(**fields)


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be kept in .*file/data \(Not a directory\).*--set data.root=DIR"):
        Scenes(root=str(tmp_path / "file" / "data")).split("train")


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    Scenes(root="~/data", size=(32, 32), train_size=1, val_size=1, test_size=1).split("val")
    assert (tmp_path / "data" / "jaxseg_scenes").is_dir()


@pytest.mark.parametrize(("file", "content"), [("*train.array_record*", b""), ("dataset_info.json", b"{")])
def test_a_damaged_cache(tmp_path, file, content):
    source = Scenes(root=str(tmp_path), size=(32, 32), train_size=1, val_size=1, test_size=1)
    source.split("train")
    (path,) = tmp_path.rglob(file)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"The scenes in {path.parent} are damaged .*Remove this folder"):
        SceneSplit(path.parent, "train")[0]


def test_users_of_tfds(scenes):
    builder = tfds.builder("jaxseg_scenes/32x48_5_2_1_seed0", data_dir=scenes.root)
    assert builder.info.splits["train"].num_examples == 5
    assert builder.info.metadata["class_names"] == list(scenes.class_names)
    assert "car and person" in builder.info.description
    assert "jaxseg" in builder.info.citation
    example = builder.as_data_source(split="val")[1]
    ours = scenes.split("val")[1]
    np.testing.assert_array_equal(example["image"], ours["image"])
    np.testing.assert_array_equal(example["label"][..., 0], ours["label"])
    assert tfds.builder_cls("jaxseg_scenes") is ScenesBuilder


def test_images_are_stored_without_loss_and_labels_as_grey(scenes):
    stored = tfds.builder("jaxseg_scenes/32x48_5_2_1_seed0", data_dir=scenes.root).as_data_source(
        split="train", decoders={key: tfds.decode.SkipDecoding() for key in ("image", "label")}
    )[0]
    assert stored["image"][:4] == stored["label"][:4] == b"\x89PNG"
    assert cv2.imdecode(np.frombuffer(stored["label"], np.uint8), cv2.IMREAD_UNCHANGED).shape == SIZE
