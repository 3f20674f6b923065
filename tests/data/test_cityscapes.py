"""Cityscapes from tiny copies of the official layout, and from a tiny TFDS data set like ``cityscapes``."""

import dataclasses
import io
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxseg.data.cityscapes import Cityscapes, CityscapesTFDS
from jaxseg.data.source import Source
from jaxseg.errors import InputError
from jaxseg.types import VOID

# The official table: the label that is stored, and its train ID.
TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15}
TRAIN_IDS |= {31: 16, 32: 17, 33: 18}
SCENES = {
    "train": ("aachen_000000_000019", "zurich_000001_000019"),
    "val": ("lindau_000000_000019",),
    "test": ("berlin_000000_000019",),
    "train_extra": ("erlangen_000000_000000",),
}


def label_ids(scene):
    if scene.startswith("berlin"):
        return np.full((6, 12), 3, np.uint8)
    rng = np.random.default_rng(sum(scene.encode()))
    return rng.permutation(np.r_[0:34, 0:34, 0:4]).astype(np.uint8).reshape(6, 12)


def train_ids(label):
    return np.vectorize(lambda value: TRAIN_IDS.get(value, VOID))(label)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    base = tmp_path / "cityscapes"
    for split, scenes in SCENES.items():
        kind = "gtCoarse" if split == "train_extra" else "gtFine"
        for scene in scenes:
            city = scene.split("_")[0]
            color = (len(city), 100, 0)
            write(base / f"leftImg8bit/{split}/{city}/{scene}_leftImg8bit.png", np.full((6, 12, 3), color, np.uint8))
            write(base / f"{kind}/{split}/{city}/{scene}_{kind}_labelIds.png", label_ids(scene))
            write(base / f"{kind}/{split}/{city}/{scene}_{kind}_instanceIds.png", np.full((6, 12), 24000, np.uint16))
            write(base / f"{kind}/{split}/{city}/{scene}_{kind}_color.png", np.zeros((6, 12, 4), np.uint8))
            (base / f"{kind}/{split}/{city}/{scene}_{kind}_polygons.json").write_text("{}")
    return base


def names_of(split):
    return tuple(example["name"] for example in split)


def test_label_ids_become_train_ids(root):
    source = Cityscapes(root=str(root))
    assert isinstance(source, Source)
    for split, scenes in SCENES.items():
        if split != "test":
            source.check(split)
        examples = source.split(split)
        assert names_of(examples) == scenes
        for example in examples:
            np.testing.assert_array_equal(example["label"], train_ids(label_ids(example["name"])))
            assert example["label"].dtype == np.uint8
            assert example["image"][0, 0].tolist() == [example["name"].index("_"), 100, 0]


def test_train_set_chooses_what_train_is(root):
    def names(train_set):
        return names_of(Cityscapes(root=str(root), train_set=train_set).split("train"))

    assert names("train") == SCENES["train"]
    assert names("trainval") == tuple(sorted(SCENES["train"] + SCENES["val"]))
    assert names("train_extra") == SCENES["train_extra"]
    assert names_of(Cityscapes(root=str(root)).split("trainval")) == names("trainval")
    with pytest.raises(InputError, match="train_set is 'val'; it must be one of train, trainval, train_extra"):
        Cityscapes(train_set="val")


def test_labels_of_the_test_set_are_void(root):
    split = Cityscapes(root=str(root)).split("test")
    assert (split[0]["label"] == VOID).all()
    with pytest.raises(InputError, match="labels of 'test' that were read hold nothing but void"):
        Cityscapes(root=str(root)).check("test")


