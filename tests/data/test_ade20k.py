"""ADE20K from tiny copies of the official layout, and from a tiny TFDS data set like ``scene_parse150``."""

import io
import pickle
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxseg.data.ade20k import ADE20K, SceneParse150
from jaxseg.data.source import Source
from jaxseg.errors import InputError
from jaxseg.types import VOID

FOLDERS = {"train": "training", "val": "validation"}


def stored_label(index):
    return np.random.default_rng(index).permutation(151).astype(np.uint8)[:144].reshape(9, 16)


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "data/ADEChallengeData2016"
    for split, indices in (("train", (1, 2, 3)), ("val", (1,))):
        for kind in ("images", "annotations"):
            (base / kind / FOLDERS[split]).mkdir(parents=True)
        for index in indices:
            name = f"ADE_{split}_{index:08}"
            Image.fromarray(np.full((9, 16, 3), 9 * index, np.uint8)).save(base / f"images/{FOLDERS[split]}/{name}.jpg")
            Image.fromarray(stored_label(index)).save(base / f"annotations/{FOLDERS[split]}/{name}.png")
    (base / "objectInfo150.txt").write_text("Idx\n")
    return base


def test_zero_is_void_and_classes_count_from_zero(root):
    source = ADE20K(root=str(root))
    assert isinstance(source, Source)
    for split, indices in (("train", (1, 2, 3)), ("val", (1,))):
        source.check(split)
        examples = list(source.split(split))
        assert [example["name"] for example in examples] == [f"ADE_{split}_{index:08}" for index in indices]
        for index, example in zip(indices, examples):
            stored = stored_label(index).astype(int)
            np.testing.assert_array_equal(example["label"], np.where(stored == 0, VOID, stored - 1))
            np.testing.assert_allclose(example["image"], 9 * index, atol=2)


def test_root_may_be_the_folder_above_or_the_archive(root, tmp_path):
    assert len(ADE20K(root=str(root.parent)).split("train")) == 3
    archive = tmp_path / "ADEChallengeData2016.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in root.rglob("*"):
            file.write(path, path.relative_to(root.parent))
        file.writestr("__MACOSX/ADEChallengeData2016/images/training/._ADE_train_00000001.jpg", b"x")
        file.writestr("ADEChallengeData2016/images/training/.DS_Store", b"x")
    shutil.rmtree(root.parent)
    source = ADE20K(root=str(archive))
    source.check("train")
    split = pickle.loads(pickle.dumps(source.split("train")))
    with ThreadPoolExecutor(4) as pool:
        labels = list(pool.map(lambda index: split[index % 3]["label"], range(60)))
    for index, label in enumerate(labels):
        np.testing.assert_array_equal(label, stored_label(index % 3 + 1) - np.uint8(1))  # 0 wraps to 255, void
    assert [example["name"] for example in split[1:]] == ["ADE_train_00000002", "ADE_train_00000003"]


def test_damaged_archives(root, tmp_path):
    image = root / "images/training/ADE_train_00000002.jpg"
    with zipfile.ZipFile(tmp_path / "ade.zip", "w") as file:
        for path in root.rglob("*"):
            file.write(path, path.relative_to(root.parent))
    data = (tmp_path / "ade.zip").read_bytes()
    (tmp_path / "bits.zip").write_bytes(data.replace(image.read_bytes()[-40:], bytes(40)))
    with pytest.raises(InputError, match=r"images/training/ADE_train_0000000\d\.jpg in .*bits\.zip cannot be read \(Bad CRC-32"):
        list(ADE20K(root=str(tmp_path / "bits.zip")).split("train"))
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.zip is truncated or damaged \(.*\)\. Download it again"):
        ADE20K(root=str(tmp_path / "cut.zip")).split("train")


def test_files_of_an_archive_are_named_in_errors(root, tmp_path):
    Image.fromarray(np.full((9, 16), 151, np.uint8)).save(root / "annotations/validation/ADE_val_00000001.png")
    with zipfile.ZipFile(tmp_path / "ade.zip", "w") as file:
        for path in root.rglob("*"):
            file.write(path, path.relative_to(root.parent))
    for place in (root, tmp_path / "ade.zip"):
        with pytest.raises(InputError, match=r"annotations/validation/ADE_val_00000001\.png holds the values 151 in 144 pixels"):
            ADE20K(root=str(place)).check("val")


def test_missing_labels_and_images(root):
    (root / "annotations/training/ADE_train_00000002.png").unlink()
    with pytest.raises(
        InputError, match=r"1 of 3 images of 'train' have no label in .*/annotations/training: .*_00000002\.jpg\. U"
    ):
        ADE20K(root=str(root)).split("train")
    shutil.rmtree(root / "images/validation")
    with pytest.raises(InputError, match=r"images/validation holds no image of 'val'\. Unpack the archive again"):
        ADE20K(root=str(root)).split("val")


