"""Every way in which a checkpoint's files can be bad, made by hand in a real one, and what is said of it."""

import json
import re
import shutil
import zlib

import jax.numpy as jnp
import pytest

from jaxseg import checkpoint_files
from jaxseg.checkpoints import Checkpoints
from jaxseg.errors import InputError
from jaxseg.step import TrainState


def state_at(step):
    params, moments = {"kernel": jnp.arange(300.0)}, {"mean": jnp.ones(300)}
    return TrainState(jnp.int32(step), params, {}, moments, None, jnp.int32(0), jnp.int32(0), None)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of the steps 2, 4 and 6, to be copied."""
    workdir = tmp_path_factory.mktemp("written")
    with Checkpoints(workdir, keep=3) as checkpoints:
        for step in (2, 4, 6):
            checkpoints.save(state_at(step))
    return workdir / "checkpoints"


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def largest(step):
    return max((p for p in step.rglob("*") if p.is_file() and p.parent.name == "d"), key=lambda p: p.stat().st_size)


def flip(step):
    file = largest(step)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(step):
    file = largest(step)
    file.write_bytes(file.read_bytes()[:-7])


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def edit(name, change):
    def damage(step):
        (step / name).write_text(change((step / name).read_text()))

    return damage


def remove(name):
    return lambda step: (step / name).unlink()


def pretend_format(number):
    def change(text):
        content = json.loads(text)
        content["custom_metadata"] = {"format": number, "jaxseg": "9.0"} if number else None
        return json.dumps(content)

    return edit("_CHECKPOINT_METADATA", change)


DAMAGE = {
    "flipped byte": (flip, r"state/(ocdbt.process_0/)?d/\w+ has changed since it was written: its checksum differs"),
    "truncated file": (truncate, r"state/(ocdbt.process_0/)?d/\w+ has \d+ bytes, and \d+ were written"),
    "missing metadata": (remove("state/_METADATA"), r"state/_METADATA is missing"),
    "missing commit": (remove("_CHECKPOINT_METADATA"), r"_CHECKPOINT_METADATA is missing"),
    "torn commit": (edit("_CHECKPOINT_METADATA", lambda t: t[:40]), r"_CHECKPOINT_METADATA cannot be parsed"),
    "empty folder": (empty, r"its folder is empty"),
    "missing checksums": (remove("checksums.json"), r"checksums.json is missing"),
    "torn checksums": (edit("checksums.json", lambda t: t[:-9]), r"checksums.json cannot be parsed"),
    "checksums of another kind": (edit("checksums.json", lambda t: "[]"), r"checksums.json cannot be parsed"),
    "edited checksums": (
        edit("checksums.json", lambda t: t.replace("_METADATA", "_METADATB")),
        r"checksums.json has changed since",
    ),
    "edited manifest": (edit("state/_METADATA", lambda t: t.replace("kernel", "kernal")), r"state/_METADATA has changed since"),
}


def test_a_step_that_is_left_alone_is_sound(written):
    assert checkpoint_files.steps(written) == [2, 4, 6]
    for step in (2, 4, 6):
        assert checkpoint_files.damage(written / str(step)) is None
        assert checkpoint_files.format_of(written / str(step)) == (checkpoint_files.FORMAT, checkpoint_files.version())


def test_checksums_cover_every_file_but_the_one_that_is_written_after_them(written):
    listed = set(json.loads((written / "6" / "checksums.json").read_text())["files"])
    there = {str(p.relative_to(written / "6")) for p in (written / "6").rglob("*") if p.is_file()}
    assert there - listed == {"_CHECKPOINT_METADATA", "checksums.json", "commit_success.txt"}
    assert listed <= there


@pytest.mark.parametrize(("harm", "said"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_newest_step_is_named_and_set_aside(harm, said, folder):
    harm(folder / "6")
    found = checkpoint_files.prepare(folder)
    assert found.step == 4
    damaged, last = found.lines
    assert re.search(rf"step 6 is damaged \({said}.*\): moved to {folder}/damaged/6$", damaged), damaged
    assert last == "the last good one is step 4"
    assert checkpoint_files.steps(folder) == [2, 4]
    assert (folder / "damaged" / "6").is_dir(), "nothing is deleted"


def test_of_older_steps_the_sizes_are_compared(folder):
    flip(folder / "4")
    truncate(folder / "2")
    found = checkpoint_files.prepare(folder)
    assert found.step == 6
    assert checkpoint_files.steps(folder) == [4, 6]
    assert len(found.lines) == 1
    assert found.lines[0].startswith("step 2 is damaged")
    assert "checksum differs" in checkpoint_files.damage(folder / "4")


def test_a_step_is_set_aside_beside_an_earlier_one(folder):
    for _ in range(2):
        shutil.copytree(folder / "4", folder / "8")
        flip(folder / "8")
        checkpoint_files.prepare(folder)
    assert sorted(p.name for p in (folder / "damaged").iterdir()) == ["8", "8-2"]


def test_without_a_sound_step_it_refuses_and_touches_nothing(folder):
    for step, harm in ((2, flip), (4, empty), (6, truncate)):
        harm(folder / str(step))
    (folder / "8.orbax-checkpoint-tmp").mkdir()
    with pytest.raises(InputError) as error:
        checkpoint_files.prepare(folder)
    said = str(error.value)
    assert f"No checkpoint in {folder} is sound (step 6: " in said
    assert "step 4: its folder is empty; step 2: " in said
    assert "Nothing was changed there. Bring one back from a copy, give another --workdir, or remove that folder" in said
    assert sorted(p.name for p in folder.iterdir() if p.name != "descriptor") == ["2", "4", "6", "8.orbax-checkpoint-tmp"]


def test_a_newer_format_is_refused_and_no_damage(folder):
    pretend_format(checkpoint_files.FORMAT + 1)(folder / "6")
    with pytest.raises(InputError) as error:
        checkpoint_files.prepare(folder)
    assert f"{folder}/6 was written by jaxseg 9.0 in format {checkpoint_files.FORMAT + 1}, and this jaxseg" in str(error.value)
    assert "Update jaxseg, or give another --workdir." in str(error.value)
    assert checkpoint_files.steps(folder) == [2, 4, 6]


def test_an_older_format_is_taken_unverified_and_said_so(folder):
    pretend_format(None)(folder / "6")
    remove("checksums.json")(folder / "6")
    found = checkpoint_files.prepare(folder)
    assert found.step == 6
    assert found.lines == ("step 6 was written without checksums, by an older jaxseg: it is taken unverified",)
    remove("state/_METADATA")(folder / "6")
    assert checkpoint_files.prepare(folder).step == 4


def test_what_an_interrupted_save_or_deletion_left_is_dropped(folder):
    shutil.copytree(folder / "6", folder / "8.orbax-checkpoint-tmp")
    shutil.copytree(folder / "2", folder / ".deleted" / "1")
    found = checkpoint_files.prepare(folder)
    assert found == checkpoint_files.Findings(6, ("step 8 was being written when the run ended: dropped",))
    assert not list(folder.glob("*tmp*"))
    assert not (folder / ".deleted").exists()


def test_a_run_that_has_not_begun_has_nothing_to_find(tmp_path):
    assert checkpoint_files.prepare(tmp_path / "checkpoints") == checkpoint_files.Findings(None, ())
    assert checkpoint_files.size(tmp_path / "checkpoints") == 0


def test_the_checksum_is_the_common_one(tmp_path):
    (tmp_path / "file").write_bytes(b"jaxseg" * 1000)
    checkpoint_files.write_checksums(tmp_path)
    files = json.loads((tmp_path / "checksums.json").read_text())["files"]
    assert files == {"file": [6000, zlib.crc32(b"jaxseg" * 1000)]}
