r"""Losses of regions: one minus the overlap of the predicted region of a class with the labelled one.

With ``p`` the label (one-hot, or soft) and ``q`` the probability (softmax, or sigmoid for one logit), sums over pixels give each
class its hits ``TP = sum p q``, false alarms ``FP = sum (1 - p) q`` and misses ``FN = sum p (1 - q)``, and the losses are

==========  =======================================================
Dice        ``(FP + FN) / (2 TP + FP + FN + s)``
Tversky     ``(beta FP + alpha FN) / (TP + beta FP + alpha FN + s)``
Jaccard     ``(FP + FN) / (TP + FP + FN + s)``
==========  =======================================================

which is one minus the usual fraction with the smoothing ``s`` above and below, in a form that cannot be negative by rounding.
Void pixels are in no sum; pixel weights multiply the pixels' terms. Libraries differ in three choices, which are arguments here:

* ``per_image=False``: one sum over the batch (as segmentation_models.pytorch); ``True``: a loss per image, then the mean over
  the images that have a valid pixel. Only the latter makes the loss of a batch the mean of the losses of its images.
* ``classes="all"``: every class counts in the mean, and a class without labelled pixels is pushed towards 0 as far as the
  smoothing lets it (as MONAI); ``"present"``: only classes with labelled pixels, in the image or batch, count.
* ``class_weights``: of the mean over classes. They default to 1 for each class, but in a **binary problem** (one logit or two)
  to ``(0, 1)``: the loss of the foreground, as the formulas have it. ``(1.0, 1.0)`` gives the mean of both.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.losses.overlap import Overlap, overlap
from jaxseg.losses.targets import AnyLabels, Target, choice, class_vector, prepare

Classes = Literal["all", "present"]


def dice(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    smoothing: float = 1.0,
    squared: bool = False,
    per_image: bool = False,
    classes: Classes = "all",
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    r"""Dice loss: one minus twice the overlap over the sum of the sizes, for objects that are small against their background.

    .. math:: DL = 1 - \frac{2 \sum p q + s}{\sum p + \sum q + s}

    with squares ``p^2 + q^2`` below if ``squared``, the form of Milletari et al., V-Net, 2016, section 3. Often added to cross
    entropy, ``weighted_sum((1.0, cross_entropy), (1.0, dice))``, which alone tells every pixel apart.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        smoothing: the ``s``, in pixels, at least 0.
        squared: whether sizes are sums of squares.
        per_image: see the top of this module.
        classes: see the top of this module.
        class_weights: see the top of this module.
        pixel_weights: one per pixel.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax, jax.numpy as jnp
    >>> logits, labels = jax.scipy.special.logit(jnp.array([0.5, 0.75])), jnp.array([[[0, 1]]])
    >>> f"{dice(logits.reshape(1, 1, 2, 1), labels):.4f}"  # 1 - (2 * 0.75 + 1) / (1 + 1.25 + 1)
    '0.2308'
    """
    target = prepare(logits, labels, pixel_weights)
    sums = overlap(target, per_image=per_image, squared=squared, foreground=class_weights is None)
    losses = _ratio(sums.alarms + sums.misses, 2 * sums.hits + smoothing)
    return _reduce(losses, sums, target, classes, class_weights)


def tversky(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    beta: float = 0.5,
    alpha: float | None = None,
    gamma: float = 1.0,
    smoothing: float = 0.0,
    per_image: bool = False,
    classes: Classes = "all",
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    r"""Tversky loss: Dice with a price for false alarms and another for misses, for when one of them is worse.

    .. math:: TL = (1 - TI)^{1 / \gamma}, \qquad
              TI = \frac{\sum p q + s}{\sum p q + \beta \sum (1 - p) q + \alpha \sum p (1 - q) + s}

    ``beta = alpha = 1/2`` is Dice (of twice the smoothing), ``beta = alpha = 1`` Jaccard. The letters are those of Abraham and
    Khan, A novel focal Tversky loss, 2019, equations 3 and 4, whose ``gamma = 4/3`` (in [1, 3]) turns to the regions that are
    still bad. Salehi et al., Tversky loss function, 2017, and segmentation_models.pytorch swap ``alpha`` and ``beta``.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        beta: price of a false alarm.
        alpha: price of a miss; ``1 - beta`` unless given.
        gamma: exponent ``1 / gamma`` of the loss, positive.
        smoothing: the ``s``, in pixels, at least 0.
        per_image: see the top of this module.
        classes: see the top of this module.
        class_weights: see the top of this module.
        pixel_weights: one per pixel.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax, jax.numpy as jnp
    >>> logits, labels = jax.scipy.special.logit(jnp.array([0.5, 0.75])), jnp.array([[[0, 1]]])
    >>> f"{tversky(logits.reshape(1, 1, 2, 1), labels, beta=0.2):.4f}"  # 1 - 0.75 / (0.75 + 0.2 * 0.5 + 0.8 * 0.25)
    '0.2857'
    """
    if gamma <= 0:
        raise InputError(f"gamma={gamma} must be positive: the loss is raised to 1 / gamma.")
    target = prepare(logits, labels, pixel_weights)
    sums = overlap(target, per_image=per_image, foreground=class_weights is None)
    price = 1.0 - beta if alpha is None else alpha
    losses = _power(_ratio(beta * sums.alarms + price * sums.misses, sums.hits + smoothing), 1 / gamma)
    return _reduce(losses, sums, target, classes, class_weights)


def jaccard(
    logits: Float[Array, "b h w k"],
    labels: AnyLabels,
    *,
    smoothing: float = 1.0,
    per_image: bool = False,
    classes: Classes = "all",
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    r"""Jaccard loss, or soft IoU: one minus intersection over union, the measure that is reported, made differentiable.

    .. math:: JL = 1 - \frac{\sum p q + s}{\sum p + \sum q - \sum p q + s}

    Rahman and Wang, Optimizing intersection-over-union in deep neural networks for image segmentation, 2016, section 2.
    :func:`lovasz_softmax` is the other way to make it differentiable: tighter, and slower since it sorts.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID, or soft labels.
        smoothing: the ``s``, in pixels, at least 0.
        per_image: see the top of this module.
        classes: see the top of this module.
        class_weights: see the top of this module.
        pixel_weights: one per pixel.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit.

    >>> import jax, jax.numpy as jnp
    >>> logits, labels = jax.scipy.special.logit(jnp.array([0.5, 0.75])), jnp.array([[[0, 1]]])
    >>> f"{jaccard(logits.reshape(1, 1, 2, 1), labels):.4f}"  # 1 - (0.75 + 1) / (1 + 1.25 - 0.75 + 1)
    '0.3000'
    """
    target = prepare(logits, labels, pixel_weights)
    sums = overlap(target, per_image=per_image, foreground=class_weights is None)
    losses = _ratio(sums.alarms + sums.misses, sums.hits + smoothing)
    return _reduce(losses, sums, target, classes, class_weights)


def _ratio(wrong: Array, right: Array) -> Array:
    """Return ``wrong / (wrong + right)``, and 0 of nothing; the floor keeps the gradient finite on the way there."""
    return wrong / jnp.maximum(wrong + right, 1e-6)


def _power(base: Array, exponent: float) -> Array:
    """Return the power of numbers in [0, 1], made linear next to 0, where its slope would be infinite."""
    near = 1e-6
    away = jnp.where(base > near, base, near) ** exponent
    return jnp.where(base > near, away, base * near ** (exponent - 1))


def _reduce(
    losses: Float[Array, "groups columns"], sums: Overlap, target: Target, classes: str, class_weights: tuple[float, ...] | None
) -> Float[Array, ""]:
    """Average over classes, then over the images that have any valid pixel."""
    choice("classes", classes, get_args(Classes))
    if target.num_classes == 2 and class_weights is None:
        weights = jnp.ones(1)
    else:
        weights = class_vector(class_weights, (1.0,) * target.num_classes)
    counted = sums.labelled if classes == "present" else sums.pixels
    shares = jnp.where(counted > 0, weights[None], 0)
    total = jnp.sum(shares, -1)
    means = jnp.sum(shares * losses, -1) / jnp.where(total > 0, total, 1)
    return jnp.sum(means) / jnp.maximum(jnp.sum(total > 0), 1)