def test_missing_data_says_where_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=r"none does not exist\. ADEChallengeData2016\.zip \(923 MB\) comes from .*--set data\.root="
    ):
        ADE20K(root=str(tmp_path / "none")).split("train")
    with pytest.raises(InputError, match=r"does not hold ADE20K \(images/training, .*\); it holds nothing\."):
        ADE20K(root=str(tmp_path)).split("train")


@pytest.mark.parametrize("source", [ADE20K(), SceneParse150()])
def test_unknown_splits(source):
    with pytest.raises(InputError, match=r"labels of ADE20K's test images are not published\. Use the split 'val'"):
        source.split("test")
    with pytest.raises(InputError, match=r"ADE20K has no split '\.\./val'; it has train, val"):
        source.split("../val")


def test_classes_are_the_official_ones():
    source = ADE20K()
    anchors = {1: "wall", 2: "building", 3: "sky", 4: "floor", 5: "tree", 6: "ceiling", 7: "road", 8: "bed", 9: "windowpane"}
    anchors |= {10: "grass", 11: "cabinet", 12: "sidewalk", 13: "person", 21: "car", 45: "chest of drawers", 66: "toilet"}
    anchors |= {81: "bus", 90: "television receiver", 116: "bag", 128: "bicycle", 137: "traffic light", 142: "crt screen"}
    anchors |= {149: "clock", 150: "flag"}
    assert {index: source.class_names[index - 1] for index in anchors} == anchors
    assert len(set(source.class_names)) == len(set(source.palette)) == source.num_classes == 150
    colors = dict(zip(source.class_names, source.palette))
    assert (colors["wall"], colors["sky"], colors["person"]) == ((120, 120, 120), (6, 230, 230), (150, 5, 61))
    assert (colors["car"], colors["flag"]) == ((0, 102, 200), (92, 0, 255))
    assert len(source.label_map) == 150


def instance_annotation(index):
    """Categories 0 (none) to 100 in red, instances in green."""
    rng = np.random.default_rng(index)
    red, green = rng.integers(0, 101, (8, 10 + index)), rng.integers(0, 200, (8, 10 + index))
    return np.stack([red, green, 0 * red], axis=-1).astype(np.uint8)


def encoded(array, kind):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    buffer.seek(0)
    return buffer


class SceneParse150Builder(tfds.core.GeneratorBasedBuilder):
    name = "scene_parse150"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "annotation": tfds.features.Image(encoding_format="png"),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(5)), "test": self._generate_examples(range(5, 8))}

    def _generate_examples(self, indices):
        for index in indices:
            label = instance_annotation(index)
            image = np.full((*label.shape[:2], 3), 20 * index, np.uint8)
            yield index, {"image": encoded(image, "JPEG"), "annotation": encoded(label, "PNG")}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    SceneParse150Builder(data_dir=data_dir, file_format="array_record").download_and_prepare()
    return data_dir


def test_categories_of_scene_parse150_become_classes(prepared):
    source = SceneParse150(root=str(prepared))
    assert isinstance(source, Source)
    classes = dict(source.label_map)
    named = {category: source.class_names[index] for category, index in classes.items()}
    assert len(named) == 100
    assert [named[category] for category in (1, 2, 4, 9, 31, 58, 85, 100)] == [
        "bed",
        "windowpane",
        "person",
        "car",
        "stairs",
        "television receiver",
        "screen",
        "flag",
    ]
    for split, indices in (("train", range(5)), ("val", range(5, 8))):
        source.check(split)
        seen = set()
        for example in source.split(split):
            index = example["image"].shape[1] - 10  # records are shuffled when they are prepared
            red = instance_annotation(index)[..., 0]
            np.testing.assert_array_equal(example["label"], np.vectorize(lambda value: classes.get(value, VOID))(red))
            np.testing.assert_allclose(example["image"], 20 * index, atol=2)
            seen.add(index)
        assert seen == set(indices)


def test_prepared_splits_pickle_slice_and_read_from_threads(prepared):
    split = SceneParse150(root=str(prepared / "scene_parse150/1.0.0")).split("train")
    names = [example["name"] for example in split]
    assert names == [f"train_{position:06}" for position in range(5)]
    copy = pickle.loads(pickle.dumps(split))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: copy[index % 5]["name"], range(20))) == names * 4
    assert [example["name"] for example in split[3:]] == names[3:]
    assert split[-1]["name"] == names[-1]
    with pytest.raises(IndexError):
        split[5]
    assert "tensorflow" not in sys.modules


def test_unprepared_data_says_how_to_prepare_it(tmp_path):
    with pytest.raises(InputError) as caught:
        SceneParse150(root=str(tmp_path)).split("train")
    assert f"tfds build scene_parse150 --file_format=array_record --data_dir={tmp_path}" in str(caught.value)
    assert "--set data.root=" in str(caught.value)


def test_damaged_records_are_named(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "data")
    (shard,) = tmp_path.glob("data/scene_parse150/1.0.0/*-test.array_record-*")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"scene_parse150, test 0 cannot be read \(.*\)\. Copy or prepare the data set again"):
        SceneParse150(root=str(tmp_path / "data")).split("val")[0]
