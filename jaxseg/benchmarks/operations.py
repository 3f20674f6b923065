"""Single operations at the shapes that the networks use: forwards and every gradient."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxseg.benchmarks.bricks import Jaxseg, Lax
from jaxseg.benchmarks.timing import REPEATS, interleaved, repeated

BATCH = 2


@dataclass(frozen=True)
class Case:
    """An operation at a shape.

    Attributes:
        name: What the table says.
        shapes: Of its arguments; the first is a feature map.
        run: The operation, given :class:`Jaxseg` or :class:`Lax`.
        torch: Its name in :mod:`jaxseg.benchmarks.torch_operations`, with options.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[..., Array]
    torch: tuple[str, dict[str, Any]]


def _conv(side: int, c: int, o: int, k: int = 3, s: int = 1, r: int = 1, groups: int = 1) -> Case:
    padding = r * (k - 1) // 2
    kind = "depthwise" if groups > 1 else "conv"
    name = f"{kind} {k}x{k} {c}->{o} @{side}" + (f" stride {s}" if s > 1 else "") + (f" rate {r}" if r > 1 else "")
    return Case(
        name,
        ((BATCH, side, side, c), (k, k, c // groups, o)),
        lambda bricks, x, kernel: bricks.conv(x, kernel, s, padding, r, groups),
        ("conv2d", {"stride": s, "padding": padding, "dilation": r, "groups": groups}),
    )


def _up(side: int, c: int, o: int, k: int, s: int) -> Case:
    padding = (k - s) // 2
    return Case(
        f"transposed {k}x{k} stride {s} {c}->{o} @{side}",
        ((BATCH, side, side, c), (k, k, c, o)),
        lambda bricks, x, kernel: bricks.conv_transpose(x, kernel, s, padding),
        ("conv_transpose2d", {"stride": s, "padding": padding}),
    )


def _pool(side: int, c: int, k: int, s: int, p: int) -> Case:
    return Case(
        f"max pool {k}x{k} stride {s}, {c} @{side}",
        ((BATCH, side, side, c),),
        lambda bricks, x: bricks.max_pool(x, k, s, p),
        ("max_pool2d", {"kernel_size": k, "stride": s, "padding": p}),
    )


def _unpool(bricks: Jaxseg, x: Array) -> Array:
    values, indices = bricks.pool_with_argmax(x)
    return bricks.unpool(values, indices, (x.shape[1], x.shape[2]))


def _resize(side: int, c: int, size: int) -> Case:
    return Case(
        f"bilinear x{size // side}, {c} @{side}",
        ((BATCH, side, side, c),),
        lambda bricks, x: bricks.resize(x, (size, size)),
        ("interpolate", {"size": (size, size), "mode": "bilinear", "align_corners": False}),
    )


CASES = (
    _conv(256, 3, 64),
    _conv(256, 64, 64),
    _conv(256, 128, 64),
    _conv(128, 64, 128),
    _conv(128, 128, 128),
    _conv(64, 256, 256),
    _conv(32, 512, 512),
    _conv(16, 1024, 1024),
    _conv(256, 3, 64, 7, 2),
    _conv(64, 128, 128, 3, 2),
    _conv(32, 256, 256, r=2),
    _conv(32, 512, 512, r=4),
    _conv(32, 2048, 256, r=12),
    _conv(32, 512, 2048, 1),
    _conv(32, 2048, 512, 1),
    _conv(64, 256, 512, 1, 2),
    _conv(64, 256, 256, groups=256),
    _conv(32, 2048, 2048, r=12, groups=2048),
    _up(16, 1024, 512, 2, 2),
    _up(128, 128, 64, 2, 2),
    _up(64, 256, 128, 4, 2),
    _up(32, 21, 21, 16, 8),
    _up(8, 21, 21, 64, 32),
    _pool(256, 64, 2, 2, 0),
    _pool(128, 64, 3, 2, 1),
    Case("pool with indices, unpool, 64 @256", ((BATCH, 256, 256, 64),), _unpool, ("pool_unpool", {})),
    _resize(32, 21, 256),
    _resize(16, 256, 64),
)


def _arguments(case: Case) -> tuple[list[Array], Array]:
    draw = np.random.default_rng(0)
    args = [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in case.shapes]
    out = jax.eval_shape(partial(case.run, Jaxseg()), *args)
    return args, jnp.asarray(draw.normal(size=out.shape), jnp.float32)


def _parts(case: Case, bricks: Jaxseg, args: list[Array], g: Array) -> dict[str, Callable[[], Any]]:
    """Return the forward pass and the gradient to each argument, each by itself."""
    names = ("dx", "dk")[: len(args)]

    def forward(*args: Array) -> Array:
        with bricks.tracing():
            return case.run(bricks, *args)

    def backward(n: int, g: Array, *args: Array) -> Array:
        return jax.vjp(lambda v: forward(*args[:n], v, *args[n + 1 :]), args[n])[1](g)[0]

    runs = {"forward": repeated(forward, *args)}
    for n, name in enumerate(names):
        runs[name] = repeated(partial(backward, n), g, *args)
    return runs


def measure(case: Case, rounds: int, with_lax: bool, with_torch: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for the forward pass and for each gradient of an operation."""
    args, g = _arguments(case)
    columns = {"jaxseg": _parts(case, Jaxseg(), args, g)}
    if with_lax:
        columns["lax"] = _parts(case, Lax(), args, g)
    if with_torch:
        from jaxseg.benchmarks import torch_operations

        for key, channels_last in (("torch", False), ("torch_channels_last", True)):
            columns[key] = torch_operations.parts(case.torch, args, g, channels_last)
    for part in columns["jaxseg"]:
        seconds = interleaved({key: runs[part] for key, runs in columns.items()}, rounds)
        yield {"name": f"{case.name}, {part}", **{f"{key}_ms": 1e3 * value / REPEATS for key, value in seconds.items()}}


def rows(rounds: int, only: str | None, with_lax: bool, with_torch: bool) -> Iterator[dict[str, Any]]:
    """Measure every operation whose name contains ``only``."""
    for case in CASES:
        if only is None or only in case.name:
            yield from measure(case, rounds, with_lax, with_torch)
