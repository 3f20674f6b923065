"""Cityscapes: street scenes of 50 cities, from the official archives or as TensorFlow Datasets prepares them.

2,975 images to train, 500 to validate, 1,525 to test, each 2048x1024 (width x height), finely labelled in 19 classes that are
evaluated. 19,998 more are labelled coarsely. The labels of the test images were never published: the files that the archive has
for them are void; the evaluation server takes predictions.

Paper: Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele, "The Cityscapes Dataset for Semantic Urban Scene
Understanding", CVPR 2016, https://www.cityscapes-dataset.com/.
"""

import dataclasses
import os
from dataclasses import dataclass
from typing import ClassVar

from jaxseg.data.archive import ARCHIVES
from jaxseg.data.decode import LabelMap
from jaxseg.data.folder import Folder, FolderSplit
from jaxseg.data.layout import Pair
from jaxseg.data.official import FileSplit, by_name, find_base, match
from jaxseg.data.prepared import PreparedSplit, open_records
from jaxseg.errors import InputError
from jaxseg.types import VOID

# The labels that are evaluated, among those that the files store, 0 (unlabelled) to 33; in the order of the 19 classes.
_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_SETS = ("train", "trainval", "train_extra")
_SPLITS = ("train", "val", "test", "trainval", "train_extra")


@dataclass(frozen=True)
class Cityscapes(Folder):
    """Cityscapes as its archives have it, unpacked or not: ``leftImg8bit`` and ``gtFine`` with a folder per split and city.

    Splits: ``train`` (see ``train_set``), ``val``, ``test`` (whose labels are all void), ``trainval``, and ``train_extra``,
    which takes its labels from ``gtCoarse``. Labels are read from ``*_labelIds.png``; where a split has none, from
    ``*_labelTrainIds.png``. For the other attributes see :class:`jaxseg.data.folder.Folder`.

    Attributes:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``, or the archives ``leftImg8bit_trainvaltest.zip`` and
            ``gtFine_trainvaltest.zip``, which are read in place; the path of one of these will do.
        label_map: of ``labelIds``: the 19 evaluated labels are the classes, all others void.
        train_set: what ``split("train")`` is: ``train``, ``trainval`` (for the evaluation server only, since ``val`` is part of
            it), or ``train_extra``.

    Raises:
        InputError: if ``train_set`` is none of these.
    """

    root: str = "~/data/cityscapes"
    num_classes: int = 19
    class_names: tuple[str, ...] = (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    )
    palette: tuple[tuple[int, int, int], ...] = (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    )
    label_map: LabelMap = tuple((value, _EVALUATED.index(value) if value in _EVALUATED else VOID) for value in range(34))
    train_set: str = "train"

    where_from: ClassVar[str] = (
        "leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB) come from "
        "https://www.cityscapes-dataset.com/, after registration; the folder that they are in will do."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_set not in _SETS:
            raise InputError(f"train_set is {self.train_set!r}; it must be one of {', '.join(_SETS)}.")

    def split(self, name: str) -> FolderSplit:
        """Find the examples of a split; they are read when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or files are missing.
        """
        parts = self.parts(name)
        root = os.path.expanduser(self.root)
        root = os.path.dirname(root) or "." if root.lower().endswith(ARCHIVES) and os.path.isfile(root) else root
        found = [_find_pairs(root, name, part, self.where_from) for part in parts]
        kinds = {kind for _, kind in found}
        if len(kinds) > 1:
            raise InputError(f"The labels of {name!r} are partly labelIds and partly labelTrainIds. Give all parts the same.")
        source = self if kinds == {"labelIds"} else dataclasses.replace(self, label_map=())
        return FileSplit(source, tuple(sorted(pair for pairs, _ in found for pair in pairs)))

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the official splits that make up a split.

        Raises:
            InputError: if there is no such split.
        """
        if name not in _SPLITS:
            raise InputError(f"Cityscapes has no split {name!r}; it has {', '.join(_SPLITS)}.")
        chosen = self.train_set if name == "train" else name
        return ("train", "val") if chosen == "trainval" else (chosen,)


@dataclass(frozen=True)
class CityscapesTFDS(Cityscapes):
    """The TFDS data set ``cityscapes``, prepared anywhere in a format of random access (``array_record``).

    Splits are those of :class:`Cityscapes`; ``train_extra`` is read from the config ``semantic_segmentation_extra``, which has
    coarse labels only, and all others from ``semantic_segmentation``.

    Attributes:
        root: the TFDS data directory, or the folder of one version in it; ``~`` is expanded where it is read.
    """

    root: str = "~/tensorflow_datasets"

    def split(self, name: str) -> FolderSplit:
        """Open a split for random access; images are decoded when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or no prepared data; it says how to prepare it.
        """
        parts = self.parts(name)
        dataset = "cityscapes/semantic_segmentation" + ("_extra" if parts == ("train_extra",) else "")
        records = open_records(
            self.root,
            dataset,
            "+".join("validation" if part == "val" else part for part in parts),
            image="image_left",
            label="segmentation_label",
            name="image_id",
            build=f"tfds build {dataset} --manual_dir=/folder/of/the/official/archives",
        )
        return PreparedSplit(self, records.pairs(), records)


def _find_pairs(root: str, name: str, part: str, where_from: str) -> tuple[tuple[Pair, ...], str]:
    """Return the pairs of an official split, and which kind of label they have."""
    kind, images_of, labels_of = "gtFine", "leftImg8bit_trainvaltest", "gtFine_trainvaltest"
    if part == "train_extra":
        kind, images_of, labels_of = "gtCoarse", "leftImg8bit_trainextra", "gtCoarse"
    image_folder = _find_folder(root, "leftImg8bit", part, images_of, where_from)
    label_folder = _find_folder(root, kind, part, labels_of, where_from)
    for suffix in ("labelIds", "labelTrainIds"):
        labels = by_name(label_folder, f"_{kind}_{suffix}.png")
        if labels:
            break
    images = by_name(image_folder, "_leftImg8bit.png")
    return match(name, image_folder, images, f"{label_folder} (*_{kind}_labelIds.png)", labels), suffix


def _find_folder(root: str, kind: str, part: str, archive: str, where_from: str) -> str:
    """Return the folder of an official split: in the root, in its archive there, or in a folder named after that."""
    candidates = (kind, f"{archive}.zip/{kind}", f"{archive}/{kind}")
    return find_base(root, candidates, part, where_from=where_from, layout=f"Cityscapes' {kind}/{part}") + f"/{part}"
