"""Which files are found as the images and labels of a split, and what is said where none or too many are."""

import re

import pytest

from jaxseg.data.layout import find_pairs
from jaxseg.errors import InputError


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def found(root, split):
    return [
        (pair.name, pair.image.removeprefix(f"{root}/"), pair.label.removeprefix(f"{root}/"))
        for pair in find_pairs(str(root), split)
    ]


@pytest.mark.parametrize("labels", ["labels", "masks", "annotations"])
def test_images_and_labels_layout(tmp_path, labels):
    touch(tmp_path, "images/train/b.JPG", "images/train/a.png", f"{labels}/train/a.png", f"{labels}/train/b.tif")
    assert found(tmp_path, "train") == [
        ("a", "images/train/a.png", f"{labels}/train/a.png"),
        ("b", "images/train/b.JPG", f"{labels}/train/b.tif"),
    ]


def test_camvid_layout(tmp_path):
    touch(tmp_path, "train/a.png", "trainannot/a.png", "val/b.png", "valannot/b.png")
    assert found(tmp_path, "val") == [("b", "val/b.png", "valannot/b.png")]


@pytest.mark.parametrize(
    ("split", "folder"),
    [("val", "validation"), ("val", "valid"), ("train", "training"), ("test", "testing"), ("extra", "extra")],
)
def test_other_names_of_splits(tmp_path, split, folder):
    touch(tmp_path, f"images/{folder}/a.png", f"labels/{folder}/a.png", f"c/{folder}/b.png", f"c/{folder}annot/b.png")
    assert [name for name, *_ in found(tmp_path, split)] == ["a"]
    assert [name for name, *_ in found(tmp_path / "c", split)] == ["b"]


def test_subfolders_are_matched_and_named_by_their_path(tmp_path):
    touch(tmp_path, "images/train/bonn/1.jpg", "images/train/ulm/1.jpg", "labels/train/bonn/1.png", "labels/train/ulm/1.png")
    assert [(name, label) for name, _, label in found(tmp_path, "train")] == [
        ("bonn__1", "labels/train/bonn/1.png"),
        ("ulm__1", "labels/train/ulm/1.png"),
    ]


def test_stem_keeps_inner_dots(tmp_path):
    touch(tmp_path, "train/v1.0.a.png", "train/v1.0.b.png", "trainannot/v1.0.a.png", "trainannot/v1.0.b.png")
    assert [name for name, *_ in found(tmp_path, "train")] == ["v1.0.a", "v1.0.b"]


def test_hidden_and_foreign_files_are_left_alone(tmp_path):
    touch(tmp_path, "train/a.png", "trainannot/a.png")
    touch(tmp_path, "train/.a.png", "train/Thumbs.db", "train/.DS_Store", "train/notes.txt", "train/.cache/z.png", "train/a.json")
    assert [name for name, *_ in found(tmp_path, "train")] == ["a"]


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "images/train/b.png", "labels/train/x/a.png", "labels/train/b.png")
    (tmp_path / "images/train/x").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/train/loop").symlink_to(tmp_path / "images/train")
    assert [name for name, *_ in found(tmp_path, "train")] == ["b", "x__a"]


def test_tilde_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "d/train/a.png", "d/trainannot/a.png")
    assert find_pairs("~/d", "train")[0].image == str(tmp_path / "d/train/a.png")


def test_missing_root(tmp_path):
    with pytest.raises(
        InputError, match=r"The folder .*/gone does not exist\. Ask Ann\. Say where the data lies by --set data\.root="
    ):
        find_pairs(str(tmp_path / "gone"), "train", "Ask Ann.")
    touch(tmp_path, "file")
    with pytest.raises(InputError, match="file is a file, not a folder"):
        find_pairs(str(tmp_path / "file"), "train")


def test_unknown_split_names_the_known_ones(tmp_path):
    touch(tmp_path, "train/a.png", "trainannot/a.png", "val/a.png", "valannot/a.png", "other/a.png")
    with pytest.raises(InputError, match=r"has no split 'test'; it has train, val\. Rename or add a folder"):
        find_pairs(str(tmp_path), "test")
    with pytest.raises(InputError, match=r"has no split '\.\./train'"):
        find_pairs(str(tmp_path), "../train")


def test_unknown_layout_shows_both(tmp_path):
    touch(tmp_path, "pictures/a.png", "truth/a.png")
    with pytest.raises(InputError, match=r"neither layout that jaxseg knows \(it holds pictures/, truth/\)") as caught:
        find_pairs(str(tmp_path), "train")
    for line in ("ROOT/images/train/a.jpg", "ROOT/labels/train/a.png", "ROOT/trainannot/a.png"):
        assert line in str(caught.value)


def test_empty_root_and_empty_split(tmp_path):
    with pytest.raises(InputError, match=r"neither layout that jaxseg knows \(it is empty\)\. Ask Ann\. Arrange it as"):
        find_pairs(str(tmp_path), "train", "Ask Ann.")
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(InputError, match=r"/train holds no image \(it is empty\)\. Put the images of 'train' there"):
        find_pairs(str(tmp_path), "train")
    touch(tmp_path, "train/a.npy")
    with pytest.raises(InputError, match=r"/train holds no image \(it holds a\.npy\)"):
        find_pairs(str(tmp_path), "train")


def test_images_without_labels(tmp_path):
    touch(tmp_path, *(f"train/{index}.jpg" for index in range(5)), "trainannot/0.png", "trainannot/1_mask.png")
    with pytest.raises(InputError) as caught:
        find_pairs(str(tmp_path), "train")
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert message == (
        "4 of 5 images have no label of the same stem in trainannot (which holds trainannot/1_mask.png, for example): "
        "train/1.jpg, train/2.jpg, train/3.jpg, .... "
        "Add the missing labels, rename them to the stem of their image, or remove these images."
    )


def test_label_without_an_image(tmp_path):
    touch(tmp_path, "train/a.jpg", "trainannot/a.png", "trainannot/b.png")
    with pytest.raises(InputError, match=r"1 of 2 labels have no image of the same stem in .*/train: .*/trainannot/b\.png\. Add"):
        find_pairs(str(tmp_path), "train")


def test_no_folder_of_labels_or_two(tmp_path):
    touch(tmp_path, "images/test/a.png")
    with pytest.raises(
        InputError, match=r"images/test has no folder of labels: there is neither .*labels/test nor .*masks/test nor"
    ):
        find_pairs(str(tmp_path), "test")
    touch(tmp_path, "labels/test/a.png", "masks/test/a.png")
    with pytest.raises(
        InputError, match=r"images/test has several folders of labels: .*labels/test, .*masks/test\. Keep or rename one"
    ):
        find_pairs(str(tmp_path), "test")


def test_two_images_of_one_stem(tmp_path):
    touch(tmp_path, "train/a.jpg", "train/a.png", "trainannot/a.png")
    with pytest.raises(
        InputError, match=r"train/a\.jpg and .*train/a\.png have the same stem, which must be unique\. Remove or rename"
    ):
        find_pairs(str(tmp_path), "train")


def test_two_images_of_one_name(tmp_path):
    touch(tmp_path, "train/a/b.png", "train/a__b.png", "trainannot/a/b.png", "trainannot/a__b.png")
    with pytest.raises(InputError, match=re.escape("would both be named 'a__b'. Rename one")):
        find_pairs(str(tmp_path), "train")
