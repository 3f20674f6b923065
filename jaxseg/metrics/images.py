"""Scores of each image by itself: which images of a split a network finds easy, and which hard."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Integer

from jaxseg.metrics.confusion import ConfusionMatrix
from jaxseg.metrics.merge import merge_stacked
from jaxseg.types import Labels


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """What the images of a split score, in the split's order.

    An image scores what :meth:`ConfusionMatrix.scores` says of it alone: its mean IoU is over the classes that are labelled or
    predicted in it, so that a few stray pixels of a class that is not there cost much. NaN where all of it is void.

    Attributes:
        miou: in [0, 1].
        pixel_accuracy: in [0, 1].
    """

    miou: Float[np.ndarray, " n"]
    pixel_accuracy: Float[np.ndarray, " n"]

    @classmethod
    def collect(cls, found: Iterable[tuple[Int[np.ndarray, " _b"], Float[Array, "_b 2"]]], images: int) -> "ImageScores":
        """Put the scores of batches in the split's order, over all processes of a job, each of which must call this.

        Args:
            found: the indices of each batch's images in the split, and their :func:`score_images`.
            images: of the whole split.
        """
        table = np.zeros((images, 2), np.float32)
        for index, scores in found:
            table[index] = scores
        if jax.process_count() > 1:  # each image is another process's zero
            table = np.asarray(multihost_utils.process_allgather(table)).sum(0)
        return cls(table[:, 0], table[:, 1])

    def worst_first(self) -> Int[np.ndarray, " m"]:
        """Return the indices of the images with a score, by rising mean IoU; of equals the first comes first."""
        order = np.argsort(self.miou, kind="stable")  # NaN last
        return order[: np.count_nonzero(~np.isnan(self.miou))]


def score_images(
    prediction: Integer[Array, "b h w"], labels: Labels, *, num_classes: int
) -> tuple[ConfusionMatrix, Float[Array, "b 2"]]:
    """Return the confusion matrix of a batch, and the mean IoU and the pixel accuracy of each of its images.

    Args:
        prediction: class indices.
        labels: class indices or VOID.
        num_classes: of the labels.
    """

    def count(one_prediction: Array, one_label: Array) -> ConfusionMatrix:
        return ConfusionMatrix.empty(num_classes).update(one_prediction[None], one_label[None])

    matrices = jax.vmap(count)(prediction, labels)
    counts = matrices.counter.low[:, :num_classes]  # an image has fewer than 2^32 pixels
    hits = jnp.diagonal(counts, axis1=1, axis2=2)
    labelled, predicted = counts.sum(2), counts[:, :, :num_classes].sum(1)
    miou = _mean(_ratio(hits, labelled + predicted - hits))
    accuracy = _ratio(hits.sum(1), labelled.sum(1))
    return merge_stacked(matrices), jnp.stack([miou, accuracy], axis=1)


def _ratio(part: Array, whole: Array) -> Float[Array, "..."]:
    return jnp.where(whole > 0, part.astype(jnp.float32) / jnp.maximum(whole, 1).astype(jnp.float32), jnp.nan)


def _mean(values: Float[Array, "b k"]) -> Float[Array, " b"]:
    """Return the mean of the values that are not NaN."""
    there = ~jnp.isnan(values)
    total = jnp.where(there, values, 0.0).sum(1)
    return jnp.where(there.any(1), total / jnp.maximum(there.sum(1), 1), jnp.nan)
