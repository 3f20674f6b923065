"""Optimizers as segmentation papers use them, each a chain of optax transformations over a learning rate schedule.

A config may equally name an optimizer of optax itself: ``optimizer=functools.partial(optax.lion, weight_decay=0.1)``. These add
what the papers need: weight decay on kernels alone, clipping by the global norm, a faster head. The state of each has one
structure whatever the arguments, so that a run can go on with others.
"""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from jaxseg.errors import InputError
from jaxseg.layer_decay import scale_by_depth


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    head_multiplier: float = 1.0,
    head: tuple[str, ...] = (),
    bias_multiplier: float = 1.0,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum; weight decay is added to the gradient, as Caffe and PyTorch do.

    Args:
        learning_rate: or its schedule.
        momentum: share of the velocity kept per step.
        nesterov: look-ahead momentum.
        weight_decay: L2 coefficient, on kernels alone (:func:`decays`).
        clip_norm: largest global norm of the gradients; ``None`` leaves them.
        head_multiplier: learning rate of the head, as a multiple.
        head: names of the network's parts, at any depth, that are its head; ``()`` is everything outside the backbone.
        bias_multiplier: learning rate of the biases beside kernels, as a multiple; Caffe's recipes have 2.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=decays)
    core = optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    return optax.chain(
        _clip(clip_norm), decay, core, _in_turn(_faster_head(head_multiplier, head), _faster_biases(bias_multiplier))
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    clip_norm: float | None = None,
    head_multiplier: float = 1.0,
    head: tuple[str, ...] = (),
    layer_decay: float = 1.0,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101, Algorithm 2).

    Args:
        learning_rate: or its schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: coefficient, multiplied by the learning rate, on kernels alone (:func:`decays`).
        clip_norm: largest global norm of the gradients; ``None`` leaves them.
        head_multiplier: learning rate of the head, as a multiple.
        head: names of the network's parts, at any depth, that are its head; ``()`` is everything outside the backbone.
        layer_decay: of the learning rate, per block of the backbone from the top (:mod:`jaxseg.layer_decay`); 1 for none.
    """
    core = optax.adamw(learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=decays)
    return optax.chain(_clip(clip_norm), core, _in_turn(_faster_head(head_multiplier, head), scale_by_depth(layer_decay)))


def decays(params: PyTree) -> PyTree:
    """Return for each parameter whether weight decay applies: to kernels, never to biases, norms, tokens or position tables."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _key(path[-1]) == "kernel", params)


def in_head(params: PyTree, head: tuple[str, ...] = ()) -> PyTree:
    """Return for each parameter whether it belongs to the network's head.

    Args:
        params: of a network.
        head: names of its parts, at any depth, that are the head; ``()`` is everything outside its ``backbone``.
    """

    def inside(path: Any) -> bool:
        return any(_key(part) in head for part in path) if head else _key(path[0]) != "backbone"

    return jax.tree_util.tree_map_with_path(lambda path, _: inside(path), params)


def _key(entry: Any) -> str:
    return str(getattr(entry, "key", entry))


def _clip(norm: float | None) -> optax.GradientTransformation:
    return optax.identity() if norm is None else optax.clip_by_global_norm(norm)


def _faster_head(multiplier: float, head: tuple[str, ...]) -> optax.GradientTransformation:
    if multiplier == 1.0:
        return optax.identity()

    def scale(updates: PyTree, _: PyTree) -> PyTree:
        faster = in_head(updates, head)
        found = set(jax.tree.leaves(faster))
        if found != {True, False}:
            parts = ", ".join(sorted(updates))
            raise InputError(
                f"head_multiplier={multiplier} needs a network with a head and a rest, and with head={head} "
                f"{'every' if True in found else 'no'} parameter would count as the head; the network's parts are {parts}. "
                "Name some in optimizer.head, or set optimizer.head_multiplier=1.0 and the learning rate."
            )
        return jax.tree.map(lambda update, inside: multiplier * update if inside else update, updates, faster)

    return optax.stateless(scale)


def _faster_biases(multiplier: float) -> optax.GradientTransformation:
    if multiplier == 1.0:
        return optax.identity()

    def scale(updates: PyTree, _: PyTree) -> PyTree:
        layers = {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(updates) if _key(path[-1]) == "kernel"}

        def scaled(path: Any, update: Any) -> Any:
            return multiplier * update if _key(path[-1]) == "bias" and path[:-1] in layers else update

        return jax.tree_util.tree_map_with_path(scaled, updates)

    return optax.stateless(scale)


def _in_turn(first: optax.GradientTransformation, second: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return one stateless transformation of two, so that the state's structure stays what it was without the second."""
    empty = optax.EmptyState()
    return optax.stateless(lambda updates, _: second.update(first.update(updates, empty)[0], empty)[0])
