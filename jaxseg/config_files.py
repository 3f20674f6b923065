"""Config files: Python modules that are found by their path, and the recipes in them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from jaxseg.errors import InputError, did_you_mean


def split_spec(spec: str) -> tuple[Path, str | None]:
    """Return the file and the recipe (``None`` for the default) that ``FILE[:RECIPE]`` names."""
    file, colon, recipe = spec.rpartition(":")
    return (Path(file), recipe) if colon and file.endswith(".py") else (Path(spec), None)


def import_config(path: Path) -> ModuleType:
    """Import a config file by its path.

    Raises:
        InputError: if there is no such file, naming those beside it.
    """
    if not path.is_file():
        beside = [p.name for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        raise InputError(f"There is no config file {path}.{did_you_mean(path.name, beside)}")
    name = f"jaxseg_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported: a config is a Python file, ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
