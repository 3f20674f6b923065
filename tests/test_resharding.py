"""Training that goes on with another number of devices: 8, then 1, then 2."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from interruption_config import get_config

from jaxseg.checkpoints import Checkpoints
from jaxseg.compilation import compile_training
from jaxseg.parallel import Parallel, split_largest_axis

#: Sums over devices are added in another order: a few float32 roundings, which every step of Adam carries on.
TOLERANCE = 2e-5


def batches():
    rng = np.random.default_rng(0)
    for _ in range(9):
        label = rng.integers(0, 2, (8, 8, 8)).astype(np.uint8)
        yield {"image": (100 * label[..., None] + rng.integers(0, 100, (8, 8, 8, 3))).astype(np.uint8), "label": label}


def train_on(training, state, data):
    found = []
    for batch in data:
        state, scalars = training.update(state, batch)
        found.append(float(scalars["loss"]))
    return state, found


def test_8_then_1_then_2_devices_have_the_losses_of_8(tmp_path):
    """The state is split over pairs of the 8, whole on the 1, and split over the 2."""
    split = Parallel(fsdp=2, rule=partial(split_largest_axis, smallest=8))
    config, data = dataclasses.replace(get_config(), parallel=split), list(batches())
    training, state, _ = compile_training(config)
    begun = jax.tree.map(jnp.copy, state)
    whole, expected = train_on(training, state, data)
    found = []
    for i, count in enumerate((8, 1, 2)):
        with Checkpoints(tmp_path) as checkpoints:
            state = begun
            if i:
                here = config if count > 1 else dataclasses.replace(config, parallel=Parallel())
                training, state, _ = compile_training(here, jax.devices()[:count])
                state = checkpoints.restore(state)
                assert int(state.step) == 3 * i
            kernel = state.params["conv"]["kernel"]
            assert len(kernel.sharding.device_set) == count
            assert kernel.is_fully_replicated == (count == 1)
            state, part = train_on(training, state, data[3 * i : 3 * i + 3])
            found += part
            checkpoints.save(state)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert max(abs(a - b) for a, b in itertools.pairwise(expected)) > 100 * TOLERANCE, "losses that do not move show nothing"
    for a, b in zip(jax.tree.leaves(whole.ema), jax.tree.leaves(state.ema)):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
