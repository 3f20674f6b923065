"""The command: files that a program without jaxseg runs, and every way in which it must not leave one."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from commands_data import make_folder

import jaxseg
from jaxseg import export, train
from jaxseg.errors import InputError
from jaxseg.exporting import comparison
from jaxseg.exporting.pipeline import Signature, pipeline
from jaxseg.exporting.stablehlo import to_stablehlo

CONFIG = str(Path(__file__).parent / "commands_config.py")

#: What somebody without jaxseg writes: the lines of the command's docstring.
USER = """
import sys
sys.modules["jaxseg"] = None
try:
    import jaxseg
    raise SystemExit("jaxseg can be imported")
except ImportError:
    pass
import numpy as np
images = np.load("images.npy", allow_pickle=False)
{lines}
assert not any(name.partition(".")[0] in ("flax", "orbax", "jaxseg") for name, module in sys.modules.items() if module)
np.savez("found.npz", **found)
"""


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "xla"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps."""
    workdir, data = tmp_path_factory.mktemp("runs") / "tiny", make_folder(tmp_path_factory.mktemp("data"))
    train.main(["--config", CONFIG, "--workdir", str(workdir), "--set", f"data.root={data}", "--set", "steps=3"])
    return workdir


def fails(arguments, capsys):
    """Run a command that must fail as a user's error, and return its message."""
    with pytest.raises(SystemExit) as stop:
        export.main([str(a) for a in arguments])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return " ".join(captured.err.split())


def use(lines, folder, images):
    """Run a user's lines in a process without jaxseg, in the folder of the artifact."""
    np.save(folder / "images.npy", images)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", USER.format(lines=lines)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz", allow_pickle=False) as archive:
        return dict(archive)


def test_an_artifact_says_what_the_predictor_says_without_jaxseg(run, capsys):
    export.main(["--workdir", str(run)])
    said = " ".join(capsys.readouterr().out.split())
    assert "takes images (batch, 16, 16, 3) uint8 returns labels (batch, 16, 16) uint8, differs by" in said
    assert "returns confidence (batch, 16, 16) float32, differs by" in said
    assert "compared on 4 images, in a process without jaxseg; 1e-04 is allowed" in said
    folder = run / "export"
    assert sorted(p.name for p in folder.iterdir()) == ["model.stablehlo", "model.stablehlo.json"]

    lines = re.search(r"JAX alone.*?\n\n(.*?)\n\n", export.__doc__, re.DOTALL).group(1)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    found = use("\n".join(line.strip() for line in lines.splitlines()), folder, images)
    predictor = jaxseg.load(run)
    for image, labels, confidence in zip(images, found["labels"], found["confidence"]):
        np.testing.assert_array_equal(labels, predictor.predict(image))
        np.testing.assert_allclose(confidence, predictor.segment(image).confidence, atol=1e-5)


