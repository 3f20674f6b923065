"""The Lovász extension of the Jaccard loss: the tightest convex surrogate of one minus intersection over union.

Berman et al., The Lovász-Softmax loss, 2018. Every class sorts its pixels by error, once per step; the loss is then the sum of
errors times the Jaccard loss's gradient at them (algorithm 1), which here goes back to the order of the pixels, so that
differentiating needs no second sort. Weights turn counts of pixels into sums of weights; void pixels have weight 0.
Over a mesh of devices the errors of the batch are gathered, one class after the other; no other loss here moves pixels.
"""

from typing import get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from jaxseg.errors import InputError
from jaxseg.losses.likelihood import probabilities
from jaxseg.losses.regions import Classes
from jaxseg.losses.targets import Target, choice, class_vector, prepare


def lovasz_softmax(
    logits: Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
    *,
    per_image: bool = False,
    classes: Classes = "present",
    class_weights: tuple[float, ...] | None = None,
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    r"""Lovász-softmax loss, to raise the mean IoU itself: for fine-tuning, or added to cross entropy.

    .. math:: LS = \frac{1}{|C|} \sum_{c \in C} \overline{\Delta_{J_c}}(m_c), \qquad
              m_c = 1 - q_c \text{ where the label is } c \text{, else } q_c

    With one logit or two it is the loss of class 1; ``class_weights=(1.0, 1.0)`` gives the mean of both, as the authors' code.

    Args:
        logits: unnormalised scores.
        labels: class indices or VOID; a set has no soft labels.
        per_image: one loss per image, then their mean, instead of one over the batch.
        classes: ``"present"``: those with labelled pixels count, in the image or batch; ``"all"``: every class does.
        class_weights: of the mean over classes; see the top of :mod:`jaxseg.losses.regions`.
        pixel_weights: one per pixel, the measure of the sets.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit; soft labels.

    >>> import jax.numpy as jnp
    >>> logits = jnp.log(jnp.array([[[[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]]]]))
    >>> f"{lovasz_softmax(logits, jnp.array([[[0, 1]]])):.4f}"
    '0.3500'
    """
    choice("classes", classes, get_args(Classes))
    target = _hard(prepare(logits, labels, pixel_weights))
    q, foreground = probabilities(target.logits), target.distributions() > 0
    weights = class_vector(class_weights, (1.0,) * target.num_classes)
    if target.num_classes == 2 and class_weights is None:
        q, foreground, weights = q[..., 1:], foreground[..., 1:], weights[1:]
    errors = jnp.where(foreground, 1 - q, q)
    errors, foreground = _groups(errors, per_image), _groups(foreground, per_image)
    measure = _groups(target.weights[..., None], per_image)[:, 0]
    anything = jnp.any(measure > 0, -1, keepdims=True)
    labelled = jnp.any(foreground & (measure > 0)[:, None], -1)
    counted = weights[None] * (labelled if classes == "present" else anything)
    losses = jnp.sum(errors * _slopes(errors, foreground, measure, counted > 0), -1)
    total = jnp.sum(counted, -1)
    means = jnp.sum(counted * losses, -1) / jnp.where(total > 0, total, 1)
    return jnp.sum(means) / jnp.maximum(jnp.sum(total > 0), 1)


def lovasz_hinge(
    logits: Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
    *,
    per_image: bool = True,
    pixel_weights: Float[Array, "b h w"] | None = None,
) -> Float[Array, ""]:
    r"""Lovász hinge loss, to raise the IoU of the foreground of a binary problem.

    .. math:: LH = \overline{\Delta_J}(m), \qquad m = \max(0, 1 - y x), \quad y = \pm 1

    Unlike :func:`lovasz_softmax`, it asks for a margin of 1 in the logit. Per image by default, as in the paper's experiments.

    Args:
        logits: one logit, or two that are the same as their difference.
        labels: 0, 1 or VOID.
        per_image: one loss per image, then their mean over images with a valid pixel, instead of one over the batch.
        pixel_weights: one per pixel, the measure of the sets.

    Raises:
        InputError: shapes, dtypes or arguments that do not fit; soft labels; more than two classes.

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([2.0, -0.5]).reshape(1, 1, 2, 1)
    >>> f"{lovasz_hinge(logits, jnp.array([[[1, 1]]])):.4f}"  # one error, of 1.5, that halves the IoU
    '0.7500'
    """
    target = _hard(prepare(logits, labels, pixel_weights))
    if target.num_classes != 2:
        raise InputError(f"lovasz_hinge is for one logit or two, and there are {target.num_classes}: use lovasz_softmax.")
    positive = (target.labels > 0)[..., None]
    errors = _groups(jax.nn.relu(1 - jnp.where(positive, target.logits, -target.logits)), per_image)
    measure = _groups(target.weights[..., None], per_image)[:, 0]
    anything = jnp.any(measure > 0, -1)
    losses = jnp.sum(errors * _slopes(errors, _groups(positive, per_image), measure, anything[:, None]), (1, 2))
    return jnp.sum(losses) / jnp.maximum(jnp.sum(anything), 1)


def _hard(target: Target) -> Target:
    if target.soft:
        raise InputError("The Lovász losses measure sets, so labels must be class indices: take the argmax of soft labels.")
    return target


def _groups(values: Array, per_image: bool) -> Array:
    """Bring ``(b, h, w, classes)`` to ``(groups, classes, pixels)``: a group is an image, or the batch."""
    b, h, w, classes = values.shape
    shape = (b, h * w, classes) if per_image else (1, b * h * w, classes)
    return values.reshape(shape).swapaxes(1, 2)


def _slopes(
    errors: Float[Array, "groups classes n"],
    foreground: Bool[Array, "groups classes n"],
    measure: Float[Array, "groups n"],
    counted: Bool[Array, "groups classes"],
) -> Float[Array, "groups classes n"]:
    """Return the gradient of the extension at every pixel, a constant of differentiation; 0 for classes that do not count.

    One class at a time: a class that does not count, as most of 150 do in a batch, then costs no sort.
    """
    groups, classes, n = errors.shape
    measure = jnp.broadcast_to(measure[:, None], errors.shape)
    flat = jax.tree.map(
        lambda x: lax.stop_gradient(x).reshape(groups * classes, *x.shape[2:]), (errors, foreground, measure, counted)
    )

    def one(arguments: tuple) -> Array:
        error, inside, weight, wanted = arguments
        return lax.cond(wanted, _sorted_slopes, lambda e, f, w: jnp.zeros_like(e), error, inside, weight)

    return lax.map(one, flat).reshape(groups, classes, n)


def _sorted_slopes(errors: Float[Array, " n"], foreground: Bool[Array, " n"], weight: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return, for each pixel, by how much it raises the Jaccard loss of the set of the pixels with larger errors.

    Pixels of equal error share their rise, so only the sorted errors are needed, not their order: bits of floats, whose order as
    integers is the same, sort several times faster than pairs of a float and an index.
    """
    keys = ~lax.bitcast_convert_type(errors, jnp.int32)  # ascending, the largest error first; errors are never negative
    first = jnp.searchsorted(lax.sort(keys, is_stable=False), keys)
    inside = jnp.zeros_like(errors).at[first].add(jnp.where(foreground, weight, 0))
    outside = jnp.zeros_like(errors).at[first].add(jnp.where(foreground, 0, weight))
    total = jnp.sum(inside)
    left = jnp.maximum(total - (jnp.cumsum(inside) - inside), 0)
    union = total + (jnp.cumsum(outside) - outside)
    # In closed form, since the difference of two neighbouring Jaccard losses has no digits left where pixels are many.
    rise = (left * outside + inside * union) / jnp.where(union > 0, union * (union + outside), 1)
    rise = jnp.where(union > 0, rise, outside > 0)  # without foreground the first alone takes the loss from 0 to 1
    measure = inside + outside
    return weight * (rise / jnp.where(measure > 0, measure, 1))[first]
