"""Losses that have a value at every pixel: cross entropy and its weighted, balanced, focal and hard-pixel forms.

All take logits ``(b, h, w, k)`` and class indices ``(b, h, w)`` or soft labels ``(b, h, w, k)``, compute in float32, and reduce

* ``"mean"``: the sum over pixels of weight times loss, divided by the **number** of pixels that are not void;
* ``"weighted_mean"``: the same sum divided by the sum of the weights (pixel weight times the class weight of the label), as
  ``torch.nn.CrossEntropyLoss`` does with class weights: a batch of rare classes then counts no more than another;
* ``"none"``: weight times loss at every pixel, 0 where void.

Where no pixel is valid the value and the gradient are 0. A binary problem has one logit ``x`` (``q = sigmoid(x)`` is the
probability of class 1) or two, which are the same as their difference ``x_1 - x_0``; its labels are 0 and 1.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.losses.likelihood import class_negative_log_likelihoods, negative_log_likelihood
from jaxseg.losses.targets import AnyLabels, Target, choice, class_vector, prepare

Reduction = Literal["mean", "weighted_mean", "none"]
#: A scalar; with ``reduction="none"`` one value per pixel.
Loss = Float[Array, ""] | Float[Array, "b h w"]

_BINARY = (
    "{name}={value} weighs class 1 of a binary problem (one logit or two), and there are {classes} classes: "
    "give class_weights, one number per class."
)


def cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    class_weights: tuple[float, ...] | None = None,
    label_smoothing: float = 0.0,
    pixel_weights: Float[Array, "b h w"] | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    r"""Cross entropy, the loss to start with: the negative log-likelihood of the label.

    .. math:: CE = -\sum_c w_c \, p_c \log q_c, \qquad q = \mathrm{softmax}(x)

    and ``-(p log q + (1 - p) log(1 - q))`` for a binary problem. With label smoothing ``e``, ``p_c`` becomes
    ``(1 - e) p_c + e / k`` (Szegedy et al., Rethinking the Inception architecture, 2016, section 7).
    The gradient holds two arrays of the logits' size, the logits and itself.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        class_weights: one per class; :mod:`jaxseg.losses.class_weights` computes them from data.
        label_smoothing: probability that is spread evenly over all classes, in [0, 1].
        pixel_weights: such as U-Net's map of weights near borders (Ronneberger et al., 2015, equation 2).
        reduction: see the top of this module.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax.numpy as jnp
    >>> logits = jnp.log(jnp.array([[[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]]]))  # one row of two pixels, three classes
    >>> f"{cross_entropy(logits, jnp.array([[[0, 255]]])):.4f}"  # the second pixel is void
    '0.3567'
    """
    target = prepare(logits, labels, pixel_weights)
    weights = image_class_weights(class_weights, target)
    values = weighted_likelihood(target, weights, label_smoothing)
    return reduce_pixels(values, label_weights(target, weights), target, reduction)


def weighted_cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    beta: float = 1.0,
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    r"""Cross entropy that weighs the positive class: for a foreground that is rare (beta > 1) or too eagerly found (beta < 1).

    .. math:: WCE = -(\beta \, p \log q + (1 - p) \log(1 - q))

    With more than two classes there is no positive one: give ``class_weights`` instead of ``beta``; in a binary problem the two
    multiply. ``beta = 1`` is :func:`cross_entropy`.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        beta: weight of class 1 of a binary problem.
        class_weights: one per class.
        pixel_weights: one per pixel.
        reduction: see the top of this module.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit; ``beta`` with more than two classes.

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.zeros((1, 1, 2, 1)), jnp.array([[[0, 1]]])  # q = 1/2 at both pixels
    >>> f"{weighted_cross_entropy(logits, labels, beta=3.0):.4f}"  # (1 + 3) / 2 log 2
    '1.3863'
    """
    target = prepare(logits, labels, pixel_weights)
    weights = image_class_weights(class_weights, target)
    if target.num_classes == 2:
        weights = weights * jnp.array([[1.0, beta]])
    elif beta != 1.0:
        raise InputError(_BINARY.format(name="beta", value=beta, classes=target.num_classes))
    return reduce_pixels(weighted_likelihood(target, weights), label_weights(target, weights), target, reduction)


def balanced_cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    beta: float | None = None,
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    r"""Cross entropy whose two classes share one unit of weight: for thin structures, such as edges, on a large background.

    .. math:: BCE = -(\beta \, p \log q + (1 - \beta)(1 - p) \log(1 - q))

    Without ``beta``, it is the share of negative pixels of each image, as in the paper (Xie and Tu, Holistically-nested edge
    detection, 2015, equation 2). This carries over to many classes: each pixel is weighted by the share of its image, void left
    out, that is *not* of its class, ``1 - n_c / n``. ``beta = 1/2`` is half of :func:`cross_entropy`.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        beta: weight of class 1 of a binary problem, in [0, 1]; class 0 has the rest. ``None`` takes it from each image.
        class_weights: one per class, multiplied in.
        pixel_weights: one per pixel.
        reduction: see the top of this module.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit; ``beta`` with more than two classes.

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.zeros((1, 1, 2, 1)), jnp.array([[[0, 1]]])
    >>> f"{balanced_cross_entropy(logits, labels):.4f}"  # beta is 1/2: log 2 / 2
    '0.3466'
    """
    target = prepare(logits, labels, pixel_weights)
    weights = image_class_weights(class_weights, target)
    if beta is None:
        weights = weights * _share_of_the_others(target)
    elif target.num_classes == 2:
        weights = weights * jnp.array([[1.0 - beta, beta]])
    else:
        raise InputError(_BINARY.format(name="beta", value=beta, classes=target.num_classes))
    return reduce_pixels(weighted_likelihood(target, weights), label_weights(target, weights), target, reduction)


def image_class_weights(class_weights: tuple[float, ...] | None, target: Target) -> Float[Array, "b classes"]:
    """Return the class weights, 1 unless given, for every image."""
    weights = class_vector(class_weights, (1.0,) * target.num_classes)
    return jnp.broadcast_to(weights[None], (target.valid.shape[0], target.num_classes))


def label_weights(target: Target, weights: Float[Array, "b classes"]) -> Float[Array, "b h w"]:
    """Return at every pixel the weight of its label: the expected one for soft labels."""
    if target.soft:
        return jnp.sum(target.labels * weights[:, None, None], -1)
    return jax.vmap(lambda of_class, label: of_class[label])(weights, target.labels)


def weighted_likelihood(target: Target, weights: Float[Array, "b classes"], smoothing: float = 0.0) -> Float[Array, "b h w"]:
    """Return the negative log-likelihood of the labels, each class weighted, before void and pixel weights."""
    even = smoothing / target.num_classes
    if target.soft:
        labels = (1 - smoothing) * target.labels + even
        return jnp.sum(weights[:, None, None] * labels * class_negative_log_likelihoods(target.logits), -1)
    values = label_weights(target, weights) * negative_log_likelihood(target.logits, target.labels)
    if not smoothing:
        return values
    everywhere = jnp.sum(weights[:, None, None] * class_negative_log_likelihoods(target.logits), -1)
    return (1 - smoothing) * values + even * everywhere


def reduce_pixels(values: Float[Array, "b h w"], scale: Float[Array, "b h w"], target: Target, reduction: str) -> Loss:
    """Apply the void rule, the pixel weights and the reduction.

    Args:
        values: the loss at every pixel, class weights included.
        scale: the class weight of every pixel, for the weighted mean.
        target: what :func:`jaxseg.losses.targets.prepare` returned.
        reduction: see the top of this module.

    Raises:
        InputError: the reduction is not one of them.
    """
    choice("reduction", reduction, get_args(Reduction))
    values = jnp.where(target.valid, values * target.weights, 0)
    if reduction == "none":
        return values
    count = target.valid.astype(jnp.float32) if reduction == "mean" else target.weights * scale
    total = jnp.sum(count)
    return jnp.sum(values) / jnp.where(total > 0, total, 1)


def _share_of_the_others(target: Target) -> Float[Array, "b classes"]:
    """Return for every image and class the share of the valid pixels that are of another class."""

    def total(labels: Array, valid: Array) -> Array:
        if target.soft:
            return jnp.sum(labels, (0, 1))
        return jnp.zeros(target.num_classes).at[labels.ravel()].add(valid.ravel().astype(jnp.float32))

    own = jax.vmap(total)(target.labels, target.valid)
    all_classes = jnp.sum(own, -1, keepdims=True)
    return jnp.maximum(all_classes - own, 0) / jnp.maximum(all_classes, 1)  # 1 - own / all could be rounded below 0
