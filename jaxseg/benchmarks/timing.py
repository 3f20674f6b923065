"""Timing of alternatives, interleaved, so that whatever else the machine does meets all of them alike."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax

#: Repetitions of an operation in one timed call: memory is then fresh once, as inside a train step, and not every time.
REPEATS = 4

#: Seconds after which a run that is very slow has no more turns.
PATIENCE = 60.0


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the shortest duration of every run, in seconds.

    A first round warms up. Each run then has ``rounds`` turns, or as many as fit in :data:`PATIENCE`, at least one. A turn is two
    calls, of which the second counts, as in training, where a step follows a step: memory and caches that another run has used
    in between cost the first of them up to twice its time, most in a virtual machine that gives idle memory back to its host.
    """
    best, spent = dict.fromkeys(runs, float("inf")), dict.fromkeys(runs, 0.0)
    for n in range(rounds + 1):
        for name, run in runs.items():
            if n > 1 and spent[name] > PATIENCE:
                continue
            jax.block_until_ready(run())
            start = time.perf_counter()
            jax.block_until_ready(run())
            if n:
                seconds = time.perf_counter() - start
                best[name], spent[name] = min(best[name], seconds), spent[name] + 2 * seconds
    return best


def repeated(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Compile :data:`REPEATS` calls of ``function``, one after the other, that XLA can neither merge nor hoist."""

    def body(_: int, state: tuple[Any, Any]) -> tuple[Any, Any]:
        out, args = state
        args = lax.optimization_barrier((args, out))[0]
        return function(*args), args

    def run(*args: Any) -> Any:
        blank = jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), jax.eval_shape(function, *args))
        return lax.fori_loop(0, REPEATS, body, (blank, args))[0]

    compiled = jax.jit(run).lower(*args).compile()
    return lambda: compiled(*args)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
