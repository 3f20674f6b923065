"""What U-Net needs around its labels: weights that keep touching objects apart, and the image mirrored beyond its border."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxseg.data.augment.channels import check_dtype
from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID

#: Where d1 + d2 is so many sigma, the border term is below 1e-9 of w0.
_REACH = 6.5


@dataclasses.dataclass(frozen=True)
class BorderWeights:
    r"""Add ``pixel_weights``, large on the background between objects that nearly touch; every loss multiplies by them.

    .. math:: w(x) = w_c(x) + w_0 \exp\left(-\frac{(d_1(x) + d_2(x))^2}{2 \sigma^2}\right)

    Ronneberger, Fischer, Brox, "U-Net", 2015, equation 2 (https://arxiv.org/abs/1505.04597), ``d_1`` and ``d_2`` being the
    distances to the nearest and the second nearest object. An object is a connected component of the foreground, its pixels
    joined along edges, not corners, so that objects that touch at a corner are two. Distances are between pixel centres: 1 from
    the pixel beside an object.

    Not said by the paper, and so chosen: the second term counts on background alone, as in most implementations; and ``w_c``,
    "to balance the class frequencies", is ``n / (k n_c)``, where ``n`` counts the pixels that are not void, ``n_c`` those of the
    pixel's class and ``k`` the classes in this label. All classes then weigh the same in sum, and the mean weight is 1. Void
    pixels weigh 0. Without balance, ``w_c`` is 1.

    Put it behind everything that moves the label, such as elastic deformation, which would stretch the weights with it. The crop
    that loading appends moves them along; weights are of the whole image, as in the paper. Draws nothing from the generator.

    Attributes:
        w0: the weight that a gap of no width would have, 0 or more.
        sigma: in pixels, above 0; at ``d_1 + d_2 = 2 sigma`` the term is at 14 % of ``w0``.
        foreground: the classes of objects; connected pixels of different classes are one object.
        balance: whether to balance the class frequencies.
    """

    w0: float = 10.0
    sigma: float = 5.0
    foreground: tuple[int, ...] = (1,)
    balance: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.w0 < np.inf:
            raise InputError(f"w0={self.w0} must be 0 or more: it is the weight between objects that touch (U-Net: 10).")
        if not 0 < self.sigma < np.inf:
            raise InputError(f"sigma={self.sigma} must be above 0: it is a distance in pixels (U-Net: 5).")
        if not self.foreground or not all(0 <= index < VOID for index in self.foreground):
            raise InputError(f"foreground={self.foreground} must name at least one class index, from 0 to {VOID - 1}.")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example with ``pixel_weights`` ``(h, w)``, float32; those of a transform before are replaced."""
        label = example["label"]
        inside = np.isin(label, self.foreground)
        weights = _balance(label) if self.balance else np.ones(label.shape, np.float32)
        between = self.w0 * np.exp(-np.square(_two_distances(inside, _REACH * self.sigma)) / (2 * self.sigma**2))
        weights += np.where(inside, np.float32(0), between)
        weights[label == VOID] = 0
        return {**example, "pixel_weights": weights}  # type: ignore[typeddict-unknown-key]


def _balance(label: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The number of pixels over the number of classes and of pixels of the same class."""
    counts = np.bincount(label.ravel(), minlength=VOID + 1)[:VOID]
    share = counts / max(counts.sum(), 1)
    table = np.zeros(VOID + 1, np.float32)
    table[:VOID] = np.divide(1, share * np.count_nonzero(counts), where=counts > 0, out=np.zeros(VOID))
    return table[label]


def _two_distances(inside: Bool[np.ndarray, "h w"], reach: float) -> Float[np.ndarray, "h w"]:
    """The sum of the distances to the nearest and the second nearest component, exact up to ``reach`` and above it beyond.

    The distance to each component is computed in a box around it alone, which is all where it can be part of such a sum.
    """
    count, components, boxes, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    nearest = np.full(inside.shape, np.inf, np.float32)
    second = nearest.copy()
    margin = int(np.ceil(reach))
    for index in range(1, count):
        left, top, width, height = boxes[index, :4].tolist()
        box = np.s_[max(top - margin, 0) : top + height + margin, max(left - margin, 0) : left + width + margin]
        outside = (components[box] != index).astype(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second[box] = np.minimum(second[box], np.maximum(nearest[box], distance))
        nearest[box] = np.minimum(nearest[box], distance)
    return nearest + second


@dataclasses.dataclass(frozen=True)
class MirrorMargin:
    """Extend the image by mirroring, as context for a network of valid convolutions; labels there are ``VOID``.

    Ronneberger et al., "U-Net", 2015, Figure 2. With the margin that the network loses on each side (92 for the paper's: 572 in,
    388 out), a crop of its input size has the central part, which is trained, inside the image, and every pixel of the image can
    be trained. Wider than the image, the margin is mirrored again. Draws nothing from the generator.

    Attributes:
        margin: pixels on each side.
    """

    margin: int = 92

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise InputError(f"margin={self.margin} must be 0 or more: it counts the pixels on each side (U-Net: 92).")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example, larger by the margin on every side; further planes, such as weights, are 0 there."""
        check_dtype(example["image"])
        sides = ((self.margin, self.margin),) * 2
        planes = {
            key: np.pad(value, sides, constant_values=VOID if key == "label" else 0)
            for key, value in example.items()
            if key != "image" and isinstance(value, np.ndarray)
        }
        image = np.pad(example["image"], (*sides, (0, 0)), mode="reflect")
        return {**example, **planes, "image": image}  # type: ignore[typeddict-item]
