"""Scores of a predictor over a whole split: accumulators that are added up batch by batch, and read once."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.data.loading import eval_batches
from jaxseg.inference import Predictor, choose_labels
from jaxseg.metrics import BoundaryF1, CalibrationError, ConfusionMatrix, merge_over_processes

_add_to_confusion = jax.jit(ConfusionMatrix.update)
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
    """

    scores: dict[str, Any]
    confusion: ConfusionMatrix


def evaluate(predictor: Predictor, examples: Sequence, *, thorough: bool = False) -> Evaluation:
    """Evaluate on every image of a split, each process on its share.

    Args:
        predictor: with the network.
        examples: of the split, at their own sizes; predictions are resized to the labels'.
        thorough: also score boundaries and calibration, which takes a while on large images.
    """
    config = predictor.config
    classes = len(config.data.class_names)
    confusion, contours, calibration = ConfusionMatrix.empty(classes), BoundaryF1.empty(classes), CalibrationError.empty()
    batches = eval_batches(
        examples,
        batch_size=config.eval_batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for batch in batches:
        label = jnp.asarray(batch["label"])
        if thorough:
            logits = jnp.asarray(predictor.logits(batch["image"]))
            prediction = choose_labels(logits, size=logits.shape[1:3])
            contours = _add_to_boundary(contours, prediction, label)
            calibration = _add_to_calibration(calibration, logits, label)
        else:
            prediction = jnp.asarray(predictor.labels(batch["image"]))
        confusion = _add_to_confusion(confusion, prediction, label)
    confusion = merge_over_processes(confusion)
    scores: dict[str, Any] = {**confusion.scores(), "images": len(examples)}
    if thorough:
        scores.update(merge_over_processes(contours).scores())
        scores["calibration_error"] = merge_over_processes(calibration).scores()["calibration_error"]
    return Evaluation(scores, confusion)


def json_scores(scores: dict[str, Any], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return scores as strict JSON takes them: per-class lists by class name, NaN (a class that is absent) as ``None``."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple | np.ndarray):
            return {name: plain(v) for name, v in zip(class_names, value)}
        return None if isinstance(value, float) and math.isnan(value) else value

    return {key: plain(value) for key, value in scores.items()}
