"""Pascal VOC 2012 and SBD, from tiny copies of the official layouts, unpacked and as archives."""

import pickle
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.io
from PIL import Image

from jaxseg.data.palette import default_palette
from jaxseg.data.source import Source
from jaxseg.data.voc2012 import VOC2012
from jaxseg.errors import InputError

TRAIN, VAL, SBD_TRAIN, SBD_VAL = ("2007_01", "2007_02"), ("2007_03",), ("2007_01", "2008_04", "2007_03"), ("2008_05",)


def label_of(name, from_sbd=False):
    """Classes 0 to 20; VOC's own labels also hold void."""
    rng = np.random.default_rng([int(name[-2:]), from_sbd])
    label = rng.integers(0, 21, (5, 7), dtype=np.uint8)
    if not from_sbd:
        label[0] = 255
    return label


def write_image(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 7, 3), int(name[-2:]) * 20, np.uint8)).save(folder / f"{name}.jpg")


def write_label(folder, name, label):
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label, "L")
    image.putpalette(np.asarray(default_palette(256), np.uint8).tobytes())
    image.save(folder / f"{name}.png")


def write_list(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


@pytest.fixture
def voc(tmp_path):
    """The folder VOC2012: five photographs, three of them labelled."""
    base = tmp_path / "data/VOCdevkit/VOC2012"
    for name in (*TRAIN, *VAL, "2008_04", "2008_05"):
        write_image(base / "JPEGImages", name)
    for name in (*TRAIN, *VAL):
        write_label(base / "SegmentationClass", name, label_of(name))
    for split, names in (("train", TRAIN), ("val", VAL), ("trainval", TRAIN + VAL)):
        write_list(base / f"ImageSets/Segmentation/{split}.txt", names)
    return base


def write_mat(path, label):
    """As SBD's: a struct GTcls of boundaries, the label and the classes that are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((2, 2))]] * 20
    scipy.io.savemat(path, {"GTcls": {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": np.unique(label)}})


@pytest.fixture
def sbd(tmp_path):
    """The folder benchmark_RELEASE, with labels that differ from VOC's."""
    dataset = tmp_path / "benchmark_RELEASE/dataset"
    for name in (*SBD_TRAIN, *SBD_VAL):
        write_image(dataset / "img", name)
        write_mat(dataset / f"cls/{name}.mat", label_of(name, from_sbd=True))
    write_list(dataset / "train.txt", SBD_TRAIN)
    write_list(dataset / "val.txt", SBD_VAL)
    return dataset.parent


def labels_of(split):
    return {example["name"]: example["label"] for example in split}


def names_of(split):
    return tuple(example["name"] for example in split)


def test_splits_are_what_the_lists_say(voc):
    source = VOC2012(root=str(voc))
    assert isinstance(source, Source)
    for split, names in (("train", TRAIN), ("val", VAL), ("trainval", TRAIN + VAL)):
        source.check(split)
        found = labels_of(source.split(split))
        assert tuple(found) == names
        for name, label in found.items():
            np.testing.assert_array_equal(label, label_of(name))  # indices, not colours; 255 stays void
            assert label.dtype == np.uint8
    image = source.split("val")[0]["image"]
    assert image.shape == (5, 7, 3)
    np.testing.assert_allclose(image, 60, atol=3)


@pytest.mark.parametrize("place", ["data", "data/VOCdevkit", "data/VOCdevkit/VOC2012"])
def test_root_may_be_any_of_the_folders(voc, tmp_path, place):
    assert len(VOC2012(root=str(tmp_path / place)).split("train")) == 2


def test_the_archive_is_read_in_place(voc, tmp_path):
    archive = tmp_path / "VOCtrainval_11-May-2012.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(voc.parent, "VOCdevkit")
    expected = labels_of(VOC2012(root=str(voc)).split("trainval"))
    shutil.rmtree(voc.parent)
    source = VOC2012(root=str(archive))
    source.check("train")
    split = pickle.loads(pickle.dumps(source.split("trainval")))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: split[index % 3], range(30)))
    for example in found:
        np.testing.assert_array_equal(example["label"], expected[example["name"]])
    with pytest.raises(InputError, match=r"If it is in the archive that lies there, give its path: data\.root=.*2012\.tar"):
        VOC2012(root=str(tmp_path)).split("train")


