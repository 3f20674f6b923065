"""ADE20K in the 150 classes of the scene parsing challenge, from its archive or as TensorFlow Datasets prepares it.

20,210 images to train, 2,000 to validate, indoors and outdoors, of many sizes. The labels of the test images were never
published. Pixels of none of the classes are void.

Papers: Zhou, Zhao, Puig, Fidler, Barriuso, Torralba, "Scene Parsing through ADE20K Dataset", CVPR 2017; the same and Xiao,
"Semantic Understanding of Scenes through the ADE20K Dataset", IJCV 2019, https://arxiv.org/abs/1608.05442.
Classes and colours: ``objectInfo150.txt`` and ``color150.mat`` of https://github.com/CSAILVision/sceneparsing.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxseg.data.decode import LabelMap, decode_image
from jaxseg.data.folder import Folder, FolderSplit
from jaxseg.data.official import FileSplit, by_name, find_base, match
from jaxseg.data.prepared import PreparedSplit, open_records
from jaxseg.errors import InputError

# The first of each class's names in objectInfo150.txt, in its order.
_NAMES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door, table,
    mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence,
    desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand,
    sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door,
    stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm,
    kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier,
    awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman,
    bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool,
    barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal,
    bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt
    screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""
_COLORS = """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33
    ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
    08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff
    eb0cff a09614 00a3ff 8c8cc8 fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad
    0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
    00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa
    8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff
    00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""
# The classes of which no instances are annotated; the other 100 are the categories of the instance annotations, in this order.
_STUFF = """
    wall, building, sky, floor, tree, ceiling, road, grass, sidewalk, earth, mountain, plant, water, house, sea, rug, field,
    rock, base, sand, skyscraper, grandstand, path, runway, stairway, river, bridge, blind, hill, bar, hovel, tower, dirt
    track, land, escalator, buffet, poster, stage, conveyer belt, canopy, swimming pool, waterfall, tent, cradle, tank, lake,
    blanket, pier, crt screen, shower
"""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()).split(", "))


def _color(digits: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _instance_map() -> LabelMap:
    """Pair the categories of the instance annotations, which count from 1, with their classes."""
    names, stuff = _listed(_NAMES), _listed(_STUFF)
    return tuple(enumerate((names.index(name) for name in names if name not in stuff), start=1))


@dataclass(frozen=True)
class ADE20K(Folder):
    """ADE20K as ``ADEChallengeData2016.zip`` has it, unpacked or not: ``images`` and ``annotations`` with a folder per split.

    The annotations store 1 to 150, which become the classes 0 to 149, and 0, which is void. Splits: ``train`` and ``val``. For
    the other attributes see :class:`jaxseg.data.folder.Folder`.

    Attributes:
        root: the folder ``ADEChallengeData2016`` or the one that holds it; or the path of the archive, which is read in place.
        class_names: the first of each class's names.
        palette: the official colours.
    """

    root: str = "~/data/ADEChallengeData2016"
    num_classes: int = 150
    class_names: tuple[str, ...] = _listed(_NAMES)
    palette: tuple[tuple[int, int, int], ...] = tuple(_color(digits) for digits in _COLORS.split())
    void_index: int | None = 0
    label_map: LabelMap = tuple((index + 1, index) for index in range(150))

    where_from: ClassVar[str] = (
        "ADEChallengeData2016.zip (923 MB) comes from http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip; "
        "its path will do."
    )

    def split(self, name: str) -> FolderSplit:
        """Find the examples of a split; they are read when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or files are missing.
        """
        folder = _folder(name)
        base = find_base(
            self.root,
            ("ADEChallengeData2016", ""),
            "images",
            where_from=self.where_from,
            layout="ADE20K (images/training, annotations/training and so on, mostly in ADEChallengeData2016)",
        )
        images, labels = f"{base}/images/{folder}", f"{base}/annotations/{folder}"
        return FileSplit(self, match(name, images, by_name(images, ".jpg"), labels, by_name(labels, ".png")))


@dataclass(frozen=True)
class SceneParse150(ADE20K):
    """The TFDS data set ``scene_parse150``, prepared anywhere in a format of random access (``array_record``).

    It has ADE20K's images, but, other than its name says, the instance annotations of 2017, which know 100 of the 150 classes
    only: those of things. All else (wall, sky, road ...) is void here. The classes are those of :class:`ADE20K`, so that one's
    models can be evaluated; use :class:`ADE20K` to train on all 150. The split ``val`` is what TFDS calls ``test``.

    Attributes:
        root: the TFDS data directory, or the folder of one version in it; ``~`` is expanded where it is read.
    """

    root: str = "~/tensorflow_datasets"
    label_map: LabelMap = _instance_map()

    def split(self, name: str) -> FolderSplit:
        """Open a split for random access; images are decoded when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or no prepared data; it says how to prepare it.
        """
        _folder(name)
        records = open_records(
            self.root,
            "scene_parse150",
            {"train": "train", "val": "test"}[name],
            image="image",
            label="annotation",
            build="tfds build scene_parse150",
        )
        return _InstanceSplit(self, records.pairs(), records)


class _InstanceSplit(PreparedSplit):
    """The examples of one split of :class:`SceneParse150`."""

    def decode_label(self, data: bytes, name: str) -> np.ndarray:
        """Read the category of every pixel, which is the red of the instance annotations; green counts the instances."""
        return decode_image(data, num_channels=3, name=name)[..., 0]


def _folder(split: str) -> str:
    """Return what ADE20K calls a split."""
    folders = {"train": "training", "val": "validation"}
    if split == "test":
        raise InputError("The labels of ADE20K's test images are not published. Use the split 'val' for scores.")
    if split not in folders:
        raise InputError(f"ADE20K has no split {split!r}; it has {', '.join(folders)}.")
    return folders[split]
