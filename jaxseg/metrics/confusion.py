"""The confusion matrix of a data set, and the scores that are read from it once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, Integer, UInt64

from jaxseg.errors import InputError
from jaxseg.metrics import wide
from jaxseg.types import VOID, Labels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionMatrix:
    """How many pixels of each class were predicted as each class: exact up to 2^64, on the device, additive over batches.

    Pixels whose label is VOID count nowhere, whatever is predicted there. A prediction that is no class (such as VOID) is a
    wrong one: the pixel counts for its label, and hits nothing. A label that is neither a class nor VOID cannot be
    refused while a program runs on a device; it is counted apart, and :meth:`scores` refuses it.

    A pytree: make it with :meth:`empty`, carry it through ``jit``, ``scan`` or ``pmap``.

    Attributes:
        counter: ``(num_classes + 1, num_classes + 1)``, labels down, predictions across; the last row and column hold what is no
            class.

    >>> matrix = ConfusionMatrix.empty(num_classes=2)
    >>> matrix = matrix.update(jnp.array([[[0, 1, 1, 0]]]), jnp.array([[[0, 0, 1, 255]]]))
    >>> matrix.scores()["iou"], matrix.scores()["pixel_accuracy"]
    ([0.5, 0.5], 0.6666666666666666)
    """

    counter: wide.Wide

    @classmethod
    def empty(cls, num_classes: int) -> "ConfusionMatrix":
        """Return the matrix of no pixels.

        Raises:
            InputError: there is no class, or VOID would be one.
        """
        if not 1 <= num_classes <= VOID:
            raise InputError(f"num_classes={num_classes} must be from 1 to {VOID}: the label {VOID} means void.")
        return cls(wide.zeros(num_classes + 1, num_classes + 1))

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.counter.low.shape[-1] - 1

    def update(self, prediction: Integer[Array, "b h w"], labels: Labels) -> "ConfusionMatrix":
        """Return the matrix with the pixels of a batch added.

        Args:
            prediction: class indices, such as the argmax of the logits.
            labels: class indices or VOID.

        Raises:
            InputError: the shapes differ, as they do for logits in place of a prediction.
        """
        if prediction.shape != labels.shape:
            raise InputError(
                f"The prediction has shape {prediction.shape} and the labels {labels.shape}: give class indices of the labels' "
                "size, jnp.argmax(logits, -1)."
            )
        return type(self)(wide.add(self.counter, wide.from_small(_count(prediction, labels, self.num_classes))))

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Return the matrix of the pixels of both."""
        return type(self)(wide.add(self.counter, other.counter))

    def counts(self) -> UInt64[np.ndarray, "labels predictions"]:
        """Return the counts on the host, ``(num_classes, num_classes + 1)``: the last column is predictions that are no class.

        Raises:
            InputError: there were labels that are neither a class nor VOID.
        """
        counts = wide.to_numpy(self.counter)
        if counts[-1].any():
            raise InputError(
                f"{counts[-1].sum()} pixels have a label that is neither a class in [0, {self.num_classes}) nor void ({VOID}). "
                "The data source must map every other value to one of these."
            )
        return counts[:-1]

    def scores(self) -> dict[str, float | list[float]]:
        """Return the scores, in [0, 1], computed on the host in double precision.

        A score is NaN for a class to which it does not apply, and the mean leaves such classes out: IoU and Dice of a class that
        is neither labelled nor predicted anywhere, accuracy of one that is not labelled, precision of one that is not predicted.

        ===================  ================================================================================
        ``miou``             mean of ``iou``
        ``iou``              per class, hits / (labelled + predicted - hits)
        ``pixel_accuracy``   share of the pixels that are right
        ``mean_accuracy``    mean of ``class_accuracy``
        ``class_accuracy``   per class, hits / labelled (recall)
        ``precision``        per class, hits / predicted
        ``fwiou``            ``iou`` weighted by the share of labelled pixels
        ``dice``             per class, 2 hits / (labelled + predicted) (F1)
        ``mean_dice``        mean of ``dice``
        ===================  ================================================================================

        Raises:
            InputError: there were labels that are neither a class nor VOID.
        """
        counts = self.counts().astype(np.float64)
        hits, labelled, predicted = np.diagonal(counts), counts.sum(1), counts.sum(0)[:-1]
        iou = _divide(hits, labelled + predicted - hits)
        accuracy, precision = _divide(hits, labelled), _divide(hits, predicted)
        dice = _divide(2 * hits, labelled + predicted)
        total = labelled.sum()
        return {
            "miou": mean_of_numbers(iou),
            "iou": iou.tolist(),
            "pixel_accuracy": float(_divide(hits.sum(), total)),
            "mean_accuracy": mean_of_numbers(accuracy),
            "class_accuracy": accuracy.tolist(),
            "precision": precision.tolist(),
            "fwiou": float(_divide(np.nansum(labelled * iou), total)),
            "dice": dice.tolist(),
            "mean_dice": mean_of_numbers(dice),
        }


def mean_of_numbers(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if none is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def _divide(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b != 0)


def _count(prediction: Array, labels: Array, num_classes: int) -> Int[Array, "rows columns"]:
    """Count the pairs of label and prediction of fewer than 2^31 pixels."""
    prediction, labels = prediction.astype(jnp.int32).ravel(), labels.astype(jnp.int32).ravel()
    valid = labels != VOID
    rows = jnp.where((labels >= 0) & (labels < num_classes), labels, num_classes)
    columns = jnp.where((prediction >= 0) & (prediction < num_classes), prediction, num_classes)
    size = num_classes + 1
    # A TPU scatters one number at a time, and multiplies matrices fast.
    by_product, by_scatter = functools.partial(count_by_product, size=size), functools.partial(count_by_scatter, size=size)
    return lax.platform_dependent(rows, columns, valid, tpu=by_product, default=by_scatter)


def count_by_scatter(
    rows: Int[Array, " n"], columns: Int[Array, " n"], valid: Bool[Array, " n"], *, size: int
) -> Int[Array, "s s"]:
    """Count the valid pairs of indices below ``size`` by adding 1 at each."""
    flat = jnp.zeros(size * size, jnp.int32).at[rows * size + columns].add(valid.astype(jnp.int32), mode="promise_in_bounds")
    return flat.reshape(size, size)


def count_by_product(
    rows: Int[Array, " n"], columns: Int[Array, " n"], valid: Bool[Array, " n"], *, size: int
) -> Int[Array, "s s"]:
    """Count the valid pairs of indices below ``size`` as the product of one-hot matrices, exactly.

    In chunks: of at most 2^24 pairs float32 sums are exact, and the one-hot matrices stay small.
    """
    chunk = min(len(rows), 1 << 14)
    missing = -len(rows) % chunk
    rows = jnp.pad(jnp.where(valid, rows, -1), (0, missing), constant_values=-1).reshape(-1, chunk)
    columns = jnp.pad(columns, (0, missing)).reshape(-1, chunk)

    def add(counts: Array, pairs: tuple[Array, Array]) -> tuple[Array, None]:
        down, across = (jax.nn.one_hot(index, size, dtype=jnp.bfloat16) for index in pairs)
        product = lax.dot_general(down, across, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return counts + product.astype(jnp.int32), None

    return lax.scan(add, jnp.zeros((size, size), jnp.int32), (rows, columns))[0]
