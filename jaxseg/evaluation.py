"""Scores of a predictor over a whole split: accumulators that are added up batch by batch, and read once."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, UInt8

from jaxseg.config import Config
from jaxseg.data.loading import eval_batches
from jaxseg.inference import Predictor, choose_labels
from jaxseg.metrics import (
    BoundaryF1,
    CalibrationError,
    ConfusionMatrix,
    ImageScores,
    match_segments,
    merge_over_processes,
    score_images,
)
from jaxseg.row_blocks import Blocks, gather
from jaxseg.types import VOID, Logits

_add_to_confusion = jax.jit(ConfusionMatrix.update)
_score_images = jax.jit(score_images, static_argnames="num_classes")
_merge = jax.jit(ConfusionMatrix.merge)
_add_to_boundary = jax.jit(BoundaryF1.update)
_add_to_calibration = jax.jit(CalibrationError.update)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found on a split.

    Attributes:
        scores: the keys of :meth:`jaxseg.metrics.ConfusionMatrix.scores`; if asked for, of
            :meth:`jaxseg.metrics.BoundaryF1.scores`, and ``calibration_error``; and ``images``, their number. Shares are in
            [0, 1], NaN where undefined.
        confusion: pixels of each class (rows) by predicted class (columns).
        images: the scores of each image by itself.
        classes: the class that each segment was given, where ``config.match_classes``.
    """

    scores: dict[str, Any]
    confusion: ConfusionMatrix
    images: ImageScores
    classes: tuple[int, ...] | None = None

    def named(self, prediction: Integer[np.ndarray, "*shape"]) -> Integer[np.ndarray, "*shape"]:
        """Return a prediction of this network in the data's classes: of segments, the classes that they were given."""
        return prediction if self.classes is None else np.asarray(self.classes, np.uint8)[prediction]


def evaluate(predictor: Predictor, examples: Sequence, *, thorough: bool = False) -> Evaluation:
    """Evaluate on every image of a split, each process on its share.

    With ``config.match_classes`` a first pass over the split gives every segment a class, by its labels, which serve no other
    end than names; the scores are those of the segments so named.

    Args:
        predictor: with the network.
        examples: of the split, at their own sizes; predictions are resized to the labels'.
        thorough: also score boundaries and calibration, which takes a while on large images.
    """
    config = predictor.config
    classes = len(config.data.class_names)
    given = _match(predictor, examples) if config.match_classes else None
    confusion, contours, calibration = ConfusionMatrix.empty(classes), BoundaryF1.empty(classes), CalibrationError.empty()
    by_image: list[tuple[np.ndarray, Array]] = []
    for batch in _batches(config, examples):
        label = jnp.asarray(batch["label"])
        if thorough:
            labels, calibration = _labels_and_calibration(predictor, batch, given, calibration)
            prediction = jnp.asarray(labels)
        else:
            prediction = jnp.asarray(predictor.labels(batch["image"]))
        if given is not None:
            prediction = jnp.asarray(given)[prediction]
        of_batch, of_images = _score_images(prediction, label, num_classes=classes)
        confusion = _merge(confusion, of_batch)
        by_image.append((batch["index"], of_images))
        if thorough:
            contours = _add_to_boundary(contours, prediction, label)
    confusion, images = merge_over_processes(confusion), ImageScores.collect(by_image, len(examples))
    scores: dict[str, Any] = {**confusion.scores(), "images": len(examples)}
    if thorough:
        scores.update(merge_over_processes(contours).scores())
        scores["calibration_error"] = merge_over_processes(calibration).scores()["calibration_error"]
    return Evaluation(scores, confusion, images, None if given is None else tuple(given.tolist()))


def _labels_and_calibration(
    predictor: Predictor, batch: dict[str, Any], given: Int[np.ndarray, " k"] | None, calibration: CalibrationError
) -> tuple[UInt8[np.ndarray, "b h w"], CalibrationError]:
    """Return the classes of a batch, and the error with its pixels added, block by block: logits may be too many to keep."""
    images, label = batch["image"], batch["label"]
    classes = len(predictor.config.data.class_names)

    def chosen(columns: range, blocks: Blocks) -> Blocks:
        nonlocal calibration
        top = 0
        for block in blocks:
            logits = jnp.asarray(block)
            count, rows, across = logits.shape[:3]
            own = label[:, top : top + rows, columns.start : columns.stop]
            beyond = [(0, side - length) for side, length in zip((count, rows, across), own.shape)]
            own = jnp.asarray(np.pad(own, beyond, constant_values=VOID))
            pooled = logits if given is None else pool_logits(logits, given, classes)
            calibration = _add_to_calibration(calibration, pooled, own)
            top += rows
            yield choose_labels(logits)

    stripes = ((columns, chosen(columns, blocks)) for columns, blocks in predictor.stripes(images))
    labels = gather(stripes, images.shape[:3])
    return labels, calibration


def pool_logits(logits: Logits, given: Int[np.ndarray, " k"], classes: int) -> Float[Array, "b h w {classes}"]:
    """Return logits of classes from those of segments: the probability of a class is the sum over the segments it was given to.

    Args:
        logits: of the segments.
        given: the class of each segment.
        classes: their number; one without segments gets the logit -1e9, which is no probability at all.
    """
    members = given[None] == np.arange(classes)[:, None]
    pooled = [jax.nn.logsumexp(logits[..., own], axis=-1) if own.any() else jnp.full(logits.shape[:3], -1e9) for own in members]
    return jnp.stack(pooled, axis=-1)


def _match(predictor: Predictor, examples: Sequence) -> Int[np.ndarray, " segments"]:
    """Count which classes the segments lie on, over the whole split, and return the class of each segment."""
    config = predictor.config
    classes, segments = len(config.data.class_names), config.model.num_classes
    confusion = ConfusionMatrix.empty(max(classes, segments))
    for batch in _batches(config, examples):
        prediction = jnp.asarray(predictor.labels(batch["image"]))
        confusion = _add_to_confusion(confusion, prediction, jnp.asarray(batch["label"]))
    # Labels that are no class are refused by the scores, which every evaluation goes on to.
    return match_segments(merge_over_processes(confusion).counts()[:classes, :segments])


def _batches(config: Config, examples: Sequence) -> Iterator[dict[str, Any]]:
    return eval_batches(
        examples,
        batch_size=config.eval_batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def json_scores(scores: dict[str, Any], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return scores as strict JSON takes them: per-class lists by class name, NaN (a class that is absent) as ``None``."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple | np.ndarray):
            return {name: plain(v) for name, v in zip(class_names, value)}
        return None if isinstance(value, float) and math.isnan(value) else value

    return {key: plain(value) for key, value in scores.items()}
