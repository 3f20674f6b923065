"""The README's commands are real: their flags parse, their configs load, and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest

from jaxseg import benchmark, class_weights, demo, evaluate, export, predict, report, train
from jaxseg.config import load
from jaxseg.crf import __main__ as crf

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
#: Commands in code blocks, with continued lines joined.
COMMANDS = re.findall(r"^(?:pip install .* && )?python -m jaxseg\.(\w+) ?(.*)$", README.replace("\\\n", " "), re.MULTILINE)
MODULES = {
    "crf": crf,
    "benchmark": benchmark,
    "class_weights": class_weights,
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "predict": predict,
    "report": report,
}


def test_found_the_commands():
    assert {name for name, _ in COMMANDS} >= set(MODULES)
    assert "pip install -e . && python -m jaxseg.train --config configs/setr.py\n" in README
    assert "pip install -e '.[test]' && pytest\n" in README


@pytest.mark.parametrize(("name", "arguments"), COMMANDS, ids=[f"{name} {arguments}"[:70] for name, arguments in COMMANDS])
def test_a_command_is_one(name, arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    args = MODULES[name].command_line().parse_args(shlex.split(arguments))
    if getattr(args, "config", None):
        load(args.config, args.set)


def test_files_that_it_names_exist():
    named = re.findall(r"\]\(([^)#:]+)\)", README)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_network_of_the_table_is_there():
    from jaxseg import models

    done = re.findall(r"^\| .*`(\w+)`.* \| works ", README, re.MULTILINE)
    assert done
    for name in done:
        assert hasattr(models, name), name
    assert set(done) == set(models.__all__)
