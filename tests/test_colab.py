"""The notebooks run, install what is missing the same way, and are committed with what they show and nothing else."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "colab"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
INSTALL = (FOLDER / "install_cell.py").read_text()
#: What replaces the settings of the cell tagged `parameters` here, so that a notebook is run through but learns little.
SMALL = {
    "history_of_segmentation": {"STEPS": 0},
    "losses": {"STEPS": 10},
    "own_data": {
        "IMAGES": (8, 3),
        "SIZE": (48, 64),
        "STEPS": 2,
        "BINARY_STEPS": 2,
        "WIDTH": 4,
        "DEPTH": 2,
        "SAMPLES": 2,
        "LARGE": (48, 96),
    },
    "train_tpu": {
        "UPLOAD": False,
        "STEPS": 4,
        "SCENES": (16, 4),
        "LOG_EVERY": 1,
        "CHANGES": {"unet": ["model.width=4", "model.depth=2"], "setr": ["model.backbone.depth=1"]},
        "TIMED_STEPS": 1,
    },
}
#: A cell that follows the last one then. Compiling a training step for each network was most of the history's time: one will do.
MORE = {"history_of_segmentation": "train(models.UNet(num_classes=3, width=2, depth=1), images[:8], labels[:8], steps=1)"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def markdown_of(path):
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def execute(path, folder, settings):
    notebook = nbformat.read(path, as_version=4)
    if settings:
        (at,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
        unknown = [name for name in settings if not re.search(rf"^{name} = ", notebook.cells[at].source, re.MULTILINE)]
        assert not unknown, f"{path.name} has no such settings: {unknown}"
        replaced = "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(replaced))
        notebook.cells.append(nbformat.v4.new_code_cell(MORE.get(path.stem, "")))
    client = nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def test_found_the_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"losses", "history_of_segmentation"}
    assert {path.stem for path in NOTEBOOKS} >= set(SMALL)


@each_notebook
@pytest.mark.filterwarnings("ignore")  # of the notebook's kernel and its messages
def test_a_notebook_runs_with_small_settings(path, tmp_path, monkeypatch):
    # Several devices, but no more than show that it works on them: each costs time to compile for.
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2")
    for name in ("colab", "pictures"):  # as in a checkout, whose pictures a reader's run leaves alone
        (tmp_path / name).mkdir()
    execute(path, tmp_path / "colab", SMALL.get(path.stem))
    assert not list((tmp_path / "pictures").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("path", [FOLDER / f"{name}.ipynb" for name in SMALL], ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_what_a_notebook_claims_is_true(path, tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # computed as a reader's kernel does
    execute(path, tmp_path, None)


@each_notebook
def test_a_notebook_installs_like_the_others(path):
    assert code_cells(path)[0].source == INSTALL.rstrip("\n"), "copy colab/install_cell.py, or run colab/execute.py"


@each_notebook
def test_a_notebook_was_run_from_top_to_bottom(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(output.get("data", {}).get("image/png") for cell in cells for output in cell.outputs)
    assert path.stat().st_size < 1_500_000


@each_notebook
def test_a_notebook_holds_no_noise(path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "accelerator", "colab"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, "times of execution differ from run to run: run colab/execute.py"
        for output in cell.get("outputs", []):
            assert output.output_type in ("stream", "display_data", "execute_result"), output.output_type
            assert output.get("name") != "stderr", output.text
            shown = output.get("text", "") + "".join(v for k, v in output.get("data", {}).items() if k.startswith("text/"))
            found = re.search(
                r"/(tmp|home|root|work|usr|opt|mnt|Users|private|var)/|[A-Z]:\\|\w*Warning\b|0x[0-9a-f]{6,}|\x1b", shown
            )
            assert not found, f"{found.group()!r} in: {shown[:500]}"


def test_there_is_one_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (address,) = re.findall(r'REPOSITORY = os\.environ\.get\("JAXSEG_REPOSITORY", "(.*)"\)', INSTALL)
    assert address == project.get("urls", {}).get("Repository", "")


def test_the_commands_of_own_data_read_runs_that_they_made():
    (commands,) = re.findall(r"```\n(python -m jaxseg\.train .*?)```", markdown_of(FOLDER / "own_data.ipynb"), re.DOTALL)
    made = set()
    for line in commands.splitlines():
        (workdir,) = re.findall(r"--workdir (\S+)", line)
        made |= {workdir} if "jaxseg.train" in line else set()
        assert workdir in made, line
    assert not made & {"runs/street", "runs/vehicles"}, "these are the notebook's own"


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Makes a bare place without jaxseg, and notes what the cell would run there."""
    noted = []

    def run(command, *, check):
        assert check  # a failure stops the notebook
        noted.append(command)
        if command[0] == "git":
            (Path(command[-1])).mkdir()

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("JAXSEG_REPOSITORY", raising=False)
    monkeypatch.chdir(tmp_path)
    installed = {"jax": "0.9.1", "jaxlib": "0.9.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: installed[name])
    return noted


#: What a runtime came with stays: its plugin for a TPU or GPU fits no other.
PINNED = ["jax==0.9.1", "jaxlib==0.9.0"]


def pretend(monkeypatch, **specs):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: specs[name] if name in specs else real(name))


