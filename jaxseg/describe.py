"""A config as JSON and back: what a run's folder keeps of it, so that evaluation and prediction need the folder alone.

Objects are written as the import path of their class and their fields, functions as their import path. A run's folder may come
from anywhere, so reading builds only dataclasses, Linen modules and partials, of trusted packages; and since evaluation will call
functions with arguments that the folder chose, only functions from rooms of those packages where none touches a file or code:
``jax.numpy:load`` is a function of a trusted package too, and reads pickles.
"""

import dataclasses
import functools
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.override import is_dtype, is_object

#: Packages that a run's folder may name without being trusted further.
TRUSTED = ("jaxseg", "optax", "jax", "flax")

#: Where classes of objects may come from, of these packages.
_OBJECTS = ("jaxseg", "flax.linen")

#: Where functions may come from, of these packages.
_FUNCTIONS = (
    *("jaxseg.layer_decay", "jaxseg.losses", "jaxseg.models", "jaxseg.objectives", "jaxseg.ops", "jaxseg.optimizers"),
    *("jaxseg.parallel", "jaxseg.schedules", "optax", "jax.nn", "jax._src.nn", "flax.linen"),
)

_KINDS = ("object", "partial", "function", "dtype")


def read_json(path: Path) -> Any:
    """Read a file of a run's folder.

    Raises:
        InputError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path} cannot be parsed ({error}). Bring it back from a copy, or remove it: the same training command writes it "
            "anew."
        ) from None


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


def from_json(node: Any, further: tuple[str, ...] = ()) -> Any:
    """Build what :func:`to_json` described.

    Args:
        node: parsed JSON.
        further: packages that the user trusts besides :data:`TRUSTED`, or wholly: all that is in them may be built.

    Raises:
        InputError: for an object of another package, or one that this version of it does not have, or anything else that
            :func:`to_json` does not write.
    """
    if isinstance(node, list):
        return tuple(from_json(item, further) for item in node)
    if not isinstance(node, dict):
        return node
    kind, *fields = node or ("nothing",)
    if kind not in _KINDS or not isinstance(node[kind], str):
        raise _foreign(f"holds {str(node)[:80]}")
    values = {name: from_json(node[name], further) for name in fields}
    if kind == "dtype":
        try:
            return jnp.dtype(node["dtype"]).type
        except TypeError:
            raise _foreign(f"names the dtype {node['dtype']!r}") from None
    target = _resolve(node[kind], kind, further)
    if kind == "partial":
        arguments = values.pop("args", None)
        if not isinstance(arguments, tuple) or not callable(target):
            raise _foreign(f"binds arguments to {node[kind]} in a way that cannot be")
        return functools.partial(target, *arguments, **values)
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


def _resolve(path: str, kind: str, further: tuple[str, ...]) -> Any:
    module, _, name = path.partition(":")
    package = module.partition(".")[0]
    if package not in (*TRUSTED, *further):
        raise InputError(
            f"The run's config.json names {path}, and only objects of {', '.join(TRUSTED)} are built from it. "
            f"If you trust that package, add --trust {package}."
        )
    allowed = (*(_OBJECTS if kind == "object" else _FUNCTIONS), *further)
    if not _in(module, allowed):
        rooms = [room for room in allowed if room.partition(".")[0] == package]
        raise InputError(
            f"The run's config.json names {path}, and of {package} only what cannot do harm is built from it "
            f"({', '.join(rooms) or 'nothing of this kind'}). If you trust that file, add --trust {package}."
        )
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            if (inspect.ismodule(found) and found.__name__ != module) or part.startswith("__"):
                raise _foreign(f"names {path}, which is not that package's own")
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"The run's config.json names {path}, which this version does not have ({error}).") from error
    if inspect.ismodule(found) or not _in(getattr(found, "__module__", None) or "", allowed):
        raise _foreign(f"names {path}, which is not that package's own")
    return found


def _in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _foreign(what: str) -> InputError:
    return InputError(f"The run's config.json {what}. It was not written by jaxseg.")
