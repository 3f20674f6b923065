"""Boundary F1: how well the contours of the classes are found."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from jaxseg.errors import InputError
from jaxseg.metrics import wide
from jaxseg.types import VOID, Labels

#: Scores are summed in units of 2^-24: exactly, hence in any order.
_UNIT = 24


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BoundaryF1:
    """Boundary F1 (BF): per image and class, the F1 of boundary pixels that have a counterpart within a tolerance.

    Csurka et al., What is a good evaluation measure for semantic segmentation?, 2013, section 3: precision is the share of the
    predicted boundary within the tolerance of the labelled one, recall the reverse; an image's score is the mean over the classes
    that have a boundary in its labels, the data set's score the mean over images. Images differ in size, so the tolerance is a
    share of the diagonal, 0.75 % unless given.

    A boundary pixel of a class has one of its four neighbours in another class. Void pixels belong to no boundary, in the labels
    and in the prediction; the border of a void region is a boundary of the classes around it, in both (the bands around the
    objects of Pascal VOC would otherwise leave no boundary at all). The edge of the image is no boundary.

    A pytree, like :class:`jaxseg.metrics.ConfusionMatrix`.

    Attributes:
        score: sums of scores, per class and, last, of images.
        count: how many scores these are.
        tolerance: share of the image's diagonal.

    >>> labels, prediction = (jnp.zeros((1, 8, 8), int).at[:, :, column:].set(1) for column in (4, 5))
    >>> BoundaryF1.empty(num_classes=2, tolerance=0.1).update(prediction, labels).scores()["boundary_f1"]  # 1.1 pixels
    1.0
    """

    score: wide.Wide
    count: wide.Wide
    tolerance: float = dataclasses.field(default=0.0075, metadata={"static": True})

    @classmethod
    def empty(cls, num_classes: int, tolerance: float = 0.0075) -> "BoundaryF1":
        """Return the score of no images.

        Raises:
            InputError: there is no class, or VOID would be one; the tolerance is not a share.
        """
        if not 1 <= num_classes <= VOID:
            raise InputError(f"num_classes={num_classes} must be from 1 to {VOID}: the label {VOID} means void.")
        if not 0 <= tolerance < 1:
            raise InputError(f"tolerance={tolerance} is a share of the image's diagonal, in [0, 1): 0.0075 is customary.")
        return cls(wide.zeros(num_classes + 1), wide.zeros(num_classes + 1), tolerance)

    def update(self, prediction: Integer[Array, "b h w"], labels: Labels) -> "BoundaryF1":
        """Return the score with the images of a batch added.

        Images that were padded to one size should be given one by one, or cropped: the diagonal is that of the array.

        Raises:
            InputError: the shapes differ.
        """
        if prediction.shape != labels.shape:
            raise InputError(f"The prediction has shape {prediction.shape} and the labels {labels.shape}: they must be the same.")
        classes = self.score.low.shape[-1] - 1
        radius = self.tolerance * math.hypot(*labels.shape[1:])
        f1, present = _image_scores(prediction.astype(jnp.int32), labels.astype(jnp.int32), classes, radius)
        any_present = jnp.any(present, -1, keepdims=True)
        of_image = jnp.sum(f1, -1, keepdims=True) / jnp.maximum(jnp.sum(present, -1, keepdims=True), 1)
        scores = jnp.round(jnp.concatenate([f1, of_image], -1) * 2.0**_UNIT).astype(jnp.uint32)
        counts = jnp.concatenate([present, any_present], -1)
        score, count = (wide.total(wide.from_small(amounts), _sum_images) for amounts in (scores, counts))
        return dataclasses.replace(self, score=wide.add(self.score, score), count=wide.add(self.count, count))

    def merge(self, other: "BoundaryF1") -> "BoundaryF1":
        """Return the score of the images of both.

        Raises:
            InputError: the tolerances differ.
        """
        if self.tolerance != other.tolerance:
            raise InputError(f"Boundary scores of the tolerances {self.tolerance} and {other.tolerance} do not add up.")
        return dataclasses.replace(self, score=wide.add(self.score, other.score), count=wide.add(self.count, other.count))

    def scores(self) -> dict[str, float | list[float]]:
        """Return ``boundary_f1``, the mean over images, and ``boundary_f1_per_class``; NaN where no label has a boundary."""
        total, count = wide.to_numpy(self.score).astype(np.float64), wide.to_numpy(self.count).astype(np.float64)
        means = np.divide(total / 2.0**_UNIT, count, out=np.full_like(total, np.nan), where=count > 0)
        return {"boundary_f1": float(means[-1]), "boundary_f1_per_class": means[:-1].tolist()}


def _sum_images(words: Array) -> Array:
    return jnp.sum(words, 0, dtype=jnp.uint32)


def _image_scores(
    prediction: Int[Array, "b h w"], labels: Int[Array, "b h w"], classes: int, radius: float
) -> tuple[Float[Array, "b classes"], Integer[Array, "b classes"]]:
    """Return the F1 of every class in every image, 0 where the labels have no boundary of it, and whether they have one."""
    prediction = jnp.where(labels == VOID, VOID, prediction)
    found, wanted = boundary(prediction), boundary(labels)
    found_right, wanted_right = (found >= 0) & _near(found, wanted, radius), (wanted >= 0) & _near(wanted, found, radius)

    def count(classes_at: Array, which: Array) -> Array:
        counted = jnp.where(which & (classes_at < classes), classes_at, classes)  # the others in a bin of their own
        return jax.vmap(lambda bins: jnp.zeros(classes + 1).at[bins.ravel()].add(1.0)[:-1])(counted)

    present = count(wanted, wanted >= 0)
    precision = count(found, found_right) / jnp.maximum(count(found, found >= 0), 1)
    recall = count(wanted, wanted_right) / jnp.maximum(present, 1)
    return 2 * precision * recall / jnp.maximum(precision + recall, 1e-12), (present > 0).astype(jnp.uint32)


def boundary(labels: Int[Array, "b h w"]) -> Int[Array, "b h w"]:
    """Return the class of each pixel that has a 4-neighbour of another class, and -1 elsewhere and at void."""
    rows, columns = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    above, below = (jnp.pad(rows, ((0, 0), pad, (0, 0))) for pad in ((1, 0), (0, 1)))
    left, right = (jnp.pad(columns, ((0, 0), (0, 0), pad)) for pad in ((1, 0), (0, 1)))
    edge = above | below | left | right
    return jnp.where(edge & (labels != VOID), labels, -1)


def _near(of: Int[Array, "b h w"], others: Int[Array, "b h w"], radius: float) -> Array:
    """Return where ``others`` has the same class as ``of`` within the radius."""
    reach = math.floor(radius)
    span = range(-reach, reach + 1)
    offsets = np.array([(dy, dx) for dy in span for dx in span if dy * dy + dx * dx <= radius * radius])
    padded = jnp.pad(others, ((0, 0), (reach, reach), (reach, reach)), constant_values=-1)

    def look(i: Array, near: Array) -> Array:
        dy, dx = jnp.asarray(offsets)[i]
        return near | (lax.dynamic_slice(padded, (0, reach + dy, reach + dx), others.shape) == of)

    return lax.fori_loop(0, len(offsets), look, jnp.zeros(of.shape, bool))
