"""How the pure update is compiled: with ``jit`` over a mesh of devices, or with ``pmap``. Training sees the same four methods."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxseg import device_augment, sharding
from jaxseg.config import Config
from jaxseg.objectives import Batch
from jaxseg.ops.normalise import Normalise
from jaxseg.parallel import Layout, lay_out
from jaxseg.step import Scalars, TrainState, create_state, update

Step = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]

#: Name of the axis over devices under ``pmap``.
REPLICAS = "replicas"


def compile_update(
    mesh: Mesh,
    normalise: Normalise,
    layout: Layout | None = None,
    augment: tuple[device_augment.Transform, ...] = (),
    **fixed: Any,
) -> Step:
    """Compile :func:`jaxseg.step.update` with ``jit`` over a mesh: the state donated, the batch split over all devices.

    Args:
        mesh: from :func:`jaxseg.sharding.device_mesh`.
        normalise: turns the batch's raw images into the network's input, on the device.
        layout: of the state; ``None`` keeps a copy on every device.
        augment: transforms of :mod:`jaxseg.device_augment`, applied to the raw images and their labels.
        **fixed: the keyword arguments of :func:`jaxseg.step.update`.
    """
    everywhere, split = sharding.replicated(mesh), sharding.batch_split(mesh)
    states = everywhere if layout is None else layout.shardings
    if mesh.shape["fsdp"] > 1:
        # Without it the compiler may rather split the activations as the parameters are split.
        fixed["gather"] = lambda params: jax.lax.with_sharding_constraint(params, everywhere)
    step = _on_raw_images(normalise, augment, fixed)
    return jax.jit(step, in_shardings=(states, split), out_shardings=(states, everywhere), donate_argnums=0)


def _on_raw_images(normalise: Normalise, augment: tuple[device_augment.Transform, ...], fixed: dict[str, Any]) -> Step:
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        batch = device_augment.augment(batch, augment, device_augment.step_key(fixed["key"], state.step))
        return update(state, {**batch, "image": normalise(batch["image"])}, **fixed)

    return step


@dataclasses.dataclass(frozen=True)
class OverMesh:
    """Training under ``jit``: the state lies on the mesh as the layout says.

    Attributes:
        mesh: over all devices.
        layout: of the state.
        step: from :func:`compile_update`.
    """

    mesh: Mesh
    layout: Layout
    step: Step

    def update(self, state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        """Do one step on this process's rows of a batch, host arrays; ``state`` is used up."""
        return self.step(state, sharding.place_batch(batch, self.mesh))

    def spread(self, state: TrainState) -> TrainState:
        """Turn a state as checkpoints have it into one to train; it is used up."""
        return state

    def canonical(self, state: TrainState) -> TrainState:
        """Turn a state in training into one as checkpoints have it, global arrays on the mesh."""
        return state

    def variables(self, state: TrainState) -> dict[str, PyTree]:
        """Return what evaluation applies, whole on every device."""
        return jax.device_put(state.variables, sharding.replicated(self.mesh))


@dataclasses.dataclass(frozen=True)
class OverReplicas:
    """Training under ``pmap``: every array of the state has a leading axis over this process's devices.

    Attributes: as those of :class:`OverMesh`.
    """

    mesh: Mesh
    layout: Layout
    step: Step

    def update(self, state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        """Do one step on this process's rows of a batch, host arrays; ``state`` is used up."""
        devices = len(self.mesh.local_devices)
        rows = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
        state, scalars = self.step(state, rows)
        return state, {name: value.addressable_data(0).reshape(()) for name, value in scalars.items()}

    def spread(self, state: TrainState) -> TrainState:
        """Turn a state as checkpoints have it into one to train; it is used up."""
        devices = len(self.mesh.local_devices)
        host = jax.tree.map(np.array, state)
        jax.tree.map(lambda x: x.delete() if isinstance(x, jax.Array) else None, state)  # or each device would hold two
        return jax.tree.map(lambda x: np.broadcast_to(x, (devices, *x.shape)), host)

    def canonical(self, state: TrainState) -> TrainState:
        """Turn a state in training into one as checkpoints have it, global arrays on the mesh."""

        def one(replicas: jax.Array) -> jax.Array:
            shards = [shard.data.reshape(replicas.shape[1:]) for shard in replicas.addressable_shards]
            return jax.make_array_from_single_device_arrays(replicas.shape[1:], sharding.replicated(self.mesh), shards)

        return jax.tree.map(lambda x: one(x) if isinstance(x, jax.Array) else jnp.asarray(x[0]), state)

    def variables(self, state: TrainState) -> dict[str, PyTree]:
        """Return what evaluation applies, whole on every device."""
        return self.canonical(state).variables


def compile_training(
    config: Config, devices: list[jax.Device] | None = None
) -> tuple[OverMesh | OverReplicas, TrainState, optax.Schedule]:
    """Return a run's compiled training, its initial state as checkpoints have it, and its learning rate schedule.

    Args:
        config: of the run.
        devices: other than all.

    Raises:
        InputError: if the devices do not divide the batch, or what is split of the state.
    """
    mesh = sharding.device_mesh(config.batch_size, devices, fsdp=config.parallel.fsdp, accumulate=config.accumulate)
    optimizer, schedule = config.make_optimizer()
    key = jax.random.key(config.seed)

    def create() -> TrainState:
        image = jnp.zeros((mesh.size, *config.crop_size, config.data.num_channels), jnp.float32)
        ema, scaled = config.ema_decay is not None, config.precision == "float16"
        return create_state(config.model, optimizer, image, key=key, ema=ema, loss_scale=scaled)

    layout = lay_out(jax.eval_shape(create), mesh, config.parallel.rule)
    state = jax.jit(create, out_shardings=layout.shardings, compiler_options=_quick_compilation(mesh))()
    fixed = {
        "model": config.model,
        "loss": config.loss,
        "objective": config.objective,
        "optimizer": optimizer,
        "key": jax.random.fold_in(key, 1),
        "ema_decay": config.ema_decay,
        "accumulate": config.accumulate,
        "remat": config.remat,
        "skip_nonfinite": config.skip_nonfinite > 0,
    }
    if not config.parallel.pmap:
        step = compile_update(mesh, config.normalise, layout, config.device_augment, **fixed)
        return OverMesh(mesh, layout, step), state, schedule
    step = _on_raw_images(config.normalise, config.device_augment, {**fixed, "axis_name": REPLICAS})
    mapped = jax.pmap(step, axis_name=REPLICAS, devices=devices, donate_argnums=0)
    return OverReplicas(mesh, layout, mapped), state, schedule


def _quick_compilation(mesh: Mesh) -> dict[str, int]:
    """Return compiler options for what runs once, such as the initial state.

    On a CPU its random numbers take LLVM longer than the network takes it: those of U-Net of depth 3 compile in 17 seconds of a
    core, and at level 1 in 3.4, to the same bits (at level 0 to others).
    """
    return {"xla_backend_optimization_level": 1} if mesh.devices.flat[0].platform == "cpu" else {}
