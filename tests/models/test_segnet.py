"""SegNet and DeconvNet: the counts of the papers, and that their decoders really use the encoder's indices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.models import DeconvNet, SegNet, SegNetBasic
from jaxseg.models.backbones import VGG16
from jaxseg.models.segnet import local_response_norm

KEY = jax.random.key(0)
THIN = VGG16(batch_norm=True, widths=(2, 2, 2, 3, 3))
SMALL = {
    "segnet": SegNet(num_classes=2, backbone=THIN),
    "segnet-basic": SegNetBasic(num_classes=2, width=3),
    "deconvnet": DeconvNet(num_classes=2, backbone=THIN, width=4, fc_kernel_size=2),
}


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (SegNet(num_classes=11), 29_449_355),
        (SegNetBasic(num_classes=11), 1_416_075),
        (SegNetBasic(num_classes=11, use_bias=True), 1_416_587),
        (DeconvNet(num_classes=21), 251_805_653),
    ],
)
def test_parameters_of_the_papers(model, parameters):
    variables = jax.eval_shape(lambda: model.init({"params": KEY}, jnp.zeros((1, 224, 224, 3))))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize("name", SMALL)
def test_odd_sizes_of_the_original(name):
    image = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: SMALL[name].init_with_output({"params": KEY}, x)[0], image)
    assert logits.shape == (1, 360, 480, 2)


@pytest.mark.parametrize("name", SMALL)
def test_the_decoder_unpools_through_the_encoders_indices(name, monkeypatch):
    """Moving the finest level's indices to another corner of one window changes the unpooled map in that window alone."""
    model = SMALL[name]
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    variables = jax.jit(model.init)({"params": KEY}, image)
    unpooled, move = [], []
    unpool = ops.max_unpool

    def spy(x, indices, *, output_size, window):
        if move and output_size == (64, 64):
            row, column = 2 * 10, 2 * 20
            own = indices[:, 10, 20]
            opposite = (2 * row + 1 - own // 64) * 64 + 2 * column + 1 - own % 64
            indices = indices.at[:, 10, 20].set(opposite)
        unpooled.append(unpool(x, indices, output_size=output_size, window=window))
        return unpooled[-1]

    monkeypatch.setattr(ops, "max_unpool", spy)
    logits = [model.apply(variables, image)]
    move.append(True)
    logits.append(model.apply(variables, image))
    count = len(unpooled) // 2
    assert count == len(getattr(model, "backbone", THIN).widths if name != "segnet-basic" else range(model.depth))
    for before, after in zip(unpooled[: count - 1], unpooled[count:-1]):
        np.testing.assert_array_equal(before, after)
    changed = np.argwhere(np.any(unpooled[count - 1] != unpooled[-1], axis=(0, 3)))
    assert len(changed) > 0
    assert changed.min(0).tolist() >= [20, 40]
    assert changed.max(0).tolist() <= [21, 41]
    reach = np.argwhere(np.any(logits[0] != logits[1], axis=(0, 3)))
    assert len(reach) > 0
    assert np.abs(reach - [20.5, 40.5]).max() <= 4


@pytest.mark.parametrize("name", SMALL)
def test_unpooled_maps_are_the_maxima_at_their_places(name, monkeypatch):
    model = SMALL[name]
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)
    variables = model.init({"params": KEY}, image)
    seen = []
    unpool = ops.max_unpool

    def spy(x, indices, **options):
        out = unpool(x, indices, **options)
        seen.append((x, indices, out))
        return out

    monkeypatch.setattr(ops, "max_unpool", spy)
    model.apply(variables, image)
    for x, indices, out in seen:
        b, c = x.shape[0], x.shape[3]
        flat = np.asarray(out).reshape(b, -1, c)
        at = np.asarray(indices).reshape(b, -1, c)
        np.testing.assert_array_equal(np.take_along_axis(flat, at, axis=1), np.asarray(x).reshape(b, -1, c))
        assert (np.count_nonzero(flat, axis=1) <= at.shape[1]).all()


def test_the_bayesian_segnet_drops_in_encoder_and_decoder():
    model = SegNet(num_classes=2, backbone=THIN.clone(dropout=0.5), dropout=0.5)
    drops = []

    def count(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
            drops.append(context.module.rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(count):
        jax.eval_shape(lambda: model.init({"params": KEY}, jnp.zeros((1, 64, 64, 3))))
    assert drops == [0.5] * 6


def test_a_small_image_is_extended_to_deconvnets_kernel():
    model = SMALL["deconvnet"]
    image = jnp.ones((1, 5, 40, 3))
    assert model.init_with_output({"params": KEY}, image)[0].shape == (1, 5, 40, 2)


def test_local_response_norm_is_its_formula():
    x = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 7)).astype(np.float32)
    want = np.empty_like(x)
    for c in range(7):
        near = x[..., max(c - 2, 0) : c + 3]
        want[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), want, rtol=1e-5)
