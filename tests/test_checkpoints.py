import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import sharding
from jaxseg.checkpoints import Checkpoints, restore_variables
from jaxseg.errors import InputError
from jaxseg.models import UNet
from jaxseg.step import create_state

MODEL = UNet(num_classes=2, width=2, depth=1, batch_norm=True)


def make_state(step, seed=0, ema=False, devices=1):
    state = create_state(MODEL, optax.adam(1e-3), jnp.zeros((1, 8, 8, 1)), key=jax.random.key(seed), ema=ema)
    state = type(state)(jnp.int32(step), state.params, state.model_state, state.opt_state, state.ema)
    return jax.device_put(state, sharding.replicated(sharding.device_mesh(8, jax.devices()[:devices])))


def test_restores_every_bit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(3, ema=True))
        checkpoints.wait()
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(make_state(0, seed=1, ema=True))
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(make_state(3, ema=True)))


def test_restores_onto_another_number_of_devices(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(3))
        checkpoints.wait()
        restored = checkpoints.restore(make_state(0, seed=1, devices=8))
    assert len(jax.tree.leaves(restored.params)[0].addressable_shards) == 8
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(make_state(3)))


def test_keeps_the_latest_and_the_best(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, miou in ((1, 0.3), (2, 0.9), (3, float("nan")), (4, None), (5, 0.5), (6, 0.4)):
            checkpoints.save(make_state(step), miou)
            checkpoints.wait()
        assert checkpoints.steps == [2, 5, 6]
        assert checkpoints.choose("best") == 2
        assert checkpoints.choose("latest") == 6
        assert checkpoints.choose("5") == 5
        with pytest.raises(InputError, match=r"There is no checkpoint '4': best, latest, or one of 2, 5, 6."):
            checkpoints.choose("4")
    with Checkpoints(tmp_path, keep=2) as resumed:
        assert resumed.choose("best") == 2
        for step in (7, 8, 9):
            resumed.save(make_state(step), 0.1)
            resumed.wait()
        assert resumed.steps == [2, 8, 9]


def test_evaluation_reads_the_average_where_there_is_one(tmp_path, capfd):
    for name, ema in (("plain", False), ("averaged", True)):
        state = make_state(3, ema=ema)
        if ema:
            state = type(state)(
                state.step, state.params, state.model_state, state.opt_state, jax.tree.map(lambda x: x + 1, state.params)
            )
        with Checkpoints(tmp_path / name) as checkpoints:
            checkpoints.save(state)
        variables, step = restore_variables(tmp_path / name)
        assert capfd.readouterr().err == ""  # Orbax has nothing to warn of
        assert step == 3
        chex.assert_trees_all_equal(variables, jax.device_get(state.variables))
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))


def test_says_that_there_is_nothing_yet(tmp_path):
    with pytest.raises(InputError, match=r"holds no checkpoint yet. Train first"):
        restore_variables(tmp_path)