def test_train_ids_are_read_where_there_are_no_label_ids(root):
    source = Cityscapes(root=str(root))
    for path in (root / "gtFine/train").rglob("*_labelIds.png"):
        scene = path.name.removesuffix("_gtFine_labelIds.png")
        write(path.with_name(f"{scene}_gtFine_labelTrainIds.png"), train_ids(label_ids(scene)).astype(np.uint8))
        assert source.split("train").source is source  # label IDs go before
    for path in (root / "gtFine/train").rglob("*_labelIds.png"):
        path.unlink()
    for example in source.split("train"):
        np.testing.assert_array_equal(example["label"], train_ids(label_ids(example["name"])))
    with pytest.raises(InputError, match="labels of 'trainval' are partly labelIds and partly labelTrainIds"):
        source.split("trainval")


def archive(root, path, *folders):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for folder in folders:
            for source in sorted((root / folder).rglob("*")):
                file.write(source, source.relative_to(root))


def test_the_archives_are_read_in_place(root, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    archive(root, place / "leftImg8bit_trainvaltest.zip", "leftImg8bit/train", "leftImg8bit/val", "leftImg8bit/test")
    archive(root, place / "leftImg8bit_trainextra.zip", "leftImg8bit/train_extra")
    archive(root, place / "gtFine_trainvaltest.zip", "gtFine")
    archive(root, place / "gtCoarse.zip", "gtCoarse")
    for given in (place, place / "gtFine_trainvaltest.zip"):
        source = Cityscapes(root=str(given))
        for split, scenes in SCENES.items():
            examples = pickle.loads(pickle.dumps(source.split(split)))
            assert names_of(examples) == scenes
            np.testing.assert_array_equal(examples[0]["label"], train_ids(label_ids(scenes[0])))
    (place / "gtCoarse.zip").unlink()
    with pytest.raises(
        InputError, match=r"downloads does not hold Cityscapes' gtCoarse/train_extra; it holds gtFine_trainvaltest\.zi"
    ):
        source.split("train_extra")


def test_archives_unpacked_each_to_its_folder(root):
    for kind in ("leftImg8bit", "gtFine"):
        (root / f"{kind}_trainvaltest").mkdir()
        shutil.move(root / kind, root / f"{kind}_trainvaltest" / kind)
    assert names_of(Cityscapes(root=str(root)).split("train")) == SCENES["train"]


def test_unknown_values_and_missing_files(root):
    path = root / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png"
    write(path, np.full((6, 12), 34, np.uint8))
    with pytest.raises(
        InputError, match=r"lindau_000000_000019_gtFine_labelIds\.png holds the values 34 in 72 pixels, but label_map"
    ):
        Cityscapes(root=str(root)).check("val")
    write(path, np.zeros((6, 11), np.uint8))
    with pytest.raises(
        InputError, match=r"_leftImg8bit\.png is 12x6 \(width x height\), but its label .*labelIds\.png is 11x6\."
    ):
        Cityscapes(root=str(root)).check("val")
    path.unlink()
    with pytest.raises(
        InputError, match=r"1 of 1 images of 'val' have no label in .*gtFine/val \(\*_gtFine_labelIds\.png\): .*lindau"
    ):
        Cityscapes(root=str(root)).check("val")
    shutil.copytree(root / "leftImg8bit/train/aachen", root / "leftImg8bit/train/copy")
    with pytest.raises(InputError, match=r"are both named 'aachen_000000_000019'\. Remove one of them"):
        Cityscapes(root=str(root)).split("train")


def test_missing_data_says_where_to_get_it(tmp_path, root):
    with pytest.raises(InputError, match=r"none does not exist\. leftImg8bit_trainvaltest\.zip \(11 GB\) .*--set data\.root="):
        Cityscapes(root=str(tmp_path / "none")).split("train")
    with pytest.raises(InputError, match=r"does not hold Cityscapes' leftImg8bit/train; it holds cityscapes\. leftImg8bit_"):
        Cityscapes(root=str(tmp_path)).split("train")
    with pytest.raises(InputError, match=r"Cityscapes has no split '\.\./train'; it has train, val, test, trainval, train_extra"):
        Cityscapes(root=str(root)).split("../train")


def test_classes_and_colours():
    source = Cityscapes()
    colors = dict(zip(source.class_names, source.palette))
    assert len(colors) == len(set(source.palette)) == source.num_classes == 19
    assert (colors["road"], colors["person"], colors["bicycle"]) == ((128, 64, 128), (220, 20, 60), (119, 11, 32))
    assert [source.class_names.index(name) for name in ("road", "sky", "car", "train", "bicycle")] == [0, 10, 13, 16, 18]
    assert {value: target for value, target in source.label_map if target != VOID} == TRAIN_IDS
    assert [value for value, _ in source.label_map] == list(range(34))


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


class CityscapesBuilder(tfds.core.GeneratorBasedBuilder):
    name = "cityscapes"
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("semantic_segmentation", "semantic_segmentation_extra")
    ]

    def _info(self):
        features = {
            "image_id": tfds.features.Text(),
            "image_left": tfds.features.Image(shape=(6, 12, 3), encoding_format="png"),
            "segmentation_label": tfds.features.Image(shape=(6, 12, 1), encoding_format="png", use_colormap=True),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        splits = {"train": "train", "validation": "val"}
        splits |= {"train_extra": "train_extra"} if self.builder_config.name.endswith("extra") else {"test": "test"}
        return {name: self._generate_examples(SCENES[split]) for name, split in splits.items()}

    def _generate_examples(self, scenes):
        for scene in scenes:
            yield (
                scene,
                {
                    "image_id": scene if scene != "berlin_000000_000019" else "../berlin 1",
                    "image_left": encoded(np.full((6, 12, 3), (len(scene), 0, 0), np.uint8)),
                    "segmentation_label": encoded(label_ids(scene)),
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    for config in ("semantic_segmentation", "semantic_segmentation_extra"):
        CityscapesBuilder(config=config, data_dir=data_dir, file_format="array_record").download_and_prepare()
    return data_dir


def test_what_tfds_prepared_is_the_same(prepared):
    source = CityscapesTFDS(root=str(prepared))
    assert isinstance(source, Source)
    for split in ("train", "val", "train_extra", "trainval"):
        source.check(split)
        examples = pickle.loads(pickle.dumps(source.split(split)))
        assert sorted(names_of(examples)) == sorted(SCENES["train"] + SCENES["val"] if split == "trainval" else SCENES[split])
        for example in examples:
            np.testing.assert_array_equal(example["label"], train_ids(label_ids(example["name"])))
            assert example["image"][0, 0].tolist() == [len(example["name"]), 0, 0]
    assert names_of(dataclasses.replace(source, train_set="train_extra").split("train")) == SCENES["train_extra"]
    assert names_of(source.split("test")) == ("___berlin_1",)


def test_prepared_data_that_does_not_fit(prepared, tmp_path):
    with pytest.raises(InputError) as caught:
        CityscapesTFDS(root=str(tmp_path)).split("train")
    assert "tfds build cityscapes/semantic_segmentation --manual_dir=" in str(caught.value)
    version = shutil.copytree(prepared / "cityscapes/semantic_segmentation/1.0.0", tmp_path / "version")
    with pytest.raises(InputError, match=r"version has no split 'train_extra'; it has .*\. Prepare it again"):
        CityscapesTFDS(root=str(version)).split("train_extra")
    info = json.loads((version / "dataset_info.json").read_text())
    (version / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match=r"convert_format --dataset_version_dir=.*version --out_file_format=array_record"):
        CityscapesTFDS(root=str(version)).split("train")
    features = json.loads((version / "features.json").read_text())
    del features["featuresDict"]["features"]["segmentation_label"]
    (version / "features.json").write_text(json.dumps(features))
    with pytest.raises(
        InputError, match=r"version is not cityscapes/semantic_segmentation: it has no feature 'segmentation_label'"
    ):
        CityscapesTFDS(root=str(version)).split("train")
