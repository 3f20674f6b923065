"""One primitive for a convolution and both of its gradients, lowered per platform.

``<conv(x, k), g>`` is linear in each of ``x``, ``k`` and ``g``, so the convolution, the gradient to its input and the gradient to
its kernel are three faces of one trilinear form, and the derivative of each is another of the three. Hence one JAX primitive with
a ``face``: every order of forward and reverse differentiation stays inside it, and each face is lowered to what is fastest on the
platform: ``lax.conv_general_dilated`` and its own transposes by default, :mod:`jaxseg.ops.convolution_cpu` on the CPU. (A
``jax.custom_vjp`` could choose the gradient too, but would forbid forward mode.)
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxseg.ops import convolution_cpu
from jaxseg.ops.convolution_native import Geometry, native


def output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolve ``x`` of ``(b, h, w, c)`` with ``kernel`` of ``(kh, kw, c / groups, o)``."""
    return _bind("output", x, kernel, geometry)


def input_gradient(g: Array, kernel: Array, geometry: Geometry) -> Array:
    """Return the adjoint to the input: ``g`` has the output's shape, the result the input's. A transposed convolution."""
    return _bind("input", g, kernel, geometry)


def kernel_gradient(x: Array, g: Array, geometry: Geometry) -> Array:
    """Return the adjoint to the kernel: ``x`` has the input's shape, ``g`` the output's, the result the kernel's."""
    return _bind("kernel", x, g, geometry)


_native_only: ContextVar[bool] = ContextVar("native_only", default=False)


@contextlib.contextmanager
def native_convolutions() -> Iterator[None]:
    """Trace convolutions as ``lax.conv_general_dilated`` and its own derivatives, on every platform, inside this context.

    For tools that read a jaxpr and know only JAX's own primitives, and for comparisons. It acts when a function is traced: what
    was traced before stays as it is.
    """
    token = _native_only.set(True)
    try:
        yield
    finally:
        _native_only.reset(token)


def _bind(face: str, lhs: Array, rhs: Array, geometry: Geometry) -> Array:
    if _native_only.get():
        return native(lhs, rhs, face=face, geometry=geometry)
    # In a shard_map both operands must vary over the same mesh axes: what casts the replicated one is what sums its gradient.
    axes = _varying(lhs) | _varying(rhs)
    return conv_p.bind(_vary(lhs, axes), _vary(rhs, axes), face=face, geometry=geometry)


def _varying(x: Array) -> frozenset[Any]:
    aval = jax.typeof(x)
    if hasattr(aval, "manual_axis_type"):
        return aval.manual_axis_type.varying
    return getattr(aval, "vma", frozenset())


def _pvary(x: Array, axes: tuple[Any, ...], to: str) -> Array:
    """Do what ``lax.pcast`` does under the name that it had before JAX 0.8."""
    del to
    return getattr(lax, "pvary")(x, axes)  # noqa: B009 - newer releases do not know the name


def _vary(x: Array, axes: frozenset[Any]) -> Array:
    missing = tuple(axes - _varying(x))
    if not missing:
        return x
    return getattr(lax, "pcast", _pvary)(x, missing, to="varying")


def on_cpu(lhs: Array, rhs: Array, *, face: str, geometry: Geometry) -> Array:
    """Return a face as the CPU's formulation; with a symbolic size (``jax.export``), which no rule can judge, the native one."""
    if not all(isinstance(n, int) for n in (*lhs.shape, *rhs.shape, *geometry.size)):
        return native(lhs, rhs, face=face, geometry=geometry)
    return convolution_cpu.face(lhs, rhs, face=face, geometry=geometry)


conv_p = Primitive("jaxseg_conv")
conv_p.def_impl(jax.jit(conv_p.bind, static_argnames=("face", "geometry")))


@conv_p.def_abstract_eval
def _abstract(lhs: Any, rhs: Any, **params: Any) -> Any:
    return jax.make_jaxpr(partial(native, **params))(lhs, rhs).out_avals[0]


def _lhs_transpose(ct: Array, rhs: Array, *, face: str, geometry: Geometry) -> Array:
    transposes: dict[str, Callable[[], Array]] = {
        "output": lambda: input_gradient(ct, rhs, geometry),
        "input": lambda: output(ct, rhs, geometry),
        "kernel": lambda: input_gradient(rhs, ct, geometry),
    }
    return transposes[face]()


def _rhs_transpose(ct: Array, lhs: Array, *, face: str, geometry: Geometry) -> Array:
    transposes: dict[str, Callable[[], Array]] = {
        "output": lambda: kernel_gradient(lhs, ct, geometry),
        "input": lambda: kernel_gradient(ct, lhs, geometry),
        "kernel": lambda: output(lhs, ct, geometry),
    }
    return transposes[face]()


ad.defbilinear(
    conv_p,
    lambda ct, lhs, rhs, **params: _lhs_transpose(ct, rhs, **params),
    lambda ct, lhs, rhs, **params: _rhs_transpose(ct, lhs, **params),
)


def _batch(args: tuple[Array, Array], axes: tuple[Any, Any], *, face: str, geometry: Geometry) -> tuple[Array, int]:
    """Fold a mapped axis into the batch where only feature maps have it; else loop on the CPU, and map XLA's own elsewhere."""
    lhs, rhs = args
    if face != "kernel" and axes[1] is None:
        many = batching.bdim_at_front(lhs, axes[0], lhs.shape[axes[0]])
        out = conv_p.bind(many.reshape(-1, *many.shape[2:]), rhs, face=face, geometry=geometry)
        return out.reshape(*many.shape[:2], *out.shape[1:]), 0
    size = next(v.shape[a] for v, a in zip(args, axes, strict=True) if a is not None)
    lhs, rhs = (batching.bdim_at_front(v, a, size) for v, a in zip(args, axes, strict=True))
    loop = lambda a, b: lax.map(lambda one: conv_p.bind(*one, face=face, geometry=geometry), (a, b))  # noqa: E731
    mapped = jax.vmap(partial(native, face=face, geometry=geometry))
    return lax.platform_dependent(lhs, rhs, cpu=loop, default=mapped), 0


batching.primitive_batchers[conv_p] = _batch
mlir.register_lowering(conv_p, mlir.lower_fun(native, multiple_results=False))
mlir.register_lowering(conv_p, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
