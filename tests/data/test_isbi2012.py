import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxseg.data.isbi2012 import ISBI2012
from jaxseg.errors import InputError


@pytest.mark.parametrize("cell", [1, 255])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_reads_cells_as_1_or_as_255(tmp_path, cell, suffix):
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    label = np.eye(4, dtype=np.uint8) * cell
    for folder, array in (("train", image), ("trainannot", label)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"00{suffix}"
        tifffile.imwrite(path, array) if suffix == ".tif" else Image.fromarray(array).save(path)
    source = ISBI2012(root=str(tmp_path))
    source.check("train")
    (example,) = source.split("train")
    np.testing.assert_array_equal(example["image"], image[..., None])
    np.testing.assert_array_equal(example["label"], np.eye(4))


def test_classes():
    source = ISBI2012()
    assert source.class_names == ("membrane", "cell")
    assert (source.num_classes, source.num_channels) == (2, 1)
    assert len(source.palette) == 2


def test_missing_data_says_where_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=r"does not exist\. The stacks train-volume\.tif and train-labels\.tif come from the ISBI 2012"
    ):
        ISBI2012(root=str(tmp_path / "none")).split("val")


def test_the_stacks_of_the_challenge_are_cut_as_the_help_says(tmp_path, monkeypatch):
    import jaxseg.data.isbi2012 as module

    monkeypatch.chdir(tmp_path)
    volume = np.random.default_rng(0).integers(0, 256, (30, 8, 9), dtype=np.uint8)
    tifffile.imwrite("train-volume.tif", volume)
    tifffile.imwrite("train-labels.tif", (volume > 99) * np.uint8(255))
    code = module.__doc__.split("::\n")[1]
    exec("\n".join(line[4:] for line in code.splitlines()))
    source = ISBI2012(root=str(tmp_path / "isbi2012"))
    assert [len(source.split(name)) for name in ("train", "val", "test")] == [22, 3, 5]
    example = source.split("val")[1]
    assert example["name"] == "23"
    np.testing.assert_array_equal(example["image"][..., 0], volume[23])
    np.testing.assert_array_equal(example["label"], volume[23] > 99)