def test_what_goes_along_says_all_that_a_user_must_know(run, tmp_path):
    output = tmp_path / "new" / "net.stablehlo"
    export.main(["--workdir", str(run), "--output", str(output), "--checkpoint", "latest", "--platforms", "cpu", "--batch", "2"])
    facts, content = json.loads(output.with_name("net.stablehlo.json").read_text()), output.read_bytes()
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert (facts["file"], facts["bytes"], facts["format"]) == ("net.stablehlo", len(content), "stablehlo")
    assert (facts["network"], facts["checkpoint_step"], facts["platforms"]) == ("UNet", 3, ["cpu"])
    assert facts["input"]["shape"] == [2, 16, 16, 3]
    assert facts["input"]["dtype"] == "uint8"
    assert "0 to 255; normalised inside, RGB" in facts["input"]["values"]
    assert facts["outputs"]["confidence"]["shape"] == [2, 16, 16]
    assert [(c["index"], c["name"]) for c in facts["classes"]] == [(0, "ground"), (1, "blob")]
    assert all(len(c["colour"]) == 3 for c in facts["classes"])
    assert facts["normalise"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert facts["versions"]["jax"] == jax.__version__
    assert set(facts["versions"]) == {"jaxseg", "jax", "flax"}
    assert facts["compared"]["images"] == 2
    assert facts["compared"]["differences"]["confidence"] < 1e-4
    assert jax.export.deserialize(bytearray(content)).platforms == ("cpu",)


def test_any_size_dtype_and_outputs(run, tmp_path):
    """In a process of its own: the types that tests check know whole numbers as sizes, and symbols are none."""
    output = tmp_path / "net.stablehlo"
    flags = ["--size", "any", "--dtype", "float32", "--outputs", "logits", "probabilities"]
    command = [sys.executable, "-m", "jaxseg.export", "--workdir", str(run), "--output", str(output), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "takes images (batch, 32*h, 32*w, 3) float32 returns probabilities" in said
    facts = json.loads(output.with_name("net.stablehlo.json").read_text())
    assert list(facts["outputs"]) == ["probabilities", "logits"]
    images = np.random.default_rng(0).random((2, 64, 32, 3), np.float32)
    got = jax.jit(jax.export.deserialize(bytearray(output.read_bytes())).call)(images)
    np.testing.assert_allclose(got["logits"], jaxseg.load(run).logits(images), atol=1e-4)


def test_what_differs_is_not_kept_and_replaces_nothing(run, tmp_path):
    predictor, output = jaxseg.load(run), tmp_path / "net.stablehlo"
    output.write_bytes(b"what was there")
    signature = Signature((16, 16), 3)
    function = pipeline(predictor, signature)
    wrong = to_stablehlo(lambda images: {**function(images), "confidence": 0.999 * function(images)["confidence"]}, signature)
    with pytest.raises(
        InputError, match=r"its confidence differ from the predictor's by .*e-04, above 1e-04, and it was not kept"
    ):
        export.publish(output, wrong, {"outputs": {"labels": {}, "confidence": {}}}, predictor, comparison.batches(signature))
    assert [p.name for p in tmp_path.iterdir()] == ["net.stablehlo"]
    assert output.read_bytes() == b"what was there"


def test_what_returns_something_else_is_not_kept(run, tmp_path):
    predictor, signature = jaxseg.load(run), Signature((16, 16), 3)
    content = to_stablehlo(lambda images: {"labels": pipeline(predictor, signature)(images)["labels"]}, signature)
    facts = {"outputs": {"labels": {}, "confidence": {}}}
    with pytest.raises(InputError, match=r"returns \['labels'\] for \['confidence', 'labels'\], and it was not kept"):
        export.publish(tmp_path / "net.stablehlo", content, facts, predictor, comparison.batches(signature))
    assert list(tmp_path.iterdir()) == []


def test_a_description_that_cannot_be_written_leaves_what_was_there(run, tmp_path, capsys):
    output = tmp_path / "net.stablehlo"
    output.write_bytes(b"what was there")
    (tmp_path / "net.stablehlo.json").mkdir()
    said = fails(["--workdir", run, "--output", output, "--batch", "1", "--size", "16", "16"], capsys)
    assert "cannot be written" in said
    assert output.read_bytes() == b"what was there"
    assert "is a folder" in fails(["--workdir", run, "--output", _folder(tmp_path / "a.stablehlo")], capsys)


def _folder(path):
    path.mkdir()
    return path


def test_what_cannot_be_run_is_not_kept(run, tmp_path):
    predictor, output = jaxseg.load(run), tmp_path / "net.stablehlo"
    with pytest.raises(InputError, match="cannot be run in a process of its own, and was not kept"):
        export.publish(output, b"no program", {"outputs": {}}, predictor, comparison.batches(Signature((16, 16), 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "16"], "--size 16 must be a height and a width, such as --size 96 128, or any."),
        (["--size", "0", "8"], "size=(0, 8) must be a height and a width of at least 1."),
        (["--batch", "0"], "batch=0 must be at least 1"),
        (["--output", "net.onnx"], "--output net.onnx must end in .stablehlo, as the format does."),
        (["--platforms", "tpu"], "on the CPU. Add cpu to --platforms."),
        (["--format", "onnx", "--platforms", "cpu"], "--platforms is for StableHLO; ONNX has none"),
        (["--format", "onnx", "--size", "any"], "ONNX is made for one size: give --size HEIGHT WIDTH"),
        (["--format", "onnx", "--set", "precision=bfloat16"], "computes in bfloat16, which rounds differently"),
        (["--set", "precision=float16"], "add --set precision=float32"),
        (["--set", "flip=True"], "--set flip=False"),
        (["--set", "image_size=(8,8)", "--size", "9", "8"], "this run resizes every image to (8, 8)"),
        (["--checkpoint", "99"], "99"),
    ],
)
def test_bad_flags_are_explained(run, flags, message, capsys):
    assert message in fails(["--workdir", run, *flags], capsys)


def test_a_folder_that_cannot_be_written_is_explained(run, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    said = fails(["--workdir", run, "--output", tmp_path / "file" / "net.stablehlo"], capsys)
    assert "cannot be written" in said
    assert "Give another --output FILE." in said


def test_without_jax2onnx_the_command_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert "--format onnx needs jax2onnx and onnxruntime" in fails(["--workdir", run, "--format", "onnx"], capsys)
