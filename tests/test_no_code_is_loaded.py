"""No file of jaxseg uses what could run code that a file from elsewhere holds."""

import ast
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "jaxseg").rglob("*.py"))

#: Modules whose readers execute what they read, or that start programs.
MODULES = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "subprocess",
    "yaml",
    "runpy",
    "code",
    "ctypes",
}

#: Functions that do, besides ``load`` of NumPy, JAX and PyTorch; and methods.
FUNCTIONS = {"eval", "exec", "compile", "__import__"}
METHODS = {"system", "popen", "extractall", "unpack_archive", "read_pickle", "exec_module"}

#: What is allowed, and why.
ALLOWED = {
    ("config_files.py", "exec_module"),  # a config file is code, which the user names by train --config FILE
    ("exporting/comparison.py", "subprocess"),  # this Python on exporting/reader.py, which runs an artifact that was just made
    ("weights/torch_files.py", "pickle"),  # for an Unpickler of its own, which answers names from a list
}


def found_in(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield node.module
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell", "weights_only"):
            safe = isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
            yield from () if safe else (node.arg,)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from {node.func.id} & FUNCTIONS
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, called = getattr(node.func.value, "id", ""), node.func.attr
            if called in METHODS or (called in ("load", "loads") and owner in ("np", "jnp", "numpy", "torch", "pickle")):
                yield from () if any(keyword.arg == "allow_pickle" for keyword in node.keywords) else (called,)


def test_found_the_files():
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_that_runs_what_it_reads(path):
    name = path.relative_to(Path(__file__).parents[1] / "jaxseg").as_posix()
    used = [what for what in found_in(ast.parse(path.read_text())) if (name, what) not in ALLOWED]
    assert not used, f"{name} uses {used}; read data with json, or safetensors"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from subprocess import run", "subprocess"),
        ("np.load(x)", "load"),
        ("np.load(x, allow_pickle=True)", "allow_pickle"),
        ("pickle.loads(x)", "loads"),
        ("torch.load(x, weights_only=False)", "load"),
        ("eval(x)", "eval"),
        ("os.system(x)", "system"),
        ("tar.extractall()", "extractall"),
    ],
)
def test_would_be_found(source, what):
    assert what in list(found_in(ast.parse(source)))


def test_the_safe_forms_would_not():
    assert not list(found_in(ast.parse("np.load(x, allow_pickle=False); json.loads(x); re.compile(x)")))
