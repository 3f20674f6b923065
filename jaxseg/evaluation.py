"""Scores of a predictor over a whole split: one confusion matrix, read once."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxseg.data.loading import eval_batches
from jaxseg.inference import Predictor
from jaxseg.metrics import ConfusionMatrix


def evaluate(predictor: Predictor, examples: Sequence) -> dict[str, Any]:
    """Evaluate on every image of a split, each process on its share.

    Args:
        predictor: with the network.
        examples: of the split, at their own sizes; predictions are resized to the labels'.

    Returns:
        The keys of :meth:`jaxseg.metrics.ConfusionMatrix.scores`, over all processes, and ``images``, their number.
    """
    config = predictor.config
    matrix = ConfusionMatrix.empty(len(config.data.class_names))
    update = jax.jit(ConfusionMatrix.update)
    for batch in _batches(config, examples):
        matrix = update(matrix, predictor.labels(batch["image"]), batch["label"])
    return {**matrix.scores(), "images": len(examples)}


def _batches(config: Any, examples: Sequence) -> Iterator[dict[str, Any]]:
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