def test_truncated_and_compressed_archives(voc, tmp_path):
    with tarfile.open(tmp_path / "voc.tar.gz", "w:gz") as tar:
        tar.add(voc.parent, "VOCdevkit")
    with pytest.raises(InputError, match=r"voc\.tar\.gz is a compressed tar.* Unpack it once by\n    tar -xf .*voc\.tar\.gz -C "):
        VOC2012(root=str(tmp_path / "voc.tar.gz")).split("train")
    with tarfile.open(tmp_path / "voc.tar", "w") as tar:
        tar.add(voc.parent, "VOCdevkit")
    (tmp_path / "voc.tar").write_bytes((tmp_path / "voc.tar").read_bytes()[:6000])
    with pytest.raises(InputError, match=r"voc\.tar is truncated or damaged .*Download it again"):
        VOC2012(root=str(tmp_path / "voc.tar")).split("train")
    (tmp_path / "notes").write_text("x")
    with pytest.raises(InputError, match=r"notes is neither a folder nor a zip or tar archive"):
        VOC2012(root=str(tmp_path / "notes")).split("train")


@pytest.mark.parametrize("place", ["", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_trainaug_is_train_and_sbd_without_val(voc, sbd, tmp_path, place):
    source = VOC2012(root=str(voc), train_set="trainaug", sbd_root=str(tmp_path / place))
    source.check("train")
    found = labels_of(source.split("train"))
    assert sorted(found) == ["2007_01", "2007_02", "2008_04", "2008_05"]
    np.testing.assert_array_equal(found["2007_01"], label_of("2007_01"))  # both label it: VOC's, which has void
    for name in ("2008_04", "2008_05"):
        np.testing.assert_array_equal(found[name], label_of(name, from_sbd=True))
    assert names_of(source.split("val")) == VAL
    assert names_of(source.split("trainaug")) == tuple(found)
    assert names_of(VOC2012(root=str(voc), sbd_root=str(sbd)).split("train")) == TRAIN


def test_sbd_brings_its_own_images(voc, sbd):
    (voc / "JPEGImages/2008_04.jpg").unlink()
    split = VOC2012(root=str(voc), train_set="trainaug", sbd_root=str(sbd)).split("train")
    assert "/img/2008_04.jpg" in next(pair.image for pair in split.pairs if pair.name == "2008_04")


@pytest.mark.parametrize(
    ("list_name", "line", "expected"),
    [
        (None, "", ["2007_01", "2007_02", "2008_04", "2008_05"]),
        ("trainaug", "{}", ["2007_01", "2008_04"]),
        ("train_aug", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png", ["2007_01", "2008_04"]),
    ],
)
def test_trainaug_from_png_files(voc, list_name, line, expected):
    for name in (*TRAIN, *VAL, "2008_04", "2008_05"):
        write_label(voc / "SegmentationClassAug", name, label_of(name, from_sbd=True))
    if list_name:
        write_list(voc / f"ImageSets/Segmentation/{list_name}.txt", [line.format(name) for name in expected])
    found = labels_of(VOC2012(root=str(voc), train_set="trainaug").split("train"))
    assert sorted(found) == expected
    np.testing.assert_array_equal(found["2007_01"], label_of("2007_01"))
    np.testing.assert_array_equal(found["2008_04"], label_of("2008_04", from_sbd=True))


def test_trainaug_may_not_hold_val(voc):
    write_label(voc / "SegmentationClassAug", "2007_03", label_of("2007_03"))
    write_list(voc / "ImageSets/Segmentation/trainaug.txt", ["2007_01", "2007_03"])
    with pytest.raises(InputError, match=r"trainaug\.txt lists 1 images of val: 2007_03\. Remove them, or scores on val"):
        VOC2012(root=str(voc), train_set="trainaug").split("train")


def test_trainaug_without_sbd_says_where_to_get_it(voc, tmp_path):
    with pytest.raises(InputError, match=r"sbd_root is not set .*SegmentationClassAug\. SBD is the archive benchmark\.tgz "):
        VOC2012(root=str(voc), train_set="trainaug").split("train")
    with pytest.raises(InputError, match=r"none does not exist\. SBD is .* Say where it lies by --set data\.sbd_root="):
        VOC2012(root=str(voc), train_set="trainaug", sbd_root=str(tmp_path / "none")).split("train")


def test_bad_labels_of_sbd(voc, sbd):
    split = VOC2012(root=str(voc), sbd_root=str(sbd)).split("trainaug")
    path = sbd / "dataset/cls/2008_05.mat"
    write_mat(path, np.full((5, 7), 21, np.uint8))
    with pytest.raises(InputError, match=r"2008_05\.mat holds the values 21 in 35 pixels, but classes are 0 to 20"):
        split[-1]
    write_mat(path, np.zeros((5, 8), np.uint8))
    with pytest.raises(InputError, match=r"2008_05\.jpg is 7x5 \(width x height\), but its label .*2008_05\.mat is 8x5\."):
        split[-1]
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match=r"2008_05\.mat is truncated or damaged \(it is not a label of SBD"):
        split[-1]
    scipy.io.savemat(path, {"GTcls": {"Segmentation": np.zeros((5, 7))}})
    with pytest.raises(InputError, match=r"2008_05\.mat is truncated .*not an image of indices"):
        split[-1]


def test_missing_files_are_named(voc):
    (voc / "SegmentationClass/2007_02.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images of 'train' have no label in .*/SegmentationClass: .*/2007_02\.jpg\."):
        VOC2012(root=str(voc)).split("train")
    (voc / "JPEGImages/2007_02.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images of .*/train\.txt are not in .*/JPEGImages: 2007_02\. Unpack"):
        VOC2012(root=str(voc)).split("train")
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(InputError, match=r"Segmentation/val\.txt cannot be read: No such file"):
        VOC2012(root=str(voc)).split("val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"train\.txt lists no image\. Unpack"),
        ("\n \n", r"train\.txt lists no image"),
        ("2007_01\n../../etc/passwd\n", r"train\.txt, line 2: '\.\./\.\./etc/passwd' is not the ID of an image, such as"),
        ("/JPEGImages/../x.jpg\n", r"line 1: '/JPEGImages/\.\./x\.jpg' is not the ID"),
        ("2007_01\n2007_02\n2007_01\n", r"train\.txt lists 1 images more than once: 2007_01\. Remove the repetitions"),
    ],
)
def test_bad_lists(voc, text, message):
    (voc / "ImageSets/Segmentation/train.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        VOC2012(root=str(voc)).split("train")


def test_missing_data_says_where_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"none does not exist\. VOCtrainval_11-May-2012\.tar \(2 GB\) .*--set data\.root="):
        VOC2012(root=str(tmp_path / "none")).split("train")
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"does not hold VOC 2012 \(JPEGImages, .*\); it holds photos\. VOCtrainval"):
        VOC2012(root=str(tmp_path)).split("train")


