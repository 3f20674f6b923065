"""Pascal VOC 2012: photographs with 20 kinds of objects and background, and SBD's labels for more of its photographs.

1,464 images to train, 1,449 to validate, of many sizes up to 500x500. The labels of the test images were never published; the
evaluation server takes predictions. A border of some 5 pixels around every object is void.

Nearly all published results train on ``trainaug``: VOC's train set and the images that the Semantic Boundaries Dataset (SBD)
labelled, without VOC's val set, 10,582 in all. Where both label an image, VOC's label is taken; SBD's have no void.

Papers: Everingham, Eslami, Van Gool, Williams, Winn, Zisserman, "The Pascal Visual Object Classes Challenge: A Retrospective",
IJCV 2015, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.
Hariharan, Arbelaez, Bourdev, Maji, Malik, "Semantic Contours from Inverse Detectors", ICCV 2011.
"""

import io
import re
import struct
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxseg.data.archive import files_below, read_bytes
from jaxseg.data.codecs import damaged
from jaxseg.data.folder import Folder
from jaxseg.data.limits import Inflate, check_unpacked
from jaxseg.data.official import FileSplit, by_name, find_base, match, some
from jaxseg.data.palette import default_palette
from jaxseg.errors import InputError

#: miCOMPRESSED of the MAT format.
_COMPRESSED = 15

_SETS = ("train", "trainval", "trainaug")
_LAYOUT = "VOC 2012 (JPEGImages, SegmentationClass and ImageSets/Segmentation, mostly in VOCdevkit/VOC2012)"
_SBD_FROM = (
    "SBD is the archive benchmark.tgz of http://home.bharathh.info/pubs/codes/SBD/download.html, which unpacks to the folder "
    "benchmark_RELEASE."
)


