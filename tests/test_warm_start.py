import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import sharding, warm_start, weights
from jaxseg.checkpoints import Checkpoints
from jaxseg.errors import InputError
from jaxseg.models import FCN16s, FCN32s, UNet
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import CAFFE
from jaxseg.step import create_state

THIN = VGG16(batch_norm=True, widths=(1, 1, 2, 2, 2))


def make_state(model, seed, ema=False):
    state = create_state(model, optax.adam(1e-3), jnp.zeros((1, 32, 32, 3)), key=jax.random.key(seed), ema=ema)
    return jax.device_put(state, sharding.replicated(sharding.device_mesh(8)))


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A run of FCN-32s with one checkpoint, and its state."""
    workdir = tmp_path_factory.mktemp("fcn32s")
    state = make_state(FCN32s(num_classes=2, backbone=THIN, fc_features=3), seed=1)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state)
    return workdir, state


def test_fcn16s_starts_from_fcn32s(coarse):
    workdir, given = coarse
    state = make_state(FCN16s(num_classes=2, backbone=THIN, fc_features=3), seed=2, ema=True)
    started, found = warm_start.from_run(state, str(workdir))
    for name in ("backbone", "fc", "score_fr"):
        for want, got in zip(jax.tree.leaves(given.params[name]), jax.tree.leaves(started.params[name])):
            np.testing.assert_array_equal(want, got)
            assert got.sharding.mesh == state.step.sharding.mesh
    for want, got in zip(jax.tree.leaves(given.model_state), jax.tree.leaves(started.model_state)):
        np.testing.assert_array_equal(want, got)
    np.testing.assert_array_equal(started.params["upscore_final"], state.params["upscore_final"])
    for got, want in zip(jax.tree.leaves(started.ema), jax.tree.leaves(started.params)):
        np.testing.assert_array_equal(got, want)
    assert started.opt_state is state.opt_state
    lines = found.report().splitlines()
    assert lines == [
        f"{len(found.taken)} arrays taken",
        "initial, for they have another shape: upscore_final (64, 64, 2, 2) -> (32, 32, 2, 2)",
        "initial, for they were not given: score_pool4, upscore16",
    ]
    assert len(found.taken) == len(jax.tree.leaves({**given.variables})) - 1


def test_what_is_left_over_is_named(coarse):
    _, found = warm_start.from_run(make_state(FCN32s(num_classes=2, backbone=THIN, fc_features=None), seed=2), f"{coarse[0]}:0")
    assert found.report().splitlines()[-1] == "given, but not in this network: fc/fc6, fc/fc7"


def test_dtypes_are_the_networks_own():
    own = {"params": {"kernel": jnp.zeros((2,), jnp.bfloat16)}}
    found = warm_start.match(own, {"params": {"kernel": np.array([1.5, 2.0])}})
    assert found.variables["params"]["kernel"].dtype == jnp.bfloat16
    assert found.taken == ("params/kernel",)


def test_a_checkpoint_of_which_nothing_fits_is_refused(coarse):
    with pytest.raises(InputError, match=r"Nothing of the checkpoint .* fits this network: no array has the same name and shape"):
        warm_start.from_run(make_state(UNet(num_classes=2, width=2, depth=1), seed=0), str(coarse[0]))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run of jaxseg"):
        warm_start.from_run(make_state(UNet(num_classes=2, width=2, depth=1), seed=0), str(tmp_path))


def test_a_step_that_is_not_there_is_refused(coarse):
    with pytest.raises(InputError, match="There is no checkpoint '7'"):
        warm_start.from_run(make_state(UNet(num_classes=2, width=2, depth=1), seed=0), f"{coarse[0]}:7")


def test_published_weights_start_a_run_too(tmp_path):
    model = FCN32s(num_classes=2, backbone=THIN, fc_features=None)
    given = make_state(THIN, seed=1).variables
    weights.save(given, tmp_path / "vgg.safetensors", model=THIN, source="torchvision")
    state = make_state(model, seed=2, ema=True)
    started, report = warm_start.start(state, str(tmp_path / "vgg.safetensors"), model, CAFFE)
    for part, want in (("params", started.params), ("params", started.ema), ("batch_stats", started.model_state["batch_stats"])):
        for a, b in zip(jax.tree.leaves(want["backbone"]), jax.tree.leaves(given[part])):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(started.params["upscore_final"], state.params["upscore_final"])
    assert jax.tree.leaves(started.params)[0].sharding.mesh == state.step.sharding.mesh
    assert report.startswith("VGG16 of torchvision\n")
    assert '--set "normalise.mean=(0.485, 0.456, 0.406,)"' in report


def test_a_run_is_still_a_run(coarse):
    state = make_state(FCN32s(num_classes=2, backbone=THIN, fc_features=3), seed=2)
    _, report = warm_start.start(state, str(coarse[0]), None, CAFFE)
    assert report.endswith("arrays taken")
    with pytest.raises(InputError, match=r"There is no file missing\.pth"):
        warm_start.start(state, "missing.pth", None, CAFFE)
    with pytest.raises(InputError, match=r"holds no run of jaxseg.* or a file of weights \(\.safetensors"):
        warm_start.start(state, "missing", None, CAFFE)


def test_another_number_of_classes_takes_all_but_the_classifier_and_lists_it(coarse):
    """What fine-tuning on other classes begins with."""
    _, given = coarse
    state = make_state(FCN32s(num_classes=5, backbone=THIN, fc_features=3), seed=2)
    started, found = warm_start.from_run(state, str(coarse[0]))
    first, second = found.report().splitlines()
    assert first == f"{len(found.taken)} arrays taken"
    what, _, layers = second.partition(": ")
    assert what == "initial, for they have another shape"
    assert set(layers.split("), ")) == {
        "score_fr (1, 1, 3, 2) -> (1, 1, 3, 5",
        "score_fr (2,) -> (5,",
        "upscore_final (64, 64, 2, 2) -> (64, 64, 5, 5)",
    }
    for want, got in zip(jax.tree.leaves(given.params["backbone"]), jax.tree.leaves(started.params["backbone"])):
        np.testing.assert_array_equal(want, got)
    np.testing.assert_array_equal(started.params["score_fr"]["kernel"], state.params["score_fr"]["kernel"])
