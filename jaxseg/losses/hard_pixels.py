"""Losses that turn to the pixels that are still hard: focal loss weighs them up, OHEM drops the others.

What the reductions mean, and what a binary problem is, stands at the top of :mod:`jaxseg.losses.pixelwise`.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxseg.errors import InputError
from jaxseg.losses.likelihood import class_negative_log_likelihoods, negative_log_likelihood
from jaxseg.losses.pixelwise import Loss, Reduction, image_class_weights, label_weights, reduce_pixels, weighted_likelihood
from jaxseg.losses.targets import AnyLabels, prepare


def focal(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    r"""Focal loss: cross entropy that fades where the prediction is already right, for extreme imbalance.

    .. math:: FL = -(\alpha (1 - q)^\gamma p \log q + (1 - \alpha) q^\gamma (1 - p) \log(1 - q))

    and for more than two classes, none of which is the positive one, ``-alpha sum_c w_c p_c (1 - q_c)^gamma log q_c`` with
    softmax probabilities. ``gamma = 0, alpha = 1/2`` is half of :func:`cross_entropy`. Defaults are the paper's (Lin et al.,
    Focal loss for dense object detection, 2017, section 3.2).

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        alpha: weight of class 1 of a binary problem, in [0, 1], class 0 having the rest; of every class if there are more.
        gamma: how fast easy pixels fade, at least 0.
        class_weights: one per class, multiplied in.
        pixel_weights: one per pixel.
        reduction: see the top of this module.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax.numpy as jnp
    >>> logits, labels = jnp.zeros((1, 1, 2, 1)), jnp.array([[[0, 1]]])  # q = 1/2 at both pixels
    >>> f"{focal(logits, labels, alpha=0.5):.4f}"  # 1/2 (1/2)^2 log 2
    '0.0866'
    """
    if gamma < 0:
        raise InputError(f"gamma={gamma} must be at least 0: below, the loss would grow where the prediction is right.")
    target = prepare(logits, labels, pixel_weights)
    sides = jnp.array([[1 - alpha, alpha]]) if target.num_classes == 2 else jnp.full((1, target.num_classes), alpha)
    weights = image_class_weights(class_weights, target) * sides
    scale = label_weights(target, weights)
    if target.soft:
        faded = _fade(class_negative_log_likelihoods(target.logits), gamma)
        values = jnp.sum(weights[:, None, None] * target.labels * faded, -1)
    else:
        values = scale * _fade(negative_log_likelihood(target.logits, target.labels), gamma)
    return reduce_pixels(values, scale, target, reduction)


def _fade(nll: Float[Array, "..."], gamma: float) -> Float[Array, "..."]:
    """Return ``(1 - q)^gamma (-log q)`` of ``-log q``."""
    wrong = -jnp.expm1(-nll)  # 1 - q, with all its digits
    positive = wrong > 0
    return jnp.where(positive, jnp.where(positive, wrong, 1) ** gamma, 0.0**gamma) * nll


def ohem_cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    threshold: float = 0.7,
    min_kept: float = 0.0625,
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    r"""Cross entropy of the hard pixels alone (online hard example mining), for street scenes with large easy areas.

    Kept are the valid pixels whose label has a probability of at most ``threshold``, and in any case the hardest share
    ``min_kept`` of the valid pixels of the batch; the means are over the kept ones. Others give ``min_kept`` as a number of
    pixels, which means something else at every crop size. Shrivastava et al., Training region-based object detectors with
    online hard example mining, 2016; for segmentation Wu et al., Bridging category-level and instance-level semantic image
    segmentation, 2016.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        threshold: probability of the label, in (0, 1], above which a pixel is easy.
        min_kept: share of the valid pixels, in [0, 1], that is kept even if all are easy.
        class_weights: one per class; they do not change which pixels are hard.
        pixel_weights: one per pixel; likewise.
        reduction: see the top of this module; ``"none"`` is 0 at dropped pixels.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax.numpy as jnp
    >>> logits = jnp.log(jnp.array([[[[0.9, 0.1], [0.6, 0.4]]]]))
    >>> f"{ohem_cross_entropy(logits, jnp.array([[[0, 0]]])):.4f}"  # only the second is below 0.7: -log 0.6
    '0.5108'
    """
    if not 0 < threshold <= 1 or not 0 <= min_kept <= 1:
        raise InputError(f"threshold={threshold} must be in (0, 1] and min_kept={min_kept}, a share of the pixels, in [0, 1].")
    target = prepare(logits, labels, pixel_weights)
    unweighted = weighted_likelihood(target, image_class_weights(None, target))
    kept = _hardest(lax.stop_gradient(unweighted), target.valid, -math.log(threshold), min_kept)
    weights = image_class_weights(class_weights, target)
    # Only soft labels need a second look: with indices the weight of the label is a factor.
    values = weighted_likelihood(target, weights) if target.soft else label_weights(target, weights) * unweighted
    kept_target = target._replace(valid=kept, weights=jnp.where(kept, target.weights, 0))
    return reduce_pixels(values, label_weights(target, weights), kept_target, reduction)


def _hardest(values: Float[Array, "b h w"], valid: Bool[Array, "b h w"], threshold: float, share: float) -> Bool[Array, "b h w"]:
    """Return where valid values are at least the threshold or among the largest share.

    The k-th largest is found by bisection over the bits of the numbers, whose order as integers is that of the non-negative
    floats: 31 sums instead of a sort, exact, and over a mesh of devices 31 numbers to add up instead of all pixels to gather.
    """
    bits = jnp.where(valid, lax.bitcast_convert_type(values, jnp.int32), -1)
    wanted = jnp.ceil(share * jnp.sum(valid, dtype=jnp.float32)).astype(jnp.int32)

    def set_bit(i: Array, lowest: Array) -> Array:
        candidate = lowest | (jnp.int32(1) << (30 - i))
        return jnp.where(jnp.sum(bits >= candidate, dtype=jnp.int32) >= wanted, candidate, lowest)

    lowest = jax.lax.fori_loop(0, 31, set_bit, jnp.int32(0))
    return valid & ((values >= threshold) | ((bits >= lowest) & (wanted > 0)))
