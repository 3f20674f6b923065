"""The pets, from a tiny data set with the features of TFDS's ``oxford_iiit_pet``, written without TensorFlow."""

import io
import json
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxseg.data.pets import OxfordIIITPet
from jaxseg.errors import InputError
from jaxseg.types import VOID


def encoded(array, kind):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    buffer.seek(0)
    return buffer


def trimap_of(index):
    return np.random.default_rng(index).integers(1, 4, (10 + index, 12), dtype=np.uint8)


class OxfordIiitPet(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("4.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=37),
            "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
            "file_name": tfds.features.Text(),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
            "head_bbox": tfds.features.BBoxFeature(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(20)), "test": self._generate_examples(range(20, 23))}

    def _generate_examples(self, indices):
        for index in indices:
            trimap = trimap_of(index)
            file_name = f"Maine_Coon_{index}.jpg" if index != 22 else "../../etc/Bengal 22.jpg"
            yield (
                file_name,
                {
                    "image": encoded(np.full((*trimap.shape, 3), (10 * index, 100, 0), np.uint8), "JPEG"),
                    "label": index % 37,
                    "species": index % 2,
                    "file_name": file_name,
                    "segmentation_mask": encoded(trimap, "PNG"),
                    "head_bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5),
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    OxfordIiitPet(data_dir=data_dir, file_format="array_record").download_and_prepare()
    return data_dir


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path / "data"


def number_of(example):
    return int(example["name"].rsplit("_", 1)[1])


def test_splits_are_disjoint_and_complete(prepared):
    source = OxfordIIITPet(root=str(prepared))
    train, val, test = ([number_of(example) for example in source.split(name)] for name in ("train", "val", "test"))
    assert (len(train), len(val)) == (18, 2)
    assert sorted(train + val) == list(range(20))
    assert sorted(test) == [20, 21, 22]


def test_trimap_becomes_two_classes_and_void(prepared):
    for example in OxfordIIITPet(root=str(prepared)).split("train"):
        index = number_of(example)
        trimap = trimap_of(index)
        np.testing.assert_array_equal(example["label"], np.select([trimap == 1, trimap == 2], [0, 1], VOID))
        assert example["label"].dtype == np.uint8
        assert example["image"].shape == (*trimap.shape, 3)
        np.testing.assert_allclose(example["image"][0, 0].astype(int), (10 * index, 100, 0), atol=4)


def test_names_are_safe_file_stems(prepared):
    names = {example["name"] for example in OxfordIIITPet(root=str(prepared)).split("test")}
    assert names == {"Maine_Coon_20", "Maine_Coon_21", "______etc_Bengal_22"}


def test_pickles_reads_from_threads_and_counts_from_the_end(prepared):
    split = OxfordIIITPet(root=str(prepared)).split("train")
    expected = [example["name"] for example in split]
    copy = pickle.loads(pickle.dumps(split))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: copy[index % 18]["name"], range(54))) == expected * 3
    assert split[-1]["name"] == expected[-1]
    assert [example["name"] for example in split[3:5]] == expected[3:5]
    with pytest.raises(IndexError):
        split[18]


def test_tensorflow_is_not_imported(prepared):
    OxfordIIITPet(root=str(prepared)).split("val")[0]
    assert "tensorflow" not in sys.modules


def test_root_may_be_the_version_itself_and_the_newest_is_taken(root):
    version = root / "oxford_iiit_pet/4.0.0"
    assert len(OxfordIIITPet(root=str(version)).split("test")) == 3
    (root / "oxford_iiit_pet/10.0.0").mkdir()
    shutil.copy(version / "dataset_info.json", root / "oxford_iiit_pet/10.0.0")
    with pytest.raises(ValueError, match="Cannot restore"):  # it has no features.json: the newer one was opened
        OxfordIIITPet(root=str(root)).split("test")


def test_unknown_split(prepared):
    with pytest.raises(InputError, match="The pets have no split 'dev'; they have train, val, test"):
        OxfordIIITPet(root=str(prepared)).split("dev")


def test_missing_data_says_how_to_prepare_it(tmp_path):
    with pytest.raises(InputError) as caught:
        OxfordIIITPet(root=str(tmp_path)).split("train")
    assert f"tfds build oxford_iiit_pet --file_format=array_record --data_dir={tmp_path}" in str(caught.value)
    assert "where TensorFlow is installed" in str(caught.value)
    assert "--set data.root=" in str(caught.value)


def test_format_without_random_access_says_how_to_convert_it(root):
    path = root / "oxford_iiit_pet/4.0.0/dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match=r"convert_format --dataset_version_dir=.*/4\.0\.0 --out_file_format=array_record"):
        OxfordIIITPet(root=str(root)).split("train")


def test_missing_and_truncated_records_are_named(root):
    (shard,) = root.glob("oxford_iiit_pet/4.0.0/*-test.array_record-*")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"oxford_iiit_pet, test 0 cannot be read \(.*\)\. Copy or prepare the data set again"):
        OxfordIIITPet(root=str(root)).split("test")[0]
    shard.unlink()
    with pytest.raises(InputError, match=r"oxford_iiit_pet, test 0 cannot be read \(.*No such file.*\)"):
        OxfordIIITPet(root=str(root)).split("test")[0]


def test_classes():
    source = OxfordIIITPet()
    assert source.class_names == ("pet", "background")
    assert (source.num_classes, source.num_channels, len(source.palette)) == (2, 3, 2)
    with pytest.raises(InputError, match="class_names has 1 entries, but num_classes is 2"):
        OxfordIIITPet(class_names=("pet",))