def test_unknown_splits(voc):
    with pytest.raises(InputError, match=r"labels of VOC's test images are not published\. Use the split 'val'"):
        VOC2012(root=str(voc)).split("test")
    with pytest.raises(InputError, match=r"VOC 2012 has no split '\.\./val'; it has train, val, trainval, trainaug"):
        VOC2012(root=str(voc)).split("../val")
    with pytest.raises(InputError, match="train_set is 'val'; it must be one of train, trainval, trainaug"):
        VOC2012(train_set="val")


def test_classes_and_colours():
    source = VOC2012()
    colors = dict(zip(source.class_names, source.palette))
    assert (len(colors), len(set(source.palette)), source.num_classes, source.num_channels) == (21, 21, 21, 3)
    assert source.class_names[:2] == ("background", "aeroplane")
    assert source.class_names[15] == "person"
    assert colors["background"] == (0, 0, 0)
    assert colors["aeroplane"] == (128, 0, 0)
    assert colors["person"] == (192, 128, 128)
    assert colors["tvmonitor"] == (0, 64, 128)


def test_the_palette_is_the_one_of_the_label_files(voc):
    """What an image viewer shows of a label: the source's colours, and void's."""
    with Image.open(voc / "SegmentationClass/2007_01.png") as image:
        indices, shown = np.asarray(image), np.asarray(image.convert("RGB"))
    colors = {tuple(color) for color in np.unique(shown[1:].reshape(-1, 3), axis=0).tolist()}
    assert colors == {VOC2012().palette[index] for index in np.unique(indices[1:])}
    assert tuple(shown[0, 0].tolist()) == default_palette(256)[255] == (224, 224, 192)