def run_install_cell():
    exec(compile(INSTALL, "install_cell.py", "exec"), {"__name__": "__main__"})


def test_where_all_is_there_nothing_is_installed(calls):
    run_install_cell()
    assert calls == []


def test_only_what_is_missing_is_installed(calls, monkeypatch):
    pretend(monkeypatch, matplotlib=None)
    run_install_cell()
    assert calls == [[sys.executable, "-m", "pip", "install", "--quiet", "matplotlib>=3.9"]]


@pytest.mark.parametrize("spec", [None, ModuleSpec("jaxseg", None)], ids=["absent", "a folder of that name"])
def test_in_a_checkout_that_is_installed(calls, monkeypatch, tmp_path, spec):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "jaxseg"\n')
    (tmp_path / "colab").mkdir()
    monkeypatch.chdir(tmp_path / "colab")
    pretend(monkeypatch, jaxseg=spec)
    run_install_cell()
    assert calls == [[sys.executable, "-m", "pip", "install", "--quiet", "-e", str(tmp_path), *PINNED]]
    assert sys.path[0] == str(tmp_path)


def test_elsewhere_the_repository_is_cloned_and_installed(calls, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.setenv("JAXSEG_REPOSITORY", "https://example.org/jaxseg")
    pretend(monkeypatch, jaxseg=None)
    run_install_cell()
    place = str(tmp_path / "jaxseg-checkout")
    assert calls == [
        ["git", "clone", "--quiet", "--depth", "1", "https://example.org/jaxseg", place],
        [sys.executable, "-m", "pip", "install", "--quiet", "-e", place, *PINNED],
    ]


def test_a_second_run_takes_what_was_cloned(calls, monkeypatch, tmp_path):
    place = tmp_path / "jaxseg-checkout"
    place.mkdir()
    (place / "pyproject.toml").write_text('[project]\nname = "jaxseg"\n')
    pretend(monkeypatch, jaxseg=None)
    run_install_cell()
    assert calls == [[sys.executable, "-m", "pip", "install", "--quiet", "-e", str(place), *PINNED]]


def test_where_no_jax_is_pip_chooses_one(calls, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "jaxseg"\n')
    pretend(monkeypatch, jaxseg=None, jax=None, jaxlib=None)
    run_install_cell()
    assert calls == [[sys.executable, "-m", "pip", "install", "--quiet", "-e", str(tmp_path)]]


def test_without_an_address_the_error_says_what_to_set(calls, monkeypatch):
    pretend(monkeypatch, jaxseg=None)
    with pytest.raises(
        RuntimeError, match=r"is not installed and .* lies in no checkout of it\. Put its address into REPOSITORY"
    ):
        run_install_cell()
    assert calls == []
    assert "JAXSEG_REPOSITORY" not in os.environ
