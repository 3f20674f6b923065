import dataclasses
import resource
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint.checkpoint_managers import preservation_policy

from jaxseg import checkpoint_files, sharding
from jaxseg.checkpoints import Checkpoints, restore_variables
from jaxseg.errors import InputError
from jaxseg.loss_scale import LossScale
from jaxseg.models import UNet
from jaxseg.step import TrainState, create_state

MODEL = UNet(num_classes=2, width=2, depth=1, batch_norm=True)


def make_state(step, seed=0, ema=False, devices=1):
    state = create_state(MODEL, optax.adam(1e-3), jnp.zeros((1, 8, 8, 1)), key=jax.random.key(seed), ema=ema)
    state = dataclasses.replace(state, step=jnp.int32(step))
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
            checkpoints.save(make_state(step))
            checkpoints.wait()
            if miou is not None:
                checkpoints.rank(step, miou)
        assert checkpoints.steps == [2, 5, 6]
        assert checkpoints.choose("best") == 2
        assert checkpoints.choose("latest") == 6
        assert checkpoints.choose("5") == 5
        with pytest.raises(InputError, match=r"There is no checkpoint '4': best, latest, or one of 2, 5, 6."):
            checkpoints.choose("4")
    with Checkpoints(tmp_path, keep=2) as resumed:
        assert resumed.choose("best") == 2
        for step in (7, 8, 9):
            resumed.save(make_state(step))
            resumed.wait()
            resumed.rank(step, 0.1)
        assert resumed.steps == [2, 8, 9]


def test_evaluation_reads_the_average_where_there_is_one(tmp_path, capfd):
    for name, ema in (("plain", False), ("averaged", True)):
        state = make_state(3, ema=ema)
        if ema:
            state = dataclasses.replace(state, ema=jax.tree.map(lambda x: x + 1, state.params))
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


def test_nan_is_never_the_best_and_the_ranking_outlives_the_process(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, miou in ((1, float("nan")), (2, 0.1), (3, float("nan"))):
            checkpoints.save(make_state(step))
            checkpoints.rank(step, miou)
        checkpoints.save(make_state(4))
        checkpoints.wait()
        assert checkpoints.steps == [2, 3, 4]
        assert checkpoints.choose("best") == 2
        assert [step in checkpoints.ranking for step in (2, 3, 4)] == [True, True, False]
    with Checkpoints(tmp_path) as again:
        assert again.choose("best") == 2
        assert 3 in again.ranking


def test_saves_in_the_background_and_seals_before_the_step_has_its_name(tmp_path, monkeypatch):
    go, seal = threading.Event(), checkpoint_files.write_checksums

    def slow(folder):
        assert go.wait(30)
        seal(folder)

    monkeypatch.setattr(checkpoint_files, "write_checksums", slow)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(3))
        checkpoints.check()  # waits for nothing
        assert checkpoint_files.steps(tmp_path / "checkpoints") == []
        go.set()
        checkpoints.wait()
        assert checkpoint_files.damage(tmp_path / "checkpoints" / "3") is None


def test_a_step_that_is_not_kept_disappears_in_one_stroke(tmp_path, monkeypatch):
    gone = []
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        monkeypatch.setattr("shutil.rmtree", lambda path, **_: gone.extend(p.name for p in path.glob("*")))
        for step in (1, 2):
            checkpoints.save(make_state(step))
            checkpoints.wait()
    assert set(gone) == {"1"}
    assert (tmp_path / "checkpoints" / ".deleted" / "1" / "checksums.json").is_file(), "moved whole before it is deleted"


def test_fields_that_an_older_version_did_not_save_begin_anew_and_are_named(tmp_path):
    said = []
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(dataclasses.replace(make_state(3), skipped=None, nonfinite_in_row=None))
        checkpoints.wait()
        like = dataclasses.replace(make_state(0, seed=1), skipped=jnp.int32(7), loss_scale=LossScale.initial())
        restored = checkpoints.restore(like, say=said.append)
    want = dataclasses.replace(make_state(3), skipped=jnp.int32(7), loss_scale=LossScale.initial())
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(want))
    by = f"written by jaxseg {checkpoint_files.version()} (format {checkpoint_files.FORMAT})"
    names = ("loss_scale", "nonfinite_in_row", "skipped")
    assert said == [f"{name} is not in the checkpoint, {by}: it starts anew" for name in names]


def test_fields_that_the_run_does_not_use_are_left_and_named(tmp_path):
    said = []
    scaled = dataclasses.replace(make_state(3), loss_scale=LossScale.initial())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(scaled)
        checkpoints.wait()
        restored = checkpoints.restore(make_state(0, seed=1), say=said.append)
        again = checkpoints.restore(jax.tree.map(jnp.zeros_like, scaled))
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(make_state(3)))
    chex.assert_trees_all_equal(jax.device_get(again), jax.device_get(scaled))
    assert said == ["loss_scale is in the checkpoint, and this run does not use it"]


