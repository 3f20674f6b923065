import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import losses, objectives, train
from jaxseg.config import load
from jaxseg.errors import InputError
from jaxseg.models import UNet

KEY = jax.random.key(0)
MODEL = UNet(num_classes=2, width=4, depth=1, batch_norm=True, dropout=0.0)
RANDOM = np.random.default_rng(0)
BATCH = {
    "image": jnp.asarray(RANDOM.normal(size=(2, 8, 8, 3)), jnp.float32),
    "label": jnp.asarray(RANDOM.integers(0, 2, (2, 8, 8))),
}


def gradient(model, frozen_batch_norm):
    variables = dict(jax.jit(lambda: model.init({"params": KEY}, BATCH["image"]))())
    # Statistics unlike the batch's own, so that it matters which are used, and a classifier that is not zero.
    params = jax.tree.map(lambda x: x + 0.3 * RANDOM.normal(size=x.shape).astype(np.float32), variables.pop("params"))
    state = jax.tree.map(lambda x: x + 0.5, variables)
    objective = partial(objectives.supervised, frozen_batch_norm=frozen_batch_norm)
    options = {"model": model, "loss": losses.cross_entropy, "step": jnp.int32(0), "key": KEY}
    compute = jax.jit(jax.value_and_grad(lambda p: objective(p, state, BATCH, **options), has_aux=True))
    (value, changed), gradients = compute(params)
    expected = losses.cross_entropy(model.apply({"params": params, **state}, BATCH["image"]), BATCH["label"])
    return value, expected, state, changed, gradients


def test_frozen_batch_norm_is_that_of_evaluation_and_does_not_learn():
    value, expected, state, changed, gradients = gradient(MODEL, frozen_batch_norm=True)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, dict(changed), dict(state))
    learns = {
        tuple(part.key for part in path): bool(jnp.any(g != 0)) for path, g in jax.tree_util.tree_leaves_with_path(gradients)
    }
    assert {path[-1] for path in learns if "norm" in path} == {"scale", "bias"}
    assert all(learning != ("norm" in path) for path, learning in learns.items())


def test_without_it_the_batch_counts():
    value, expected, state, changed, gradients = gradient(MODEL, frozen_batch_norm=False)
    assert float(value) != pytest.approx(float(expected), rel=1e-2)
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), dict(changed), dict(state))
    assert all(jax.tree.leaves(moved))
    assert all(bool(jnp.any(g != 0)) for path, g in jax.tree_util.tree_leaves_with_path(gradients) if path[-1].key == "scale")


def test_a_run_that_starts_from_nothing_has_no_statistics_to_freeze(tmp_path):
    config = load(str(Path(__file__).parents[2] / "configs/deeplab_v3.py:os8"), [f"data.root={tmp_path}", "data.train_size=8"])
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_size=1, test_size=1))
    with pytest.raises(InputError, match=r"starts from nothing: .* Start it from a trained network with --init RUN"):
        train.train(config, str(tmp_path / "run"))  # which may be a string too


def test_a_network_without_batch_norm_has_nothing_to_freeze():
    with pytest.raises(InputError, match="has no batch normalisation to freeze: set objective"):
        gradient(MODEL.clone(batch_norm=False), frozen_batch_norm=True)
