"""What one step of training minimises, as a function of the parameters: the train step takes its gradient.

An objective is ``objective(params, model_state, batch, *, model, loss, step, key) -> (value, model_state)``. Most networks have
:func:`supervised`; a network that learns otherwise brings its own, named by the config like every other function.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxseg import losses, ops
from jaxseg.errors import InputError
from jaxseg.models import frozen
from jaxseg.ops.normalise import Normalise
from jaxseg.types import Image

#: ``image`` and ``label``, and ``pixel_weights`` where a transform makes them.
Batch = dict[str, Any]
#: See the top of this module.
Objective = Callable[..., tuple[Float[Array, ""], PyTree]]

_IMAGENET = Normalise()


def supervised(
    params: PyTree,
    model_state: PyTree,
    batch: Batch,
    *,
    model: Any,
    loss: Callable[..., Float[Array, ""]],
    step: Int[Array, ""],
    key: PRNGKeyArray,
    frozen_batch_norm: bool = False,
) -> tuple[Float[Array, ""], PyTree]:
    """Return ``loss(logits, label)`` plus, for every auxiliary head, its weight times the same loss.

    Args:
        params: of the network.
        model_state: its other collections.
        batch: ``image`` (normalised, float), ``label`` and optionally ``pixel_weights`` ``(b, h, w)``.
        model: a Linen module of the library's model contract.
        loss: of ``jaxseg.losses``, or any function of that signature.
        step: updates done before.
        key: of dropout.
        frozen_batch_norm: batch normalisation uses its running statistics and keeps them, its scales and biases too.

    Returns:
        The value, and the collections as the forward pass has changed them.

    Raises:
        InputError: if there is no batch normalisation to freeze.
    """
    del step
    weights = {"pixel_weights": batch["pixel_weights"]} if "pixel_weights" in batch else {}
    mutable = [*model_state, "auxiliary"]
    if frozen_batch_norm:
        params = frozen.without_gradient(params, model_state)
    variables = {"params": params, **model_state}
    with frozen.running_statistics() if frozen_batch_norm else contextlib.nullcontext():
        logits, changed = model.apply(variables, batch["image"], train=True, mutable=mutable, rngs={"dropout": key})
    label = batch["label"]
    if hasattr(model, "output_size"):  # valid convolutions: the logits are those of the central part
        size = (logits.shape[1], logits.shape[2])
        label, weights = jax.tree.map(lambda x: ops.centre_crop(x, size), (label, weights))
    total = loss(logits, label, **weights)
    for weight, auxiliary in _auxiliary_heads(changed.pop("auxiliary", {})):
        total += weight * loss(auxiliary, label, **weights)
    return total, changed


def _auxiliary_heads(sown: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Return weight and logits of every auxiliary head, of networks inside networks too."""
    for found in sown.values():
        if isinstance(found, Mapping):
            yield from _auxiliary_heads(found)
        else:
            yield from found


def segment_and_reconstruct(
    params: PyTree,
    model_state: PyTree,
    batch: Batch,
    *,
    model: Any,
    loss: Callable[..., Float[Array, ""]],
    step: Int[Array, ""],
    key: PRNGKeyArray,
    normalise: Normalise = _IMAGENET,
    reconstruction_weight: float = 1.0,
) -> tuple[Float[Array, ""], PyTree]:
    """Return W-Net's objective, which reads no label: how well a segmentation cuts the image, and how much of the image is in it.

    Even steps return ``loss(logits, image)`` of the encoder's segmentation and the image in 8-bit units; odd steps the squared
    error of the image that the decoder makes of that segmentation, which reaches both. Only what a step returns is computed.

    Differs from the paper (Xia and Kulis, https://arxiv.org/abs/1711.08506, Algorithm 1): there every batch does both updates,
    one after the other; here the next batch does the second, so that two steps are one of its iterations. One optimizer has all
    parameters: in even steps it sees gradients of 0 for the decoder, so its momentum goes on there. The squared error is a mean,
    not a sum.

    Args:
        params: of the network.
        model_state: its other collections.
        batch: ``image`` (normalised, float).
        model: a :class:`jaxseg.models.wnet.WNet`, or any module with its ``reconstruct``.
        loss: ``losses.soft_normalised_cut``, or any function of logits and image.
        step: updates done before.
        key: of dropout.
        normalise: what made ``image``, to be undone; the config's own.
        reconstruction_weight: factor of the squared error.

    Returns:
        The value, and the collections as the forward pass has changed them.

    Raises:
        InputError: the loss compares with labels, or the network has no decoder.
    """
    _check(model, loss)
    image, mutable = batch["image"], list(model_state)
    logits, changed = model.apply(
        {"params": params, **model_state}, image, train=True, mutable=mutable, rngs={"dropout": jax.random.fold_in(key, 0)}
    )

    def segment() -> tuple[Float[Array, ""], PyTree]:
        return loss(logits, eight_bit(image, normalise)), changed

    def reconstruct() -> tuple[Float[Array, ""], PyTree]:
        made, changed_again = model.apply(
            {"params": params, **changed},
            jax.nn.softmax(logits),
            image.shape[-1],
            train=True,
            mutable=mutable,
            rngs={"dropout": jax.random.fold_in(key, 1)},
            method="reconstruct",
        )
        return reconstruction_weight * losses.reconstruction_error(made, image), changed_again

    return jax.lax.cond(step % 2 == 0, segment, reconstruct)


def eight_bit(image: Image, normalise: Normalise) -> Image:
    """Undo a normalisation: return the colours that it was made from, 0 to 255."""
    return normalise.undo(image)


def _check(model: Any, loss: Callable[..., Any]) -> None:
    if not hasattr(model, "reconstruct"):
        raise InputError(
            f"The network {type(model).__name__} cannot make an image of its segmentation, and the objective "
            "segment_and_reconstruct asks it to. Take WNet, or --set objective=jaxseg.objectives.supervised."
        )
    if "labels" in inspect.signature(loss).parameters:
        raise InputError(
            "The objective segment_and_reconstruct reads no labels, and the loss compares with labels. "
            "Set --set loss=jaxseg.losses.soft_normalised_cut."
        )