def test_a_checkpoint_of_another_network_is_refused_with_the_arrays_that_differ(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(3))
        checkpoints.wait()
        state = make_state(0)
        params = {**state.params, "more": {"kernel": jnp.ones(2)}}
        with pytest.raises(InputError) as error:
            checkpoints.restore(dataclasses.replace(state, params=params))
        assert "params/more/kernel (2,) is not in the checkpoint" in str(error.value)
        assert "is of another network or optimizer:" in str(error.value)
        assert f"can begin a new run: --init {tmp_path}." in str(error.value)
        wide = jax.tree.map(lambda x: jnp.ones((2, *x.shape), x.dtype), state.params)
        with pytest.raises(InputError, match=r"params/bottom/bn1/norm/bias is \(4,\), and \(2, 4\) here\n(?s:.*)and 17 more"):
            checkpoints.restore(dataclasses.replace(state, params=wide))
        with pytest.raises(InputError, match=r"ema/\S+ \S+ .* is not in the checkpoint"):
            checkpoints.restore(make_state(0, ema=True))


def test_evaluation_refuses_a_damaged_checkpoint_and_names_the_others(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (3, 5):
            checkpoints.save(make_state(step))
    (tmp_path / "checkpoints" / "5" / "state" / "_METADATA").unlink()
    with pytest.raises(InputError) as error:
        restore_variables(tmp_path, "latest")
    assert "The checkpoint of step 5 in" in str(error.value)
    assert "is damaged: state/_METADATA is missing. Take another: --checkpoint with one of 3." in str(error.value)
    assert restore_variables(tmp_path, "3")[1] == 3


#: TensorStore wakes tasks of an event loop that Orbax has closed when one of them failed.
late = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def until_checked(checkpoints, _):
    while True:
        checkpoints.check()


@late
@pytest.mark.parametrize(
    "call",
    [
        Checkpoints.save,
        until_checked,
        lambda checkpoints, _: checkpoints.wait(),
        lambda checkpoints, _: checkpoints.__exit__(None),
    ],
)
def test_what_cannot_be_written_is_said_and_the_last_good_one_stays(call, tmp_path, file_size_limit, capfd):
    big = TrainState(jnp.int32(1), {"kernel": jax.random.normal(jax.random.key(0), (20_000,))}, {}, {}, None, None, None, None)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(big)
    checkpoints.wait()
    file_size_limit(4000)
    checkpoints.save(dataclasses.replace(big, step=jnp.int32(2)))
    with pytest.raises(InputError) as error:
        call(checkpoints, dataclasses.replace(big, step=jnp.int32(3)))
    said = str(error.value)
    assert f"The checkpoint of step 2 cannot be written to {tmp_path / 'checkpoints'}: File too large. " in said
    assert "The last good one is step 1; it stays. One takes 0.1 MB, and " in said
    assert "Make room, or the folder writable, and give the same command again: it goes on from there." in said
    file_size_limit(resource.RLIM_INFINITY)
    checkpoints.__exit__(InputError)
    assert "Traceback" not in capfd.readouterr().err
    found = checkpoint_files.prepare(tmp_path / "checkpoints")
    assert found == checkpoint_files.Findings(1, ("step 2 was being written when the run ended: dropped",))


@late
@pytest.mark.usefixtures("collected")
def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr("os.makedirs", refuse)  # which is what Orbax makes the step's folder with
    monkeypatch.setattr("os.mkdir", refuse)
    with pytest.raises(
        InputError, match=r"The checkpoint of step 1 cannot be .*: Read-only file system. There is no earlier one."
    ):
        checkpoints.save(make_state(1))
    monkeypatch.undo()
    checkpoints.__exit__(InputError)
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("write_", "array_", "serialize_"))], (
        "these would wait"
    )


def refuse(path, *_, **__):
    raise OSError(30, "Read-only file system", path)


def test_the_first_format_is_read_with_the_scores_that_orbax_kept(tmp_path):
    """As jaxseg wrote it before there were checksums, and a ranking of its own."""
    state = {name: getattr(make_state(3, ema=True), name) for name in ("step", "params", "model_state", "opt_state", "ema")}
    best = preservation_policy.BestN(get_metric_fn=lambda metrics: metrics["miou"], n=2)
    options = ocp.CheckpointManagerOptions(preservation_policy=best, best_fn=lambda metrics: metrics["miou"])
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options) as manager:
        for step, miou in ((3, 0.7), (6, -1.0)):
            manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)), metrics={"miou": miou})
            manager.wait_until_finished()
    folder, said = tmp_path / "checkpoints", []
    assert checkpoint_files.prepare(folder).lines == (
        "step 6 was written without checksums, by an older jaxseg: it is taken unverified",
    )
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.choose("best") == 3
        assert [step in checkpoints.ranking for step in (3, 6)] == [True, False]
        restored = checkpoints.restore(make_state(0, seed=1, ema=True), say=said.append)
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(make_state(3, ema=True)))
    assert said[0] == "nonfinite_in_row is not in the checkpoint, written by an older jaxseg (format 1): it starts anew"
    variables, step = restore_variables(tmp_path)
    assert step == 3
    chex.assert_trees_all_equal(variables, jax.device_get(make_state(3, ema=True).variables))
