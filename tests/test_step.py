"""The pure update: under jit over a mesh, under pmap, and what it does with auxiliary heads, dropout and averages."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import losses, sharding
from jaxseg.compilation import compile_update
from jaxseg.models import SETRNaive, UNet
from jaxseg.models.backbones import ViT
from jaxseg.models.layers import sow_auxiliary
from jaxseg.ops.normalise import Normalise
from jaxseg.step import create_state, update

UNET = UNet(num_classes=3, width=4, depth=1, batch_norm=True, dropout=0.0)
PLAIN = Normalise(mean=(0.5,), std=(0.25,))
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (8, 8, 8)).astype(np.uint8)
    image = (label[..., None] * 80 + rng.integers(0, 40, (8, 8, 8, 3))).astype(np.uint8)
    label[:, 0] = 255
    return {"image": image, "label": label}


def start(model, optimizer, **options):
    return create_state(model, optimizer, jnp.zeros((1, 8, 8, 3)), key=KEY, **options)


def run(mesh, model, optimizer, batch, steps=3, **options):
    step = compile_update(mesh, PLAIN, model=model, loss=losses.cross_entropy, optimizer=optimizer, key=KEY, **options)
    state = jax.device_put(start(model, optimizer, ema=bool(options)), sharding.replicated(mesh))
    history = []
    for _ in range(steps):
        state, scalars = step(state, sharding.place_batch(batch, mesh))
        history.append(float(scalars["loss"]))
    return state, history


def test_the_loss_falls(batch):
    _, history = run(sharding.device_mesh(8, jax.devices()[:1]), UNET, optax.adam(1e-2), batch, steps=20)
    assert history[-1] < 0.6 * history[0]


def test_eight_devices_give_the_parameters_and_statistics_of_one(batch):
    one, _ = run(sharding.device_mesh(8, jax.devices()[:1]), UNET, optax.sgd(0.1), batch)
    eight, _ = run(sharding.device_mesh(8), UNET, optax.sgd(0.1), batch)
    chex.assert_trees_all_close(jax.device_get(one.params), jax.device_get(eight.params), atol=2e-6)
    chex.assert_trees_all_close(jax.device_get(one.model_state), jax.device_get(eight.model_state), atol=2e-6)


def test_pmap_averages_gradients_and_statistics_over_its_axis(batch):
    """Without batch norm the replicas' mean gradient is the batch's; with void spread evenly the means agree too."""
    model = UNET.clone(batch_norm=False)
    optimizer = optax.sgd(0.1)
    image = PLAIN(jnp.asarray(batch["image"]))
    fixed = {"model": model, "loss": losses.cross_entropy, "optimizer": optimizer, "key": KEY}
    alone, _ = jax.jit(partial(update, **fixed))(start(model, optimizer), {"image": image, "label": jnp.asarray(batch["label"])})
    split = {"image": image.reshape(8, 1, 8, 8, 3), "label": jnp.asarray(batch["label"]).reshape(8, 1, 8, 8)}
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), start(model, optimizer))
    together, _ = jax.pmap(partial(update, axis_name="replicas", **fixed), axis_name="replicas")(states, split)
    sixth = jax.tree.map(lambda x: np.asarray(x)[5], together.params)
    chex.assert_trees_all_close(sixth, jax.device_get(alone.params), atol=2e-6)
    with_norm = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *x.shape)), start(UNET, optimizer))
    fixed["model"] = UNET
    together, _ = jax.pmap(partial(update, axis_name="replicas", **fixed), axis_name="replicas")(with_norm, split)
    for leaf in jax.tree.leaves(jax.device_get(together.model_state)):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))


class TwoHeads(nn.Module):
    """A main and an auxiliary classifier, without a backbone."""

    weight: float

    @nn.compact
    def __call__(self, image, *, train=False):
        if train:
            sow_auxiliary(self, "auxiliary", self.weight, nn.Dense(3, name="auxiliary_head")(image))
        return nn.Dense(3, name="head")(image)


def test_an_auxiliary_head_counts_by_its_weight(batch):
    image, label = PLAIN(jnp.asarray(batch["image"])), jnp.asarray(batch["label"])
    optimizer = optax.sgd(0.1)
    totals = {}
    for weight in (0.0, 0.4, 0.8):
        model = TwoHeads(weight)
        state = start(model, optimizer)
        _, scalars = update(
            state, {"image": image, "label": label}, model=model, loss=losses.cross_entropy, optimizer=optimizer, key=KEY
        )
        totals[weight] = float(scalars["loss"])
    auxiliary = losses.cross_entropy(
        image @ state.params["auxiliary_head"]["kernel"] + state.params["auxiliary_head"]["bias"][None, None, None], label
    )
    assert totals[0.4] - totals[0.0] == pytest.approx(0.4 * float(auxiliary), rel=1e-4)
    assert totals[0.8] - totals[0.0] == pytest.approx(0.8 * float(auxiliary), rel=1e-4)


def test_auxiliary_heads_return_nothing_outside_training():
    model = SETRNaive(num_classes=3, backbone=ViT(patch_size=4, width=8, depth=2, num_heads=2, hidden=8, feature_depths=(1, 2)))
    variables = model.init({"params": KEY, "dropout": KEY}, jnp.zeros((1, 8, 8, 3)), train=True)
    assert "auxiliary_head1" in variables["params"]
    variables.pop("auxiliary")
    logits, changed = model.apply(variables, jnp.zeros((1, 8, 8, 3)), mutable=["auxiliary"])
    assert logits.shape == (1, 8, 8, 3)
    assert not changed


def test_pixel_weights_reach_the_loss(batch):
    image, label = PLAIN(jnp.asarray(batch["image"])), jnp.asarray(batch["label"])
    fixed = {"model": TwoHeads(0.0), "loss": losses.cross_entropy, "optimizer": optax.sgd(0.1), "key": KEY}
    state = start(fixed["model"], fixed["optimizer"])
    ones = jnp.ones(label.shape, jnp.float32)
    _, plain = update(state, {"image": image, "label": label}, **fixed)
    _, same = update(state, {"image": image, "label": label, "pixel_weights": ones}, **fixed)
    _, other = update(state, {"image": image, "label": label, "pixel_weights": ones.at[:, :4].set(5.0)}, **fixed)
    assert float(same["loss"]) == pytest.approx(float(plain["loss"]), rel=1e-6)
    assert float(other["loss"]) != pytest.approx(float(plain["loss"]), rel=1e-3)


def test_dropout_depends_on_key_and_step_alone(batch):
    model = UNET.clone(dropout=0.5)
    mesh = sharding.device_mesh(8, jax.devices()[:1])
    first, _ = run(mesh, model, optax.sgd(0.1), batch, steps=1)
    again, _ = run(mesh, model, optax.sgd(0.1), batch, steps=1)
    without, _ = run(mesh, UNET, optax.sgd(0.1), batch, steps=1)
    chex.assert_trees_all_equal(jax.device_get(first.params), jax.device_get(again.params))
    assert not np.allclose(first.params["up0"]["kernel"], without.params["up0"]["kernel"])


def test_averaged_parameters_follow_the_warmed_up_recursion(batch):
    mesh, optimizer = sharding.device_mesh(8, jax.devices()[:1]), optax.sgd(0.1)
    one, _ = run(mesh, UNET, optimizer, batch, steps=1, ema_decay=0.99)
    two, _ = run(mesh, UNET, optimizer, batch, steps=2, ema_decay=0.99)
    share = 2.0 / 11.0  # (1 + t) / (10 + t) at the second update, below 0.99
    expected = jax.tree.map(lambda old, new: share * old + (1 - share) * new, one.ema, two.params)
    chex.assert_trees_all_close(two.ema, expected, atol=1e-6)
    assert two.variables["params"] is two.ema
    assert "batch_stats" in two.variables


def test_normalise_scales_by_dtype():
    image = np.full((1, 2, 2, 3), 255, np.uint8)
    expected = np.broadcast_to((1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]), image.shape)
    for full in (image, np.full(image.shape, 65535, np.uint16), np.ones(image.shape, np.float32)):
        np.testing.assert_allclose(Normalise()(jnp.asarray(full)), expected, rtol=1e-6)
