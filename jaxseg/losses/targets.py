"""What every loss does first: labels of either kind, the void rule, binary logits, weights."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from jaxseg.errors import InputError, did_you_mean
from jaxseg.losses.likelihood import one_hot
from jaxseg.types import VOID

#: Class indices or VOID; or soft labels, one distribution per pixel (all zero where the pixel is void).
AnyLabels = Integer[Array, "b h w"] | Float[Array, "b h w k"]


class Target(NamedTuple):
    """Logits and labels in the one form that the losses compute with.

    Attributes:
        logits: float32; one channel for a binary problem, the log-odds of class 1, else one per class.
        labels: int32 indices, 0 where void; or float32 distributions over the classes, 0 where void.
        valid: where the pixel counts.
        weights: the pixel weights, 1 unless given; 0 where void.
    """

    logits: Float[Array, "b h w channels"]
    labels: Int[Array, "b h w"] | Float[Array, "b h w classes"]
    valid: Bool[Array, "b h w"]
    weights: Float[Array, "b h w"]

    @property
    def num_classes(self) -> int:
        """The number of classes: two for a binary problem, with one logit or two."""
        return max(self.logits.shape[-1], 2)

    @property
    def soft(self) -> bool:
        """Whether the labels are distributions."""
        return self.labels.ndim == 4

    def distributions(self) -> Float[Array, "b h w classes"]:
        """Return the labels as distributions: one-hot for indices."""
        return self.labels if self.soft else one_hot(self.labels, self.num_classes)


def prepare(
    logits: Float[Array, "b h w k"],
    labels: Num[Array, "b h w ..."],
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Target:
    """Bring logits and labels to one form: float32, one logit for a binary problem, void masked.

    Two logits become their difference ``x_1 - x_0``, the sigmoid of which is their softmax.
    A pixel of index labels is void where its label is VOID or no class; a pixel of soft labels where its values are all zero
    (what one-hot encoding makes of VOID) or not in [0, 1].

    Raises:
        InputError: the shapes or dtypes do not belong together.
    """
    _check(logits, labels, pixel_weights)
    channels = logits.shape[-1]
    logits = logits.astype(jnp.float32)
    if channels == 2:
        logits = logits[..., 1:] - logits[..., :1]
    if labels.ndim == 4:
        labels = labels.astype(jnp.float32)
        valid = jnp.all((labels >= 0) & (labels <= 1), -1)
        if channels == 1:
            labels = jnp.concatenate([1 - labels, labels], -1)
        valid &= jnp.any(labels > 0, -1)
        labels = jnp.where(valid[..., None], labels, 0)
    else:
        labels = labels.astype(jnp.int32)  # first: uint8 has no room for the arithmetic that follows
        valid = (labels >= 0) & (labels < max(channels, 2))
        labels = jnp.where(valid, labels, 0)
    weights = jnp.ones(valid.shape) if pixel_weights is None else pixel_weights.astype(jnp.float32)
    return Target(logits, labels, valid, jnp.where(valid, weights, 0))


def class_vector(class_weights: tuple[float, ...] | None, default: tuple[float, ...]) -> Float[Array, " classes"]:
    """Return the class weights, or their default, as an array.

    Raises:
        InputError: there are not as many as classes.
    """
    weights = default if class_weights is None else class_weights
    if len(weights) != len(default):
        raise InputError(
            f"class_weights has {len(weights)} numbers for {len(default)} classes: give one per class, in the order of the "
            "labels (two for a binary problem, class 0 first)."
        )
    return jnp.asarray(weights, jnp.float32)


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of those allowed.

    Raises:
        InputError: it is not.
    """
    if value not in allowed:
        raise InputError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}.{did_you_mean(value, allowed)}")
    return value


def _check(logits: Array, labels: Array, pixel_weights: Array | None) -> None:
    if logits.ndim != 4:
        raise InputError(f"Logits of shape {logits.shape}: they must be (batch, height, width, classes); add axes of size 1.")
    if logits.shape[-1] > VOID:
        raise InputError(f"Logits of {logits.shape[-1]} classes: the label {VOID} means void, so at most {VOID} are possible.")
    kind = jnp.integer if labels.ndim == 3 else jnp.floating
    if labels.ndim not in (3, 4) or not jnp.issubdtype(labels.dtype, kind):
        raise InputError(
            f"Labels of shape {labels.shape} and dtype {labels.dtype}: they must be class indices (batch, height, width) of an "
            "integer dtype, or soft labels (batch, height, width, classes) of a floating dtype."
        )
    if labels.shape != logits.shape[: labels.ndim]:
        raise InputError(
            f"Labels of shape {labels.shape} do not fit logits of shape {logits.shape}: resize the logits to the labels' height "
            "and width, and give soft labels one value per logit."
        )
    if pixel_weights is not None and pixel_weights.shape != logits.shape[:3]:
        raise InputError(f"pixel_weights of shape {pixel_weights.shape} must be {logits.shape[:3]}, one number per pixel.")