@dataclass(frozen=True)
class VOC2012(Folder):
    """Pascal VOC 2012 as its archive ``VOCtrainval_11-May-2012.tar`` has it, unpacked or not.

    Splits: ``train`` (see ``train_set``), ``val``, ``trainval`` and ``trainaug``. For the other attributes see
    :class:`jaxseg.data.folder.Folder`.

    Attributes:
        root: the folder ``VOC2012``, ``VOCdevkit``, or the one that holds ``VOCdevkit``; or the path of the archive, which is
            read in place.
        train_set: what ``split("train")`` is: ``train``, ``trainaug``, or ``trainval`` (for the evaluation server only, since
            ``val`` is part of it).
        sbd_root: for ``trainaug``: SBD's folder ``benchmark_RELEASE``, or the one that holds it. None: the folder
            ``SegmentationClassAug`` of PNGs beside ``SegmentationClass``, which others have made of SBD, is read, with the list
            ``ImageSets/Segmentation/trainaug.txt`` if there is one.

    Raises:
        InputError: if ``train_set`` is none of these.
    """

    root: str = "~/data/VOCdevkit/VOC2012"
    num_classes: int = 21
    class_names: tuple[str, ...] = (
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    )
    palette: tuple[tuple[int, int, int], ...] = default_palette(21)
    train_set: str = "train"
    sbd_root: str | None = None

    where_from: ClassVar[str] = (
        "VOCtrainval_11-May-2012.tar (2 GB) comes from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/; its path will do."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_set not in _SETS:
            raise InputError(f"train_set is {self.train_set!r}; it must be one of {', '.join(_SETS)}.")

    def split(self, name: str) -> "VOCSplit":
        """Find the examples of a split; they are read when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or files are missing.
        """
        if name == "test":
            raise InputError("The labels of VOC's test images are not published. Use the split 'val' for scores.")
        if name not in (*_SETS, "val"):
            raise InputError(f"VOC 2012 has no split {name!r}; it has train, val, trainval, trainaug.")
        chosen = self.train_set if name == "train" else name
        base = find_base(
            self.root, ("VOCdevkit/VOC2012", "VOC2012", ""), "JPEGImages", where_from=self.where_from, layout=_LAYOUT
        )
        image_folder, label_folder = f"{base}/JPEGImages", f"{base}/SegmentationClass"
        images, labels = by_name(image_folder, ".jpg"), by_name(label_folder, ".png")
        if chosen == "trainaug":
            ids, more_images, more_labels, more_folder = self._augmented(base)
            images, labels = more_images | images, more_labels | labels
            label_folder = f"{label_folder} or {more_folder}"
            listed = "trainaug"
        else:
            listed = f"{base}/ImageSets/Segmentation/{chosen}.txt"
            ids = _read_ids(listed)
        if alone := sorted(set(ids) - images.keys()):
            raise InputError(
                f"{len(alone)} of {len(ids)} images of {listed} are not in {image_folder}: {some(alone)}. "
                "Unpack the archive again."
            )
        return VOCSplit(self, match(name, image_folder, {key: images[key] for key in ids}, label_folder, labels))

    def _augmented(self, base: str) -> tuple[tuple[str, ...], dict[str, str], dict[str, str], str]:
        """Return the IDs of ``trainaug``, the images and labels beyond VOC's own, and where those labels are."""
        train, val = (_read_ids(f"{base}/ImageSets/Segmentation/{name}.txt") for name in ("train", "val"))
        if self.sbd_root is not None:
            sbd = find_base(
                self.sbd_root,
                ("benchmark_RELEASE/dataset", "dataset", ""),
                "cls",
                where_from=_SBD_FROM,
                layout="SBD (dataset/cls, mostly in benchmark_RELEASE)",
                field="data.sbd_root",
            )
            listed = (_read_ids(f"{sbd}/{name}.txt") for name in ("train", "val"))
            ids = set(train).union(*listed) - set(val)
            return tuple(sorted(ids)), by_name(f"{sbd}/img", ".jpg"), by_name(f"{sbd}/cls", ".mat"), f"{sbd}/cls"
        folder = f"{base}/SegmentationClassAug"
        labels = by_name(folder, ".png")
        if not labels:
            raise InputError(
                f"trainaug needs SBD's labels, but sbd_root is not set and there is no {folder}. {_SBD_FROM} "
                "Give it by --set data.sbd_root=/path/to/benchmark_RELEASE, or use train_set='train'."
            )
        lists = files_below(f"{base}/ImageSets/Segmentation", ("trainaug.txt", "train_aug.txt"))
        if not lists:
            return tuple(sorted((set(train) | labels.keys()) - set(val))), {}, labels, folder
        path = f"{base}/ImageSets/Segmentation/{lists[0]}"
        given = _read_ids(path)
        if both := sorted(set(given) & set(val)):
            raise InputError(f"{path} lists {len(both)} images of val: {some(both)}. Remove them, or scores on val mean nothing.")
        return given, {}, labels, folder


class VOCSplit(FileSplit):
    """The examples of one split of :class:`VOC2012`."""

    def read_label(self, path: str) -> np.ndarray:
        """Read the indices of a palette PNG, or of one of SBD's ``.mat`` files."""
        return _read_mat(read_bytes(path), path) if path.endswith(".mat") else super().read_label(path)


def _read_mat(data: bytes, name: str) -> np.ndarray:
    """Read a label of SBD; MAT files of its version hold arrays only, no code."""
    import scipy.io  # slow to import, and only SBD needs it

    _check_parts(data, name)
    try:
        label = scipy.io.loadmat(io.BytesIO(data), variable_names=["GTcls"])["GTcls"][0]["Segmentation"][0]
    except Exception as error:  # SciPy raises anything on bad data
        raise damaged(name, f"it is not a label of SBD: {type(error).__name__}") from None
    if not isinstance(label, np.ndarray) or label.ndim != 2 or label.dtype.kind not in "iu":
        raise damaged(name, "its GTcls.Segmentation is not an image of indices")
    return label


def _check_parts(data: bytes, name: str) -> None:
    """Refuse a MAT file (version 5) of which a compressed part unpacks to more than an image may have."""
    order, position = "<" if data[126:128] == b"IM" else ">", 128
    while position + 8 <= len(data):
        kind, count = struct.unpack_from(f"{order}II", data, position)
        if kind == _COMPRESSED:
            check_unpacked(data[position + 8 : position + 8 + count], Inflate(), 0, name)
        position += 8 + count


def _read_ids(path: str) -> tuple[str, ...]:
    """Read a list of image IDs, one a line, as ``2007_000032`` or ``/JPEGImages/2007_000032.jpg /SegmentationClassAug/...``."""
    ids = []
    for number, line in enumerate(read_bytes(path).decode(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"(?:/?JPEGImages/)?([\w-]+)(?:\.jpg)?", line.split()[0])
        if not found:
            raise InputError(f"{path}, line {number}: {line[:80]!r} is not the ID of an image, such as '2007_000032'.")
        ids.append(found[1])
    if not ids:
        raise InputError(f"{path} lists no image. Unpack the archive again.")
    if twice := sorted(name for name, count in Counter(ids).items() if count > 1):
        raise InputError(f"{path} lists {len(twice)} images more than once: {some(twice)}. Remove the repetitions.")
    return tuple(ids)
