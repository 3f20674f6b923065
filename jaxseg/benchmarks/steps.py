"""Whole train steps: time, compile time and memory."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.benchmarks import networks
from jaxseg.benchmarks.bricks import Jaxseg, Lax
from jaxseg.benchmarks.timing import interleaved

BATCH, SIDE = 2, 256


class Compiled:
    """A compiled train step that carries its own state."""

    def __init__(self, name: str, bricks: Jaxseg, image: np.ndarray, labels: np.ndarray) -> None:
        self.params = networks.initial(name, jnp.asarray(image))
        self.momenta = [jnp.zeros_like(p) for p in self.params]
        self.batch = (jnp.asarray(image), jnp.asarray(labels))
        start = time.perf_counter()
        step = jax.jit(networks.train_step(name, bricks), donate_argnums=(0, 1))
        self.step = step.lower(self.params, self.momenta, *self.batch).compile()
        self.compile_seconds = time.perf_counter() - start
        sizes = self.step.memory_analysis()
        assert sizes is not None
        arrays = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        self.megabytes = (sizes.temp_size_in_bytes + arrays) / 1e6

    def __call__(self) -> Any:
        """Make one step and return the loss."""
        self.params, self.momenta, loss = self.step(self.params, self.momenta, *self.batch)
        return loss


def measure(name: str, rounds: int, with_lax: bool, with_torch: bool) -> dict[str, Any]:
    """Return the row of a network."""
    draw = np.random.default_rng(0)
    image = draw.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
    labels = draw.integers(0, networks.CLASSES, (BATCH, SIDE, SIDE)).astype(np.int32)
    compiled = {"jaxseg": Compiled(name, Jaxseg(), image, labels)}
    if with_lax:
        compiled["lax"] = Compiled(name, Lax(), image, labels)
    runs: dict[str, Callable[[], Any]] = dict(compiled)
    if with_torch:
        from jaxseg.benchmarks import torch_networks

        runs["torch"] = torch_networks.train_step(name, image, labels, channels_last=False)
        runs["torch_channels_last"] = torch_networks.train_step(name, image, labels, channels_last=True)
    seconds = interleaved(runs, rounds)
    row: dict[str, Any] = {"name": name, **{f"{key}_ms": 1e3 * value for key, value in seconds.items()}}
    for key, step in compiled.items():
        row |= {f"{key}_compile_s": step.compile_seconds, f"{key}_mb": step.megabytes}
    return row


def rows(rounds: int, only: str | None, with_lax: bool, with_torch: bool) -> Iterator[dict[str, Any]]:
    """Measure every network whose name contains ``only``."""
    jax.jit(jnp.square).lower(jnp.zeros(1)).compile()  # the first compilation of a process starts the compiler as well
    for name in networks.NETWORKS:
        if only is None or only in name:
            yield measure(name, rounds, with_lax, with_torch)
