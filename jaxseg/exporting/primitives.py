"""The same computation in primitives that jax2onnx converts.

jax2onnx replaces functions of ``jax.numpy`` and ``flax.linen`` while it traces, and converts the primitives that it meets. What
it does not know of ours, or converts wrongly, is written in others here, on the finished jaxpr, so that the networks stay as they
are. The rules, found with jax2onnx 0.17.1:

    jaxseg_conv             XLA's own convolution: only JAX's primitives are known
    conv_general_dilated    with channels last on both sides: the layouts that gradients of convolutions come in are not known
    pad                     negative edges as slices, positive ones as concatenations: Pad fails with an open batch size
    concatenate             without operands of no elements, which would count as one
    broadcast_in_dim        to new axes, with an open batch size, as concatenations: the batch size would become 0
    jit, custom_jvp_call    what is inside them
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array, lax
from jax.extend.core import Literal

from jaxseg.ops.convolution_native import native

#: Primitives that are replaced by what is inside them, and the parameters that hold it.
INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


def convertible(function: Callable[[Array], Any], images: jax.ShapeDtypeStruct) -> Callable[[Array], tuple[Array, ...]]:
    """Return a function that computes the same by other primitives, for arguments of this shape alone.

    Args:
        function: pure, of one array.
        images: its argument; sides may be symbolic.

    Returns:
        A function that returns the leaves of what ``function`` does.
    """
    closed = jax.make_jaxpr(function)(images)
    return lambda given: tuple(_evaluate(closed.jaxpr, closed.consts, [given]))


def _evaluate(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Apply each equation, or what replaces it, in order."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        given = [atom.val if isinstance(atom, Literal) else known[atom] for atom in equation.invars]
        known.update(zip(equation.outvars, _apply(equation, given), strict=True))
    return [atom.val if isinstance(atom, Literal) else known[atom] for atom in jaxpr.outvars]


def _apply(equation: Any, given: list[Any]) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name in INLINED:
        inner = params[INLINED[primitive.name]]
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
    if primitive.name in RULES:
        return RULES[primitive.name](*given, **params)
    found = primitive.bind(*given, **params)
    return list(found) if primitive.multiple_results else [found]


def _own_convolution(lhs: Any, rhs: Any, **params: Any) -> list[Any]:
    closed = jax.make_jaxpr(lambda lhs, rhs: native(lhs, rhs, **params))(lhs, rhs)
    return _evaluate(closed.jaxpr, closed.consts, [lhs, rhs])


def _convolution(x: Any, kernel: Any, **params: Any) -> list[Any]:
    layouts = params["dimension_numbers"]
    x = lax.transpose(lax.transpose(x, layouts.lhs_spec), (0, 2, 3, 1))
    kernel = lax.transpose(lax.transpose(kernel, layouts.rhs_spec), (2, 3, 1, 0))
    edges = [(min(before, 0), min(after, 0), 0) for before, after in params["padding"]]
    out = lax.conv_general_dilated(
        _cut(x, [(0, 0, 0), *edges, (0, 0, 0)]),
        kernel,
        params["window_strides"],
        [(max(before, 0), max(after, 0)) for before, after in params["padding"]],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=params["feature_group_count"],
    )
    out = lax.transpose(out, (0, 3, 1, 2))
    return [lax.transpose(out, [layouts.out_spec.index(axis) for axis in range(4)])]


def _pad(x: Any, value: Any, *, padding_config: Sequence[tuple[int, int, int]]) -> list[Any]:
    if any(interior for _, _, interior in padding_config):
        return [lax.pad(x, value, padding_config)]
    x = _cut(x, padding_config)
    for axis, (before, after, _) in enumerate(padding_config):
        sides = [lax.broadcast(value, (*x.shape[:axis], max(n, 0), *x.shape[axis + 1 :])) for n in (before, after)]
        (x,) = _concatenate(sides[0], x, sides[1], dimension=axis)
    return [x]


def _cut(x: Any, edges: Sequence[tuple[int, int, int]]) -> Any:
    """Take off as many rows as edges are negative by."""
    for axis, (before, after, _) in enumerate(edges):
        if min(before, after) < 0:
            x = lax.slice_in_dim(x, max(-before, 0), x.shape[axis] - max(-after, 0), axis=axis)
    return x


def _broadcast(x: Any, *dynamic: Any, shape: Sequence[Any], broadcast_dimensions: Sequence[int], **params: Any) -> list[Any]:
    if len(shape) == len(x.shape) or all(isinstance(side, int) for side in x.shape):
        return [lax.broadcast_in_dim_p.bind(x, *dynamic, shape=shape, broadcast_dimensions=broadcast_dimensions, **params)]
    own = dict(zip(broadcast_dimensions, x.shape, strict=True))
    x = lax.reshape(x, [own.get(axis, 1) for axis in range(len(shape))])
    for axis, side in enumerate(shape):
        if isinstance(side, int) and side > own.get(axis, 1):
            x = lax.concatenate([x] * side, axis)
    return [x]


def _concatenate(*parts: Any, dimension: int) -> list[Any]:
    some = [part for part in parts if not (isinstance(part.shape[dimension], int) and part.shape[dimension] == 0)] or [parts[0]]
    return [some[0] if len(some) == 1 else lax.concatenate(some, dimension)]


RULES: dict[str, Callable[..., list[Any]]] = {
    "jaxseg_conv": _own_convolution,
    "conv_general_dilated": _convolution,
    "pad": _pad,
    "concatenate": _concatenate,
    "broadcast_in_dim": _broadcast,
}
