"""From classes to objects: connected regions of one class, numbered."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Integer, UInt16

from jaxseg.errors import InputError
from jaxseg.types import VOID

_LARGEST = np.iinfo(np.uint16).max


@dataclasses.dataclass(frozen=True)
class Instances:
    """The connected regions of a segmentation.

    Attributes:
        ids: the number of every pixel's region, from 1; 0 is background, void, or a region that was too small.
        classes: of the regions, in their order: region ``i`` is of class ``classes[i - 1]``.
    """

    ids: UInt16[np.ndarray, "h w"]
    classes: tuple[int, ...]


def label_instances(
    labels: Integer[np.ndarray, "h w"], *, background: tuple[int, ...] = (0,), min_area: int = 1, connectivity: int = 4
) -> Instances:
    """Number the connected regions of every class, class by class, in each from the top.

    Touching objects of one class are one region. So networks that must tell them apart learn a background between them, with
    weights as :class:`jaxseg.data.augment.BorderWeights` gives.

    Args:
        labels: class indices, or ``VOID``, which belongs to no region.
        background: classes that are not divided into regions.
        min_area: pixels that a region has at least; smaller ones are left out.
        connectivity: 4, pixels are joined along edges alone, so that cells that touch at a corner are two; or 8, at corners too.

    Raises:
        InputError: for another connectivity, a ``min_area`` below 1, or more regions than 16 bits can number.
    """
    if connectivity not in (4, 8):
        raise InputError(f"connectivity={connectivity} must be 4 (pixels are joined along edges) or 8 (at corners too).")
    if min_area < 1:
        raise InputError(
            f"min_area={min_area} must be at least 1: it is the number of pixels of the smallest region that is kept."
        )
    ids = np.zeros(labels.shape, np.int32)
    classes: list[int] = []
    for index in (int(index) for index in np.unique(labels) if index not in (VOID, *background)):
        count, regions, stats, _ = cv2.connectedComponentsWithStats(
            (labels == index).astype(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S
        )
        large = stats[1:, cv2.CC_STAT_AREA] >= min_area
        numbers = np.zeros(count, np.int32)
        numbers[1:][large] = len(classes) + 1 + np.arange(large.sum())
        ids += numbers[regions]
        classes += [index] * int(large.sum())
    if len(classes) > _LARGEST:
        raise InputError(
            f"{len(classes)} regions are more than 16 bits can number ({_LARGEST}): leave out small ones by min_area."
        )
    return Instances(ids.astype(np.uint16), tuple(classes))
