"""The operations of the benchmark in PyTorch, for those who have it installed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from jaxseg.benchmarks.timing import REPEATS


def _pool_unpool(x: torch.Tensor) -> torch.Tensor:
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(values, indices, 2, output_size=x.shape[2:])


def parts(call: tuple[str, dict[str, Any]], args: Sequence[Any], g: Any, channels_last: bool) -> dict[str, Callable[[], None]]:
    """Return the forward pass and the gradient to each argument, each by itself, as often as JAX repeats them.

    A gradient is the time of the backward pass alone: the forward pass is done beforehand, and its graph kept.
    """
    name, options = call
    function = _pool_unpool if name == "pool_unpool" else getattr(F, name)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    axes = [(0, 3, 1, 2), (2, 3, 0, 1) if name == "conv_transpose2d" else (3, 2, 0, 1)]
    tensors = [torch.tensor(np.array(a)).permute(p).contiguous(memory_format=layout) for a, p in zip(args, axes)]
    cotangent = torch.tensor(np.array(g)).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(REPEATS):
                function(*tensors, **options)

    def backward(n: int) -> Callable[[], None]:
        leaves = [t.clone().requires_grad_(k == n) for k, t in enumerate(tensors)]
        out = function(*leaves, **options)

        def run() -> None:
            for _ in range(REPEATS):
                torch.autograd.grad(out, leaves[n], cotangent, retain_graph=True)

        return run

    return {"forward": forward} | {name: backward(n) for n, name in enumerate(("dx", "dk")[: len(tensors)])}
