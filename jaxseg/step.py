"""The train step: one pure update, and how it is compiled over a mesh of devices.

``update`` is the whole of training as a function of arrays: use it under ``jit`` (statistics and means are global by
themselves), or under ``pmap`` with an ``axis_name`` (gradients, statistics and scalars are averaged in one place, below).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxseg import objectives, sharding
from jaxseg.objectives import Batch
from jaxseg.ops.normalise import Normalise
from jaxseg.types import Image

Scalars = dict[str, Float[Array, ""]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        step: updates done, an int32 scalar.
        params: the network's parameters.
        model_state: its other collections, such as ``batch_stats``.
        opt_state: of the optimizer.
        ema: exponential moving average of the parameters, or ``None``.
    """

    step: Any  # no shape here: under pmap, and in tree maps, it is not an array of shape ()
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    ema: PyTree | None

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation applies: the averaged parameters where there are any, and the running statistics."""
        return {"params": self.params if self.ema is None else self.ema, **self.model_state}


def create_state(
    model: Any, optimizer: optax.GradientTransformation, image: Image, *, key: PRNGKeyArray, ema: bool = False
) -> TrainState:
    """Initialise a network and its optimizer.

    Args:
        model: a Linen module of the library's model contract.
        optimizer: an optax transformation.
        image: a normalised batch; only its shape and dtype matter.
        key: of the initialisation.
        ema: also keep averaged parameters, which start as the parameters.
    """
    # train=True makes the auxiliary heads' parameters too; init runs them once and drops what they return.
    variables = dict(model.init({"params": key, "dropout": key}, image, train=True))
    params = variables.pop("params")
    variables.pop("auxiliary", None)
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params), average)


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
        ema_decay: of the averaged parameters; in the first steps ``(1 + t) / (10 + t)`` if that is smaller.

    Returns:
        The state after the step, and the scalars ``loss`` (the objective's value) and ``gradient_norm`` (before clipping).
    """
    dropout = jax.random.fold_in(key, state.step)
    if axis_name is not None:
        dropout = jax.random.fold_in(dropout, jax.lax.axis_index(axis_name))
    options = {"model": model, "loss": loss, "step": state.step, "key": dropout}

    def value_of(params: PyTree) -> tuple[Float[Array, ""], PyTree]:
        return objective(params, state.model_state, batch, **options)

    (value, model_state), gradients = jax.value_and_grad(value_of, has_aux=True)(state.params)
    if axis_name is not None:
        value, model_state, gradients = jax.lax.pmean((value, model_state, gradients), axis_name)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = None if ema_decay is None else _average(state.ema, params, state.step, ema_decay)
    scalars = {"loss": value, "gradient_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, params, model_state, opt_state, ema), scalars


def _average(ema: PyTree, params: PyTree, step: Int[Array, ""], decay: float) -> PyTree:
    share = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: (share * old + (1.0 - share) * new).astype(old.dtype), ema, params)


def compile_update(mesh: Mesh, normalise: Normalise, **fixed: Any) -> Callable[[TrainState, Batch], tuple[TrainState, Scalars]]:
    """Compile ``update`` with ``jit`` over a mesh: the state replicated and donated, the batch split along ``data``.

    Args:
        mesh: from :func:`jaxseg.sharding.data_mesh`.
        normalise: turns the batch's raw images into the network's input, on the device.
        **fixed: the keyword arguments of :func:`update`.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        return update(state, {**batch, "image": normalise(batch["image"])}, **fixed)

    everywhere, split = sharding.replicated(mesh), sharding.batch_split(mesh)
    return jax.jit(step, in_shardings=(everywhere, split), out_shardings=everywhere, donate_argnums=0)
