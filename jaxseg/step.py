"""The train step: one pure update of the training state, a function of arrays.

Under ``jit`` over a mesh its statistics and means are global by themselves; under ``pmap`` an ``axis_name`` averages gradients,
statistics and scalars in one place, below. :mod:`jaxseg.compilation` does either.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxseg import gradients, objectives
from jaxseg.loss_scale import LossScale
from jaxseg.objectives import Batch
from jaxseg.types import Image

Scalars = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        step: batches seen, an int32 scalar.
        params: the network's parameters.
        model_state: its other collections, such as ``batch_stats``.
        opt_state: of the optimizer.
        ema: exponential moving average of the parameters, or ``None``.
        skipped: updates that were left out since the loss or a gradient was not finite, an int32 scalar.
        nonfinite_in_row: how many steps up to this one had such a loss or gradient, an int32 scalar; an overflow of the loss
            scale is not counted.
        loss_scale: of float16 training, or ``None``.
    """

    step: Any  # no shape here: under pmap, and in tree maps, it is not an array of shape ()
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    ema: PyTree | None
    skipped: Any
    nonfinite_in_row: Any
    loss_scale: PyTree | None  # a LossScale; in tree maps it holds other things

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation applies: the averaged parameters where there are any, and the running statistics."""
        return {"params": self.params if self.ema is None else self.ema, **self.model_state}


def create_state(
    model: Any,
    optimizer: optax.GradientTransformation,
    image: Image,
    *,
    key: PRNGKeyArray,
    ema: bool = False,
    loss_scale: bool = False,
) -> TrainState:
    """Initialise a network and its optimizer.

    Args:
        model: a Linen module of the library's model contract.
        optimizer: an optax transformation.
        image: a normalised batch; only its shape and dtype matter.
        key: of the initialisation.
        ema: also keep averaged parameters, which start as the parameters.
        loss_scale: scale the loss, for float16.
    """
    # train=True makes the auxiliary heads' parameters too; init runs them once and drops what they return.
    variables = dict(model.init({"params": key, "dropout": key}, image, train=True))
    params = variables.pop("params")
    variables.pop("auxiliary", None)
    average = jax.tree.map(jnp.copy, params) if ema else None
    none = jnp.zeros((), jnp.int32)
    scale = LossScale.initial() if loss_scale else None
    return TrainState(none, params, variables, optimizer.init(params), average, jnp.copy(none), jnp.copy(none), scale)


def update(
    state: TrainState,
    batch: Batch,
    *,
    model: Any,
    loss: Callable[..., Float[Array, ""]],
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    objective: objectives.Objective = objectives.supervised,
    axis_name: str | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    remat: bool = False,
    skip_nonfinite: bool = False,
    gather: Callable[[PyTree], PyTree] | None = None,
) -> tuple[TrainState, Scalars]:
    """Do one step of training.

    Args:
        state: before the step.
        batch: ``image`` (normalised, float), ``label`` and optionally ``pixel_weights`` ``(b, h, w)``.
        model: a Linen module of the library's model contract.
        loss: of ``jaxseg.losses``, or any function of that signature.
        optimizer: the one that ``state`` was created with.
        key: of the run; the step's own randomness is ``fold_in(key, state.step)``.
        objective: of ``jaxseg.objectives``, what the step minimises.
        axis_name: of the ``pmap`` around this function, if there is one.
        ema_decay: of the averaged parameters; in the first steps ``(1 + t) / (10 + t)`` if that is smaller, t updates done.
        accumulate: parts of the batch whose gradients are taken one after the other, and averaged.
        remat: compute everything but convolutions and matrix products again in the backward pass, to save memory.
        skip_nonfinite: leave the state as it was where the loss or a gradient is not finite.
        gather: makes split parameters whole before the network has them.

    Returns:
        The state after the step, and the scalars ``loss`` (the objective's value), ``gradient_norm`` (before clipping),
        ``updates`` (done before), ``nonfinite_in_row`` and ``skipped`` (as the state's), and ``loss_scale`` where there is one.
    """
    dropout = jax.random.fold_in(key, state.step)
    if axis_name is not None:
        dropout = jax.random.fold_in(dropout, jax.lax.axis_index(axis_name))

    def minimised(params: PyTree, model_state: PyTree, part: Batch, key: PRNGKeyArray) -> tuple[Float[Array, ""], Any]:
        whole = params if gather is None else gather(params)
        value, changed = objective(whole, model_state, part, model=model, loss=loss, step=state.step, key=key)
        return (value if state.loss_scale is None else value * state.loss_scale.scale), (value, changed)

    value, model_state, slopes = gradients.of_batch(
        gradients.rematerialised(minimised) if remat else minimised, state.params, state.model_state, batch, dropout, accumulate
    )
    if axis_name is not None:
        value, model_state, slopes = jax.lax.pmean((value, model_state, slopes), axis_name)
    if state.loss_scale is not None:
        slopes = state.loss_scale.unscale(slopes)
    norm = optax.tree.norm(slopes)
    updates, opt_state = optimizer.update(slopes, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = None if ema_decay is None else _average(state.ema, params, state.step - state.skipped, ema_decay)
    after = dataclasses.replace(state, params=params, model_state=model_state, opt_state=opt_state, ema=ema)
    after = _judge(state, after, jnp.isfinite(value), jnp.isfinite(norm), skip_nonfinite)
    scalars = {"loss": value, "gradient_norm": norm, "updates": state.step - state.skipped}
    scalars |= {"skipped": after.skipped, "nonfinite_in_row": after.nonfinite_in_row}
    if state.loss_scale is not None:
        scalars["loss_scale"] = state.loss_scale.scale
    return after, scalars


def _judge(
    before: TrainState, after: TrainState, finite_loss: Bool[Array, ""], finite_gradient: Bool[Array, ""], skip: bool
) -> TrainState:
    """Count the step; where it went bad and bad steps are skipped, take back what it did."""
    finite = finite_loss & finite_gradient
    bad, skipped, scale = ~finite, jnp.int32(0), None
    if before.loss_scale is not None:
        overflow = finite_loss & ~finite_gradient & (before.loss_scale.scale > 1.0)
        bad, skip, scale = bad & ~overflow, True, before.loss_scale.after(finite)
    if skip:
        after = jax.tree.map(lambda old, new: jnp.where(finite, new, old), before, after)
        skipped = (~finite).astype(jnp.int32)
    return dataclasses.replace(
        after,
        step=before.step + 1,
        skipped=before.skipped + skipped,
        nonfinite_in_row=jnp.where(bad, before.nonfinite_in_row + 1, 0),
        loss_scale=scale,
    )


def _average(ema: PyTree, params: PyTree, updates: Int[Array, ""], decay: float) -> PyTree:
    share = jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))
    return jax.tree.map(lambda old, new: (share * old + (1.0 - share) * new).astype(old.dtype), ema, params)
