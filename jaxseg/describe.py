"""A config as JSON and back: what a run's folder keeps of it, so that evaluation and prediction need the folder alone.

Objects are written as the import path of their class and their fields, functions as their import path. Reading builds only
dataclasses, Linen modules and partials, and only of trusted packages: a run's folder from elsewhere cannot call anything.
"""

import dataclasses
import functools
import importlib
from typing import Any

import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.override import is_dtype, is_object

#: Packages whose classes and functions may be named in a run's folder.
TRUSTED = ("jaxseg", "optax", "jax", "flax")


def to_json(node: Any, where: str = "config") -> Any:
    """Describe a config's node in JSON's terms.

    Raises:
        InputError: for an object that could not be found again by its import path, such as a lambda.
    """
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, tuple):
        return [to_json(item, f"{where}.{i}") for i, item in enumerate(node)]
    if is_dtype(node):
        return {"dtype": jnp.dtype(node).name}
    if isinstance(node, functools.partial):
        bound = {k: to_json(v, f"{where}.{k}") for k, v in node.keywords.items()}
        return {"partial": _path(node.func, where), "args": to_json(tuple(node.args), where), **bound}
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = [f.name for f in dataclasses.fields(node) if f.init and f.name not in ("parent", "name")]
        return {"object": _path(type(node), where), **{f: to_json(getattr(node, f), f"{where}.{f}") for f in fields}}
    if is_object(node):
        return {"function": _path(node, where)}
    raise InputError(
        f"{where} is a {type(node).__name__}, which cannot be written into the run's folder. Use tuples, numbers and text."
    )


def from_json(node: Any, trusted: tuple[str, ...] = TRUSTED) -> Any:
    """Build what :func:`to_json` described.

    Args:
        node: parsed JSON.
        trusted: packages whose objects may be built.

    Raises:
        InputError: for an object of another package, or one that this version of it does not have.
    """
    if isinstance(node, list):
        return tuple(from_json(item, trusted) for item in node)
    if not isinstance(node, dict):
        return node
    kind, *fields = node
    values = {name: from_json(node[name], trusted) for name in fields}
    if kind == "dtype":
        return jnp.dtype(node["dtype"]).type
    target = _resolve(node[kind], trusted)
    if kind == "partial":
        return functools.partial(target, *values.pop("args"), **values)
    if kind == "object":
        if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
            raise InputError(f"{node[kind]} is no dataclass; the run's config.json was not written by jaxseg.")
        try:
            return target(**values)
        except TypeError as error:
            raise InputError(f"The run was written by another version of {node[kind]}: {error}.") from error
    return target


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return every leaf of a description by its dotted path, to compare two of them.

    >>> flatten({"model": {"object": "m:Net", "depth": 4}})
    {'model': 'm:Net', 'model.depth': 4}
    """
    if isinstance(node, list):
        node = {str(i): item for i, item in enumerate(node)} or "()"
    if not isinstance(node, dict):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for name, value in node.items():
        own = name == next(iter(node)) and name in ("object", "partial", "function", "dtype")
        flat.update(flatten(value, prefix if own else f"{prefix}.{name}".lstrip(".")))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """Return a line ``path: old -> new`` for every leaf in which two descriptions differ."""
    a, b = flatten(old), flatten(new)
    return [f"{path}: {a.get(path, 'absent')} -> {b.get(path, 'absent')}" for path in {**a, **b} if a.get(path) != b.get(path)]


def _path(thing: Any, where: str) -> str:
    path = f"{thing.__module__}:{thing.__qualname__}"
    if "<" in path or thing.__module__.startswith("jaxseg_config_") or thing.__module__ == "__main__":
        raise InputError(
            f"{where} names {path}, which evaluation could not find again. "
            "Move it into a module of its own that can be imported, and import it in the config file."
        )
    return path


def _resolve(path: str, trusted: tuple[str, ...]) -> Any:
    module, _, name = path.partition(":")
    if module.partition(".")[0] not in trusted:
        raise InputError(
            f"The run's config.json names {path}, and only objects of {', '.join(trusted)} are built from it. "
            f"If you trust that package, add --trust {module.partition('.')[0]}."
        )
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise InputError(f"The run's config.json names {path}, which this version does not have ({error}).") from error
    if getattr(found, "__module__", "").partition(".")[0] not in trusted:
        raise InputError(f"The run's config.json names {path}, which is not that package's own. It was not written by jaxseg.")
    return found
