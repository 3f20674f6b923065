"""Class weights from data: pure functions of pixel counts, for the ``class_weights`` of the losses.

``python -m jaxseg.class_weights --config FILE`` counts the pixels of a config's training data and prints them.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Integer

from jaxseg.errors import InputError
from jaxseg.types import VOID


@dataclasses.dataclass(frozen=True)
class PixelCounts:
    """What the labels of a data set say about its classes.

    Attributes:
        pixels: of each class.
        image_pixels: of each class, all pixels (void left out) of the images that contain it.
        images: of each class, the number of images that contain it.
    """

    pixels: tuple[int, ...]
    image_pixels: tuple[int, ...]
    images: tuple[int, ...]


def count_pixels(labels: Iterable[Integer[np.ndarray, "_h _w"]], num_classes: int) -> PixelCounts:
    """Count the pixels of each class in label images, one at a time; void counts nowhere.

    Raises:
        InputError: a label is neither a class nor VOID.

    >>> count_pixels([np.array([[0, 0, 1, 255]])], num_classes=3)
    PixelCounts(pixels=(2, 1, 0), image_pixels=(3, 3, 0), images=(1, 1, 0))
    """
    pixels, image_pixels, images = (np.zeros(num_classes, np.int64) for _ in range(3))
    for index, label in enumerate(labels):
        values = label[label != VOID].astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            wrong = sorted(set(np.unique(values).tolist()) - set(range(num_classes)))
            raise InputError(
                f"Image {index} has the labels {wrong}, which are neither classes in [0, {num_classes}) nor void ({VOID})."
            )
        own = np.bincount(values, minlength=num_classes)
        pixels += own
        image_pixels += np.where(own > 0, values.size, 0)
        images += own > 0
    return PixelCounts(tuple(pixels.tolist()), tuple(image_pixels.tolist()), tuple(images.tolist()))


def median_frequency_weights(counts: PixelCounts) -> tuple[float, ...]:
    r"""Median-frequency balancing, as SegNet trains: rare classes weigh more, the class in the middle 1.

    .. math:: w_c = \mathrm{median}(f) / f_c, \qquad f_c = n_c / \text{pixels of the images that contain } c

    Eigen and Fergus, Predicting depth, surface normals and semantic labels, 2015, section 6.3.2; Badrinarayanan et al.,
    SegNet, 2017, section 3.3. A class without pixels gets 0 and stays out of the median.

    Raises:
        InputError: there are no pixels at all.

    >>> median_frequency_weights(PixelCounts(pixels=(64, 32, 4), image_pixels=(128, 128, 64), images=(2, 2, 1)))
    (0.5, 1.0, 4.0)
    """
    pixels, of_images = np.asarray(_some(counts).pixels, np.float64), np.asarray(counts.image_pixels, np.float64)
    frequency = pixels / np.maximum(of_images, 1)
    present = pixels > 0
    return tuple(np.where(present, np.median(frequency[present]) / np.where(present, frequency, 1), 0.0).tolist())


def inverse_log_frequency_weights(counts: PixelCounts, *, c: float = 1.02) -> tuple[float, ...]:
    r"""Inverse log frequency: rare classes weigh more, but at most ``1 / log c``, so that none drowns the others.

    .. math:: w_c = 1 / \log(c + f_c), \qquad f_c = n_c / \sum_i n_i

    Paszke et al., ENet, 2016, section 5.1.

    Args:
        counts: from :func:`count_pixels`.
        c: above 1; the nearer to 1, the further apart the weights.

    Raises:
        InputError: there are no pixels at all, or ``c`` is not above 1.

    >>> [round(w, 2) for w in inverse_log_frequency_weights(PixelCounts((90, 10), (100, 100), (1, 1)))]
    [1.53, 8.82]
    """
    if c <= 1:
        raise InputError(f"c={c} must be above 1, or a class without pixels would get no finite positive weight.")
    pixels = np.asarray(_some(counts).pixels, np.float64)
    return tuple((1 / np.log(c + pixels / pixels.sum())).tolist())


def _some(counts: PixelCounts) -> PixelCounts:
    if not any(counts.pixels):
        raise InputError("There are no labelled pixels to compute class weights from: all are void, or there are no images.")
    return counts
