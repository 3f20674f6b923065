"""A folder of one's own images: what comes out, and what is said about what cannot be used."""

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from jaxseg.data.folder import Folder
from jaxseg.data.palette import default_palette
from jaxseg.errors import InputError
from jaxseg.types import VOID


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def image_of(seed, height=6, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def label_of(seed, height=6, width=8):
    label = np.random.default_rng(seed).integers(0, 3, (height, width), dtype=np.uint8)
    label[0, 0] = 255
    return label


@pytest.fixture
def root(tmp_path):
    """Four training pairs with three classes and void, two validation pairs."""
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            write(tmp_path / f"images/{split}/{index}.png", image_of(index))
            write(tmp_path / f"labels/{split}/{index}.png", label_of(index))
    return tmp_path


def test_examples_are_what_was_written(root):
    split = Folder(str(root), 3).split("train")
    assert len(split) == 4
    for index, example in enumerate(split):
        np.testing.assert_array_equal(example["image"], image_of(index))
        np.testing.assert_array_equal(example["label"], label_of(index))
        assert example["label"].dtype == np.uint8
        assert example["name"] == str(index)


def test_split_is_a_sequence(root):
    split = Folder(str(root), 3).split("train")
    assert split[-1]["name"] == "3"
    assert split[np.int64(1)]["name"] == "1"
    assert [example["name"] for example in split[1:3]] == ["1", "2"]
    with pytest.raises(IndexError):
        split[4]


def test_making_a_source_reads_nothing():
    assert Folder("/does/not/exist", 2).class_names == ("class 0", "class 1")


def test_split_pickles_and_reads_from_threads(root):
    split = pickle.loads(pickle.dumps(Folder(str(root), 3).split("train")))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda index: split[index % 4]["image"], range(40)))
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image, image_of(index % 4))


def test_repr_does_not_list_the_files(root):
    assert ".png" not in repr(Folder(str(root), 3).split("train"))


def test_source_is_hashable():
    assert hash(Folder("r", 2)) == hash(Folder("r", 2)) != hash(Folder("r", 2, label_map=((0, 1), (1, 0))))


def test_grey_images_and_sixteen_bits(tmp_path):
    grey = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    write(tmp_path / "train/a.png", grey)
    write(tmp_path / "trainannot/a.png", label_of(0))
    one, three = (Folder(str(tmp_path), 3, num_channels=channels).split("train")[0]["image"] for channels in (1, 3))
    assert one.shape == (6, 8, 1)
    assert one.dtype == np.uint16
    np.testing.assert_array_equal(three, np.repeat(grey[..., None], 3, axis=2))


def test_palette_labels_void_index_and_label_map(tmp_path):
    write(tmp_path / "train/a.png", image_of(0))
    label = Image.fromarray(label_of(0) % 4, "L").convert("P")  # 255 becomes 3
    label.putpalette([9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3])
    (tmp_path / "trainannot").mkdir()
    label.save(tmp_path / "trainannot/a.png")
    expected = label_of(0)
    np.testing.assert_array_equal(Folder(str(tmp_path), 3, void_index=3).split("train")[0]["label"], expected)
    mapped = Folder(str(tmp_path), 2, void_index=3, label_map=((0, 1), (1, 0), (2, VOID))).split("train")[0]["label"]
    np.testing.assert_array_equal(mapped, np.select([expected == 0, expected == 1], [1, 0], VOID))


def test_binary_masks_by_an_explicit_mapping(tmp_path):
    mask = (label_of(0) > 0) * np.uint8(255)
    write(tmp_path / "train/a.png", image_of(0))
    write(tmp_path / "trainannot/a.png", mask)
    source = Folder(str(tmp_path), 2, label_map=((0, 0), (255, 1)))
    np.testing.assert_array_equal(source.split("train")[0]["label"], mask // 255)
    source.check("train")


def test_generated_names_and_colours_follow_num_classes():
    source = dataclasses.replace(Folder("r", 2), num_classes=4)
    assert source.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert source.palette == default_palette(4)
    assert dataclasses.replace(source, num_classes=3).palette == default_palette(3)


def test_given_names_and_colours_must_fit_num_classes():
    source = Folder("r", 2, class_names=("cell", "membrane"))
    with pytest.raises(
        InputError, match=r"class_names has 2 entries, but num_classes is 3\. Give one per class, or class_names=\(\)"
    ):
        dataclasses.replace(source, num_classes=3)
    with pytest.raises(InputError, match="palette has 1 entries, but num_classes is 2"):
        Folder("r", 2, palette=((1, 2, 3),))
    with pytest.raises(InputError, match=r"palette holds \(1, 2, 256\); a colour is red, green and blue from 0 to 255"):
        Folder("r", 1, palette=((1, 2, 256),))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; it must be 1 to 255"),
        ({"num_classes": 256}, "num_classes is 256; it must be 1 to 255"),
        ({"num_channels": 0}, "num_channels is 0; it must be at least 1"),
        ({"void_index": 1}, r"void_index=1 is also one of the classes 0 to 1\. Give one outside them"),
        ({"void_index": -1}, "must be 0 to 65535"),
        ({"label_map": ((0, 0), (0, 1))}, r"label_map=\(\(0, 0\), \(0, 1\)\) names a value twice"),
        ({"label_map": ((0, 0), (255, 2))}, r"label_map leads to \[2\]; classes are 0 to 1, and 255 is void"),
    ],
)
def test_contradictory_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Folder("r", **{"num_classes": 2, **fields})


