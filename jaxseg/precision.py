"""The dtype that a network computes in; its parameters stay float32 (Micikevicius et al., https://arxiv.org/abs/1710.03740)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from jaxseg.errors import InputError, did_you_mean

#: bfloat16 for TPUs and GPUs since Ampere; float16, whose loss must be scaled, for GPUs before.
PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def with_precision(model: Any, precision: str) -> Any:
    """Return a network that computes in another dtype throughout, its backbone and decoders too.

    Args:
        model: a Linen module, or any frozen dataclass, with fields ``dtype``.
        precision: one of :data:`PRECISIONS`.

    Raises:
        InputError: for another name.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"precision={precision!r} is none of {', '.join(PRECISIONS)}.{did_you_mean(precision, list(PRECISIONS))}"
        )
    return _with_dtype(model, PRECISIONS[precision])


def dtypes(model: Any) -> set[str]:
    """Return the names of the dtypes that a network and the modules in it compute in."""
    return set(_dtypes(model))


def _dtypes(node: Any) -> Iterator[str]:
    for name, value in _fields(node).items():
        if name == "dtype":
            yield jnp.dtype(value).name
        else:
            yield from _dtypes(value)


def _with_dtype(node: Any, dtype: Any) -> Any:
    if isinstance(node, tuple):
        return tuple(_with_dtype(item, dtype) for item in node)
    fields = _fields(node)
    changed = {name: dtype if name == "dtype" else _with_dtype(value, dtype) for name, value in fields.items()}
    changed = {name: value for name, value in changed.items() if value is not fields[name]}
    if not changed:
        return node
    # A Linen module has a way of its own to copy itself with other fields.
    return node.clone(**changed) if hasattr(node, "clone") else dataclasses.replace(node, **changed)


def _fields(node: Any) -> dict[str, Any]:
    if isinstance(node, tuple):
        return {str(i): item for i, item in enumerate(node)}
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return {}
    return {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.init and f.name not in ("parent", "name")}
