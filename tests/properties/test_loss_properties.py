"""What must hold for every loss, for any logits, labels and void."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg import losses

B, H, W, K = 8, 2, 3, 3
SMALL = settings(max_examples=25, deadline=None, derandomize=True)
LOGITS = arrays.arrays(np.float32, (B, H, W, K), elements=st.floats(-20, 20, width=32))
EXTREME = arrays.arrays(np.float32, (B, H, W, K), elements=st.sampled_from([-1e4, -1.0, 0.0, 0.5, 1e4]))
LABELS = arrays.arrays(np.uint8, (B, H, W), elements=st.sampled_from([0, 1, 2, 255]))
CLASS_WEIGHTS = (0.5, 1.0, 2.0)

PIXELWISE = {
    "cross_entropy": losses.cross_entropy,
    "smoothed": functools.partial(losses.cross_entropy, label_smoothing=0.1),
    "weighted_mean": functools.partial(losses.cross_entropy, class_weights=CLASS_WEIGHTS, reduction="weighted_mean"),
    "weighted_cross_entropy": functools.partial(losses.weighted_cross_entropy, class_weights=CLASS_WEIGHTS),
    "balanced_cross_entropy": losses.balanced_cross_entropy,
    "focal": losses.focal,
    "ohem_cross_entropy": losses.ohem_cross_entropy,
}
REGIONS = {
    "dice": losses.dice,
    "squared": functools.partial(losses.dice, squared=True, smoothing=0.0),
    "per_image": functools.partial(losses.dice, per_image=True),
    "tversky": functools.partial(losses.tversky, beta=0.3),
    "focal_tversky": functools.partial(losses.tversky, beta=0.3, gamma=4 / 3, classes="present"),
    "jaccard": losses.jaccard,
    "lovasz_softmax": losses.lovasz_softmax,
}
BINARY = {"lovasz_hinge": losses.lovasz_hinge}
ALL = {**PIXELWISE, **REGIONS, "sum": losses.weighted_sum((1.0, losses.cross_entropy), (0.5, losses.dice))}


def _binary_labels(labels):
    return jnp.where(labels == 2, 0, labels)


def _all(logits, labels):
    """Every loss, in one program: compiled once for all that hypothesis thinks of."""
    values = {name: loss(logits, labels) for name, loss in ALL.items()}
    return {**values, **{name: loss(logits[..., :1], _binary_labels(labels)) for name, loss in BINARY.items()}}


@jax.jit
def values_and_gradients(logits, labels):
    return _all(logits, labels), jax.jacrev(_all)(logits, labels)


def values(logits, labels):
    return values_and_gradients(logits, labels)[0]


def gradients(logits, labels):
    return values_and_gradients(logits, labels)[1]


@SMALL
@given(LOGITS, LABELS)
def test_never_negative(logits, labels):
    for name, value in values(logits, labels).items():
        assert value >= 0, name


@SMALL
@given(LABELS)
def test_zero_for_a_perfect_prediction(labels):
    # A logit of 200 against 0 is a probability of 1 in float32: the limit that a softmax never reaches.
    logits = 200.0 * np.eye(K, dtype=np.float32)[np.where(labels == 255, 0, labels)]
    logits[..., 0] -= 200 * (_binary_labels(labels) == 0)  # the one logit of the binary losses: 0 would be undecided
    sharp = {**values(200.0 * np.eye(K, dtype=np.float32)[np.where(labels == 255, 0, labels)], labels)}
    for name, value in sharp.items():
        if name not in ("smoothed", "lovasz_hinge"):
            assert value == 0, name
    binary = 400.0 * np.asarray(_binary_labels(labels), np.float32)[..., None] - 200.0
    assert values(np.broadcast_to(binary, logits.shape), labels)["lovasz_hinge"] == 0


@SMALL
@given(LOGITS, LABELS, LOGITS)
def test_void_may_hold_anything(logits, labels, other):
    changed = np.where((labels == 255)[..., None], other, logits)
    chex.assert_trees_all_equal(values(logits, labels), values(changed, labels))
    for gradient in jax.tree.leaves(gradients(logits, labels)):
        assert (np.asarray(gradient)[labels == 255] == 0).all()


@SMALL
@given(EXTREME, LABELS)
def test_gradients_are_finite_for_extreme_logits(logits, labels):
    chex.assert_tree_all_finite(values_and_gradients(logits, labels))
    low = values_and_gradients(np.asarray(logits, jnp.bfloat16), labels)
    chex.assert_tree_all_finite(jax.tree.map(lambda x: x.astype(jnp.float32), low))


def test_all_void_is_zero_with_zero_gradient():
    logits, labels = np.ones((B, H, W, K), np.float32), np.full((B, H, W), 255, np.uint8)
    for value in jax.tree.leaves(values_and_gradients(logits, labels)):
        assert (np.asarray(value) == 0).all()


@SMALL
@given(LOGITS, LABELS, st.permutations(range(K)))
def test_classes_may_be_renamed(logits, labels, order):
    order = np.array(order)
    renamed = np.append(np.argsort(order), np.zeros(256 - K, int)).astype(np.uint8)[labels]
    renamed[labels == 255] = 255
    unweighted = [name for name in ALL if "weighted_" not in name]
    before, after = values(logits, labels), values(logits[..., order], renamed)
    chex.assert_trees_all_close({n: before[n] for n in unweighted}, {n: after[n] for n in unweighted}, rtol=1e-5, atol=1e-6)


@functools.partial(jax.jit, static_argnums=2)
def _weighted(logits, labels, class_weights):
    made = {
        name: functools.partial(getattr(losses, name), class_weights=class_weights)
        for name in ("cross_entropy", "focal", "dice", "lovasz_softmax")
    }
    return {name: loss(logits, labels) for name, loss in made.items()}


def test_class_weights_are_renamed_with_their_classes():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(B, H, W, K)).astype(np.float32), rng.integers(0, K, (B, H, W))
    order = np.array([2, 0, 1])
    renamed = np.argsort(order)[labels]
    chex.assert_trees_all_close(
        _weighted(logits, labels, CLASS_WEIGHTS),
        _weighted(logits[..., order], renamed, tuple(CLASS_WEIGHTS[i] for i in order)),
        rtol=1e-5,
    )


IDENTITIES = {
    "WCE(beta = 1) = CE": (functools.partial(losses.weighted_cross_entropy, beta=1.0), losses.cross_entropy, 1.0),
    "BCE(beta = 1/2) = CE / 2": (functools.partial(losses.balanced_cross_entropy, beta=0.5), losses.cross_entropy, 0.5),
    "FL(alpha = 1/2, gamma = 0) = CE / 2": (functools.partial(losses.focal, alpha=0.5, gamma=0.0), losses.cross_entropy, 0.5),
    "Tversky(1/2) = Dice": (functools.partial(losses.tversky, beta=0.5), functools.partial(losses.dice, smoothing=0.0), 1.0),
    "Tversky(1/2, s) = Dice(2 s)": (
        functools.partial(losses.tversky, beta=0.5, smoothing=1.0),
        functools.partial(losses.dice, smoothing=2.0),
        1.0,
    ),
    "Tversky(1, 1) = Jaccard": (
        functools.partial(losses.tversky, beta=1.0, alpha=1.0),
        functools.partial(losses.jaccard, smoothing=0.0),
        1.0,
    ),
    "OHEM of all = CE": (functools.partial(losses.ohem_cross_entropy, min_kept=1.0), losses.cross_entropy, 1.0),
}


@jax.jit
def _identities(logits, labels):
    logits, labels = logits[..., :2], _binary_labels(labels)
    special, general = ({name: pair[i](logits, labels) for name, pair in IDENTITIES.items()} for i in (0, 1))
    return special, {name: IDENTITIES[name][2] * value for name, value in general.items()}


@SMALL
@given(LOGITS, LABELS)
def test_special_cases(logits, labels):
    special, general = _identities(logits, labels)
    chex.assert_trees_all_close(special, general, rtol=1e-5, atol=1e-7)


@jax.jit
def _one_logit_and_two(logits, labels):
    binary = {name: loss for name, loss in ALL.items() if name not in ("weighted_mean", "weighted_cross_entropy")}
    one, two = logits[..., 1:2] - logits[..., :1], logits[..., :2]
    made = {**binary, **BINARY}
    labels = _binary_labels(labels)
    return {name: loss(one, labels) for name, loss in made.items()}, {name: loss(two, labels) for name, loss in made.items()}


@SMALL
@given(LOGITS, LABELS)
def test_one_logit_and_two_agree(logits, labels):
    chex.assert_trees_all_close(*_one_logit_and_two(logits, labels), rtol=1e-6)


@jax.jit
def _hard_and_soft(logits, labels):
    names = [name for name in ALL if not name.startswith("lovasz")]
    soft = jax.nn.one_hot(labels, K)
    return {name: ALL[name](logits, labels) for name in names}, {name: ALL[name](logits, soft) for name in names}


@SMALL
@given(LOGITS, LABELS)
def test_indices_and_their_one_hot_encoding_agree(logits, labels):
    chex.assert_trees_all_close(*_hard_and_soft(logits, labels), rtol=1e-5, atol=1e-6)


BY_IMAGE = {
    **{
        name: functools.partial(losses.__dict__[name], reduction="none")
        for name in ("cross_entropy", "focal", "balanced_cross_entropy")
    },
    **{
        name: functools.partial(losses.__dict__[name], per_image=True)
        for name in ("dice", "tversky", "jaccard", "lovasz_softmax")
    },
}


@jax.jit
def _whole_and_parts(logits, labels):
    whole = {name: loss(logits, labels) for name, loss in BY_IMAGE.items()}
    parts = jax.vmap(lambda x, y: {name: loss(x[None], y[None]) for name, loss in BY_IMAGE.items()})(logits, labels)
    return whole, parts, jnp.any(labels != 255, (1, 2))


@SMALL
@given(LOGITS, LABELS)
def test_a_batch_is_its_images_also_under_vmap(logits, labels):
    whole, parts, valid = _whole_and_parts(logits, labels)
    for name, value in whole.items():
        if value.ndim:
            np.testing.assert_allclose(value, parts[name][:, 0], rtol=1e-5, atol=1e-6)
        else:
            images = np.asarray(parts[name])[np.asarray(valid)]
            np.testing.assert_allclose(value, images.mean() if images.size else 0.0, rtol=1e-5, atol=1e-6)


def _example():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, (B, H, W)).astype(np.uint8)
    labels[0], labels[1, 0] = 255, 255
    return rng.normal(size=(B, H, W, K)).astype(np.float32) * 3, labels


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_without_jit_it_is_the_same(name):
    logits, labels = (jnp.asarray(a) for a in _example())
    np.testing.assert_allclose(ALL[name](logits, labels), values(logits, labels)[name], rtol=1e-5)


def test_eight_devices_give_the_same():
    logits, labels = _example()
    split = NamedSharding(Mesh(np.asarray(jax.devices()), ("data",)), PartitionSpec("data"))
    assert len(jax.devices()) == 8
    placed = jax.device_put((logits, labels), split)
    chex.assert_trees_all_close(values_and_gradients(*placed), values_and_gradients(logits, labels), rtol=1e-4, atol=1e-7)


def test_forward_and_reverse_mode_agree():
    logits, labels = (jnp.asarray(a) for a in _example())
    direction = jnp.asarray(np.random.default_rng(1).normal(size=logits.shape), jnp.float32)
    forward = jax.jit(lambda x, d: jax.jvp(lambda x: _all(x, labels), (x,), (d,))[1])(logits, direction)
    for name, gradient in gradients(logits, labels).items():
        np.testing.assert_allclose(jnp.sum(gradient * direction), forward[name], rtol=1e-3, atol=1e-6, err_msg=name)
