"""The examples in docstrings run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxseg"
#: Of an example that needs a trained network there is only the text.
EXAMPLE = re.compile(r"^ +>>> (?!.*doctest: \+SKIP)", re.MULTILINE)
MODULES = [
    ".".join(("jaxseg", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if EXAMPLE.search(path.read_text()) and path.name != "__init__.py"
]


def test_found_some():
    assert {"jaxseg.losses.pixelwise", "jaxseg.metrics.confusion", "jaxseg.models.positions"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert result.failed == 0