def test_unknown_label_value_names_the_file(root):
    label = label_of(1)
    label[2, 2:5] = 9
    write(root / "labels/train/1.png", label)
    split = Folder(str(root), 3).split("train")
    with pytest.raises(
        InputError, match=r"labels/train/1\.png holds the values 9 in 3 pixels, but classes are 0 to 2 and void_index is"
    ):
        split[1]
    assert split[0]["name"] == "0"


def test_different_sizes(root):
    write(root / "labels/val/0.png", label_of(0, 6, 9))
    with pytest.raises(
        InputError, match=r"val/0\.png is 8x6 \(width x height\), but its label .*val/0\.png is 9x6\. Resize the label .* nearest"
    ):
        Folder(str(root), 3).split("val")[0]


def test_image_that_exif_lays_on_its_side(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(root / "images/val/0.png", image_of(0), exif=exif)
    with pytest.raises(
        InputError, match=r"is 6x8 .* is 8x6\. One lies on its side: images are turned as their EXIF orientation says"
    ):
        Folder(str(root), 3).split("val")[0]
    write(root / "labels/val/0.png", np.ascontiguousarray(np.rot90(label_of(0), -1)))
    assert Folder(str(root), 3).split("val")[0]["image"].shape == (8, 6, 3)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def test_truncated_files_are_named(root):
    truncate(root / "images/val/1.png")
    truncate(root / "labels/val/0.png")
    split = Folder(str(root), 3).split("val")
    with pytest.raises(InputError, match=r"images/val/1\.png is truncated or damaged .* remove it and its counterpart"):
        split[1]
    with pytest.raises(InputError, match=r"labels/val/0\.png is truncated or damaged"):
        split[0]


def test_check_passes_good_data(root):
    for limit in (None, 1, 2, 64):
        Folder(str(root), 3).check("train", limit)


def test_check_reports_one_bad_file_as_it_is(root):
    truncate(root / "images/train/2.png")
    with pytest.raises(InputError, match=r"^/.*images/train/2\.png is truncated"):
        Folder(str(root), 3).check("train")


def test_check_lists_several_bad_files(root):
    truncate(root / "images/train/2.png")
    write(root / "labels/train/0.png", label_of(0) + np.uint8(3))
    with pytest.raises(InputError) as caught:
        Folder(str(root), 3).check("train")
    first, *items = str(caught.value).splitlines()
    assert first == "2 of the 4 examples of 'train' that were read cannot be used:"
    assert "labels/train/0.png holds the values" in items[0]
    assert "images/train/2.png is truncated" in items[1]


def test_check_reads_no_more_than_the_limit(root):
    truncate(root / "images/train/1.png")
    Folder(str(root), 3).check("train", limit=2)  # the first and the last
    with pytest.raises(InputError, match="truncated"):
        Folder(str(root), 3).check("train", limit=4)


def test_check_notices_a_mask_of_0_and_255_that_was_not_mapped(tmp_path):
    write(tmp_path / "train/a.png", image_of(0))
    write(tmp_path / "trainannot/a.png", (label_of(0) > 0) * np.uint8(255))
    with pytest.raises(
        InputError,
        match=r"The 1 labels of 'train' that were read hold only 0 and 255, and 255 is void.*label_map=\(\(0, 0\), \(255, 1\)\)",
    ):
        Folder(str(tmp_path), 2).check("train")
    Folder(str(tmp_path), 2, label_map=((0, 0), (1, 1), (255, 255))).check("train")


def test_check_notices_labels_that_are_all_void(root):
    for index in range(2):
        write(root / f"labels/val/{index}.png", np.full((6, 8), 255, np.uint8))
    with pytest.raises(InputError, match=r"hold nothing but void \(void_index=255\)\. Correct void_index or label_map"):
        Folder(str(root), 3).check("val")


def test_check_notices_images_of_two_types(root):
    write(root / "images/val/1.png", np.zeros((6, 8), np.uint16))
    with pytest.raises(
        InputError, match=r"differ in type: uint16 \(.*val/1\.png\) and uint8 \(.*val/0\.png\)\. Convert them to one type"
    ):
        Folder(str(root), 3).check("val")
