"""``--set path=value``: replace one field, however deep, in a tree of frozen dataclasses, Linen modules, partials and tuples."""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from beartype import BeartypeConf
from beartype.door import is_bearable

from jaxseg.errors import InputError, did_you_mean

#: An int where a float is asked for is fine; nothing else is converted.
_TOWER = BeartypeConf(is_pep484_tower=True)


def override(config: Any, assignments: Iterable[str]) -> Any:
    """Return a copy of ``config`` with each ``path=value`` applied in order.

    A path is dotted: fields by name, tuple items by number, keyword arguments of functions by name
    (``model.backbone.depth=101``, ``augment.0.maximum=2.0``, ``loss.gamma=3``). A value is a Python literal, text without quotes;
    a dtype is its name; a function is its import path (``loss=jaxseg.losses.dice``).

    Raises:
        InputError: for a name that is not there (with the nearest that is) or a value of the wrong type.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise InputError(f"--set {assignment}: write it as path=value, such as --set steps=2000.")
        config = _replace(config, path.strip().split("."), text.strip(), path.strip())
    return config


def children(node: Any) -> dict[str, Any]:
    """Return the named parts of a config's node: fields, tuple items, keyword arguments. A leaf has none."""
    if isinstance(node, tuple):
        return {str(i): item for i, item in enumerate(node)}
    if callable(node) and not dataclasses.is_dataclass(node):
        bound = node.keywords if isinstance(node, functools.partial) else {}
        # `steps` and the like, without default and not bound, are given by the program, not by the config.
        return {name: bound.get(name, parameter.default) for name, parameter in _keywords(node).items()}
    if dataclasses.is_dataclass(node):
        return {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.init and f.name not in ("parent", "name")}
    return {}


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    target = function.func if isinstance(function, functools.partial) else function
    if isinstance(target, type):
        return {}
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def _replace(node: Any, path: list[str], text: str, whole: str) -> Any:
    name, *rest = path
    parts = children(node)
    if name not in parts:
        where = whole.rsplit(".", len(rest) + 1)[0] if whole.count(".") > len(rest) else "the config"
        raise InputError(f"--set {whole}={text}: {where} has no {name!r}.{did_you_mean(name, list(parts))}")
    value = _replace(parts[name], rest, text, whole) if rest else _convert(text, _hint(node, name), parts[name], whole)
    if isinstance(node, tuple):
        return tuple(value if key == name else item for key, item in parts.items())
    if dataclasses.is_dataclass(node):
        copy = getattr(node, "clone", None)  # a Linen module's own way to copy itself with other fields
        return copy(**{name: value}) if copy else dataclasses.replace(node, **{name: value})  # type: ignore[type-var]
    return functools.partial(node, **{name: value})


def _hint(node: Any, name: str) -> Any:
    """Return the type that a part is declared with; ``Any`` where nothing is declared."""
    if isinstance(node, tuple):
        return Any
    if isinstance(node, functools.partial):
        node = node.func
    owner = type(node) if dataclasses.is_dataclass(node) else node
    try:
        return typing.get_type_hints(owner).get(name, Any)
    except NameError:  # a forward reference of somebody else's module
        return Any


def _convert(text: str, hint: Any, current: Any, whole: str) -> Any:
    if is_dtype(current):
        try:
            return jnp.dtype(text).type
        except TypeError:
            raise InputError(f"--set {whole}={text}: a dtype is needed, such as float32 or bfloat16.") from None
    if is_object(current):
        return _import_function(text, current, whole)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    value = _as_tuple(value)
    if hint is Any and current not in (None, inspect.Parameter.empty):
        hint = tuple if isinstance(current, tuple) else type(current)
    if hint is str and not isinstance(value, str):
        value = text  # a number may be a name: --set data.root=2012
    if not is_bearable(value, hint, conf=_TOWER) or _bool_for_number(value, hint):
        raise InputError(f"--set {whole}={text}: {_say(hint)} is needed, and {value!r} is {_say(type(value))}.")
    return float(value) if isinstance(value, int) and not is_bearable(value, hint) else value


def _bool_for_number(value: Any, hint: Any) -> bool:
    allowed = typing.get_args(hint) or (hint,)
    return isinstance(value, bool) and bool not in allowed and hint is not Any


def _as_tuple(value: Any) -> Any:
    """Lists become tuples, throughout: the fields of configs are hashable."""
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value


def is_dtype(value: Any) -> bool:
    """Say whether a field holds a dtype, as NumPy's ``dtype`` or as JAX's scalar type."""
    return isinstance(value, np.dtype | type(jnp.float32)) or (isinstance(value, type) and issubclass(value, np.generic))


def is_object(value: Any) -> bool:
    """Say whether a field holds a config object or a function, as opposed to a plain value."""
    return dataclasses.is_dataclass(value) or (callable(value) and not isinstance(value, type))


def _import_function(text: str, current: Any, whole: str) -> Any:
    if dataclasses.is_dataclass(current):
        raise InputError(
            f"--set {whole}={text}: {whole} is a {type(current).__name__}. Set one of its fields "
            f"({', '.join(f'{whole}.{n}' for n in children(current))}), or write a recipe."
        )
    module, dot, name = text.rpartition(".")
    if not dot or not re.fullmatch(r"[\w.]+", text):
        raise InputError(f"--set {whole}={text}: a function is needed, by its import path, such as jaxseg.losses.dice.")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--set {whole}={text}: there is no such function ({error}).") from error
    if not callable(found):
        raise InputError(f"--set {whole}={text}: this is {_say(type(found))}, not a function.")
    return found


def _say(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return {
            "int": "a whole number (int)",
            "float": "a number (float)",
            "str": "text (str)",
            "bool": "True or False (bool)",
        }.get(hint.__name__, f"a value of type {hint.__name__}")
    return str(hint).replace("typing.", "")
