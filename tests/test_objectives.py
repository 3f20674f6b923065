"""What a step minimises: W-Net's alternation, without labels; supervised training is tested with the step."""

import json
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import describe, losses, sharding
from jaxseg.compilation import compile_update
from jaxseg.errors import InputError
from jaxseg.models import UNet
from jaxseg.models.wnet import WNet
from jaxseg.objectives import eight_bit, segment_and_reconstruct, supervised
from jaxseg.ops.normalise import Normalise
from jaxseg.override import override
from jaxseg.step import create_state, update

MODEL = WNet(num_classes=3, width=4, depth=1, dropout=0.0)
OURS = Normalise(mean=(0.5,), std=(0.25,))
OBJECTIVE = partial(segment_and_reconstruct, normalise=OURS, reconstruction_weight=2.0)
CUT = partial(losses.soft_normalised_cut, radius=2.0)
KEY = jax.random.key(0)
RAW = (
    np.random.default_rng(0).integers(0, 2, (8, 8, 8, 1)) * 120 + np.random.default_rng(1).integers(0, 20, (8, 8, 8, 3))
).astype(np.uint8)
IMAGE = OURS(jnp.asarray(RAW))


def start(optimizer):
    return create_state(MODEL, optimizer, IMAGE[:1], key=KEY)


@pytest.fixture(scope="module")
def state():
    return jax.jit(lambda: start(optax.sgd(0.1)))()


@pytest.fixture(scope="module")
def of_step(state):
    """The value, the changed collections and the gradient of a step; there is no label in the batch."""

    def function(params, step):
        return OBJECTIVE(params, state.model_state, {"image": IMAGE}, model=MODEL, loss=CUT, step=step, key=KEY)

    return partial(jax.jit(jax.value_and_grad(function, has_aux=True)), state.params)


def in_training(state):
    variables = {"params": state.params, **state.model_state}
    return MODEL.apply(variables, IMAGE, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})


def moved(tree, other):
    return any(bool(jnp.any(a != b)) for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True))


@pytest.mark.parametrize("step", [0, 2])
def test_even_steps_cut_the_image_and_leave_the_decoder_alone(state, of_step, step):
    (value, changed), gradient = of_step(jnp.int32(step))
    logits, _ = in_training(state)
    np.testing.assert_allclose(value, CUT(logits, jnp.asarray(RAW, jnp.float32)), rtol=1e-5)
    before = state.model_state["batch_stats"]
    assert moved(changed["batch_stats"]["encoder"], before["encoder"])
    assert not moved(changed["batch_stats"]["decoder"], before["decoder"])
    assert all(bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradient["encoder"]))
    assert not any(bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradient["decoder"]))


def test_odd_steps_reconstruct_the_image_and_reach_both(state, of_step):
    (value, changed), gradient = of_step(jnp.int32(3))
    logits, between = in_training(state)
    made, _ = MODEL.apply(
        {"params": state.params, **between},
        jax.nn.softmax(logits),
        3,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": KEY},
        method="reconstruct",
    )
    np.testing.assert_allclose(value, 2.0 * np.mean((np.asarray(made) - np.asarray(IMAGE)) ** 2), rtol=1e-4)
    before = state.model_state["batch_stats"]
    assert moved(changed["batch_stats"]["encoder"], before["encoder"])
    assert moved(changed["batch_stats"]["decoder"], before["decoder"])
    assert all(bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradient))


def test_the_steps_alternate_and_both_losses_fall():
    mesh, optimizer = sharding.device_mesh(8, jax.devices()[:1]), optax.adam(1e-2)
    step = compile_update(mesh, OURS, model=MODEL, loss=CUT, optimizer=optimizer, key=KEY, objective=OBJECTIVE)
    state, history = jax.device_put(start(optimizer), sharding.replicated(mesh)), []
    for _ in range(60):
        state, scalars = step(state, sharding.place_batch({"image": RAW}, mesh))
        history.append(float(scalars["loss"]))
    cuts, errors = history[::2], history[1::2]
    assert cuts[-1] < 0.8 * cuts[0]
    assert errors[-1] < 0.6 * errors[0]


def test_eight_devices_give_the_parameters_and_statistics_of_one():
    states = []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh, optimizer = sharding.device_mesh(8, devices), optax.sgd(0.1)
        step = compile_update(mesh, OURS, model=MODEL, loss=CUT, optimizer=optimizer, key=KEY, objective=OBJECTIVE)
        state = jax.device_put(start(optimizer), sharding.replicated(mesh))
        for _ in range(2):  # one of each kind; rounding grows fast with more
            state, _ = step(state, sharding.place_batch({"image": RAW}, mesh))
        states.append(jax.device_get((state.params, state.model_state)))
    chex.assert_trees_all_close(*states, atol=1e-5)


def test_it_runs_under_pmap(state):
    optimizer = optax.sgd(0.1)
    fixed = {"model": MODEL, "loss": CUT, "optimizer": optimizer, "key": KEY, "objective": OBJECTIVE}
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, *x.shape)), state)
    step = jax.pmap(partial(update, axis_name="replicas", **fixed), axis_name="replicas", devices=jax.devices()[:2])
    for _ in range(2):
        states, scalars = step(states, {"image": IMAGE.reshape(2, 4, 8, 8, 3)})
    assert np.isfinite(scalars["loss"]).all()
    for leaf in jax.tree.leaves(jax.device_get(states)):
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_supervised_is_the_default_of_the_step():
    model, optimizer = UNet(num_classes=3, width=2, depth=1, dropout=0.0), optax.sgd(0.1)
    batch = {"image": IMAGE, "label": jnp.asarray(RAW[..., 0] > 60, jnp.uint8)}
    state = create_state(model, optimizer, IMAGE[:1], key=KEY)
    fixed = {"model": model, "loss": losses.cross_entropy, "key": KEY}
    _, scalars = update(state, batch, optimizer=optimizer, **fixed)
    value, _ = supervised(state.params, state.model_state, batch, step=state.step, **fixed)
    np.testing.assert_allclose(scalars["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(
        value, losses.cross_entropy(model.apply({"params": state.params}, IMAGE), batch["label"]), rtol=1e-5
    )


@pytest.mark.parametrize("normalise", [OURS, Normalise()])
def test_the_colours_of_the_image_are_found_again(normalise):
    for raw in (RAW, RAW.astype(np.uint16) * 257, RAW.astype(np.float32) / 255):
        np.testing.assert_allclose(eight_bit(normalise(jnp.asarray(raw)), normalise), RAW, atol=1e-3)


def test_a_config_can_write_it_down_and_override_it():
    read = describe.from_json(json.loads(json.dumps(describe.to_json(OBJECTIVE))))
    assert describe.to_json(read) == describe.to_json(OBJECTIVE)
    assert read.keywords["normalise"] == OURS
    changed = override(segment_and_reconstruct, ["reconstruction_weight=0.5", "normalise.std=(0.1,)"])
    assert changed.keywords["reconstruction_weight"] == 0.5
    assert changed.keywords["normalise"].std == (0.1,)


def test_errors(state):
    given = {"step": state.step, "key": KEY}
    with pytest.raises(
        InputError, match=r"reads no labels, and the loss compares with labels. Set --set loss=jaxseg.losses.soft"
    ):
        OBJECTIVE(state.params, state.model_state, {"image": IMAGE}, model=MODEL, loss=losses.cross_entropy, **given)
    with pytest.raises(InputError, match=r"The network UNet cannot make an image of its segmentation"):
        OBJECTIVE({}, {}, {"image": IMAGE}, model=UNet(num_classes=3), loss=CUT, **given)
