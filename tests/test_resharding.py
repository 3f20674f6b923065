"""Training that goes on with another number of devices: 8, then 1, then 2."""

import jax
import numpy as np
from interruption_config import get_config

from jaxseg import sharding
from jaxseg.checkpoints import Checkpoints
from jaxseg.train import prepare

#: Sums over devices are added in another order: a few float32 roundings, which every step of Adam carries on.
TOLERANCE = 2e-5


def batches():
    rng = np.random.default_rng(0)
    for _ in range(9):
        label = rng.integers(0, 2, (8, 8, 8)).astype(np.uint8)
        yield {"image": (100 * label[..., None] + rng.integers(0, 100, (8, 8, 8, 3))).astype(np.uint8), "label": label}


def losses(mesh, state, update, data):
    found = []
    for batch in data:
        state, scalars = update(state, sharding.place_batch(batch, mesh))
        found.append(float(scalars["loss"]))
    return state, found


def test_8_then_1_then_2_devices_have_the_losses_of_8(tmp_path):
    config, data = get_config(), list(batches())
    mesh = sharding.data_mesh(config.batch_size, jax.devices())
    state, update, _ = prepare(config, mesh)
    whole, expected = losses(mesh, state, update, data)
    found = []
    for i, count in enumerate((8, 1, 2)):
        mesh = sharding.data_mesh(config.batch_size, jax.devices()[:count])
        state, update, _ = prepare(config, mesh)
        with Checkpoints(tmp_path) as checkpoints:
            if i:
                state = checkpoints.restore(state)
                assert int(state.step) == 3 * i
            kernel = state.params["conv"]["kernel"]
            assert len(kernel.sharding.device_set) == count
            state, part = losses(mesh, state, update, data[3 * i : 3 * i + 3])
            found += part
            checkpoints.save(state)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert max(abs(a - b) for a, b in zip(expected, expected[1:])) > 100 * TOLERANCE, "losses that do not move show nothing"
    for a, b in zip(jax.tree.leaves(whole.ema), jax.tree.leaves(state.ema)):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
