import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.metrics import BoundaryF1, CalibrationError, ConfusionMatrix, merge_over_axis, merge_over_processes, merge_stacked

RNG = np.random.default_rng(0)
LABELS = jnp.asarray(RNG.integers(0, 3, (8, 6, 7)), jnp.uint8).at[:, 0].set(255)
LOGITS = jnp.asarray(RNG.normal(size=(8, 6, 7, 3)), jnp.float32)


def update_all(metrics, logits, labels):
    matrix, boundary, calibration = metrics
    prediction = jnp.argmax(logits, -1)
    return matrix.update(prediction, labels), boundary.update(prediction, labels), calibration.update(logits, labels)


def empty():
    return ConfusionMatrix.empty(3), BoundaryF1.empty(3, tolerance=0.15), CalibrationError.empty(5)


@pytest.fixture(scope="module")
def whole():
    return jax.jit(update_all)(empty(), LOGITS, LABELS)


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(a, b)


def test_something_is_counted(whole):
    matrix, boundary, calibration = (metric.scores() for metric in whole)
    assert 0.2 < matrix["pixel_accuracy"] < 0.5
    assert 0.2 < boundary["boundary_f1"] < 0.99
    assert 0.01 < calibration["calibration_error"] < 0.5


def test_eight_devices_under_jit_count_as_one(whole):
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    assert len(jax.devices()) == 8
    logits, labels = jax.device_put((LOGITS, LABELS), split)
    assert_same(jax.jit(update_all, out_shardings=NamedSharding(mesh, PartitionSpec()))(empty(), logits, labels), whole)


def test_eight_devices_under_pmap_count_as_one(whole):
    def update(logits, labels):
        each = update_all(empty(), logits[None], labels[None])
        return each, merge_over_axis(each, "devices")

    each, merged = jax.pmap(update, axis_name="devices")(LOGITS, LABELS)
    assert_same(jax.tree.map(lambda words: words[3], merged), whole)
    assert_same(merge_stacked(each), whole)


def test_merging_the_same_counts_as_one(whole):
    update = jax.jit(update_all)
    halves = [update(empty(), LOGITS[half], LABELS[half]) for half in (slice(4), slice(4, 8))]
    assert_same(tuple(a.merge(b) for a, b in zip(*halves)), whole)


def test_one_process_merges_nothing(whole):
    assert merge_over_processes(whole) is whole


def test_processes_are_summed(whole, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda tree: jax.tree.map(lambda words: np.stack([words, words]), tree)
    )
    assert_same(merge_over_processes(whole), tuple(metric.merge(metric) for metric in whole))
