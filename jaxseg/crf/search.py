"""Search for the CRF's parameters on validation images, from coarse to fine, as the papers did.

DeepLab v1 (https://arxiv.org/abs/1412.7062) fixes the spatial kernel and searches the weight and the standard
deviations of the bilateral one on 100 images, first on a coarse grid, then on finer ones around the best.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.crf.kernels import build_kernel, default_filter
from jaxseg.crf.mean_field import iterate
from jaxseg.crf.parameters import Parameters
from jaxseg.crf.separable import Separable
from jaxseg.errors import InputError
from jaxseg.metrics import ConfusionMatrix

#: Values of the first round.
GRID = {"w1": (3.0, 5.0, 8.0), "sigma_alpha": (30.0, 50.0, 80.0), "sigma_beta": (3.0, 5.0, 9.0)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One validation image.

    Attributes:
        unary: energies ``(h, w, k)``.
        image: in 8-bit units ``(h, w, c)``.
        label: class indices or VOID ``(h, w)``.
    """

    unary: Any
    image: Any
    label: Any


_add = jax.jit(lambda matrix, energy, label: matrix.update(jnp.argmin(energy, axis=-1)[None].astype(jnp.uint8), label[None]))


def scores(cases: Iterable[Case], candidates: Sequence[Parameters], num_classes: int) -> list[float]:
    """Return the mIoU of each candidate over all images; images and lattices are gone through once.

    Args:
        cases: the images.
        candidates: which must have one spatial kernel, one number of iterations and one normalisation.
        num_classes: of the labels.
    """
    matrices = [ConfusionMatrix.empty(num_classes) for _ in candidates]
    first = candidates[0]
    by_lattice: dict[tuple[float, float], list[int]] = {}
    for i, candidate in enumerate(candidates):
        by_lattice.setdefault((candidate.sigma_alpha, candidate.sigma_beta), []).append(i)
    for case in cases:
        colours, label, unary = (
            jnp.asarray(case.image, jnp.float32),
            jnp.asarray(case.label),
            jnp.asarray(case.unary, jnp.float32),
        )
        options = {"normalisation": first.normalisation}
        spatial = build_kernel(colours[..., :0], first.sigma_gamma, None, filter=Separable(), **options)
        for (sigma_alpha, sigma_beta), members in by_lattice.items():
            kernel = build_kernel(colours / sigma_beta, sigma_alpha, None, filter=default_filter(first.normalisation), **options)
            for i in members:
                weights = (jnp.float32(-candidates[i].w1), jnp.float32(-candidates[i].w2))
                energy = iterate(unary, (kernel, spatial), weights, iterations=first.iterations)
                matrices[i] = _add(matrices[i], energy, label)
    return [_miou(matrix) for matrix in matrices]


def refined(grid: dict[str, tuple[float, ...]], best: Parameters) -> dict[str, tuple[float, ...]]:
    """Return a finer grid: the best value of each parameter, and half-way from it to its neighbours."""
    finer = {}
    for name, values in grid.items():
        at, given = getattr(best, name), sorted(values)
        near = [
            x for x in (max((v for v in given if v < at), default=None), min((v for v in given if v > at), default=None)) if x
        ]
        finer[name] = tuple(sorted({at, *(round((at + x) / 2, 3) for x in near)}))
    return finer


def search(
    cases: Sequence[Case],
    num_classes: int,
    *,
    start: Parameters,
    grid: dict[str, tuple[float, ...]],
    rounds: int = 2,
    say: Callable[[str], None] = lambda _: None,
) -> dict[Parameters, float]:
    """Return the mIoU of every candidate, best first.

    Args:
        cases: validation images.
        num_classes: of the labels.
        start: gives what is not searched.
        grid: values of ``w1``, ``sigma_alpha`` and ``sigma_beta`` in the first round.
        rounds: the first, and finer ones around the best.
        say: is told of each round.

    Raises:
        InputError: without an image or a round.
    """
    if not cases or rounds < 1:
        raise InputError(f"{len(cases)} images and {rounds} rounds: a search needs at least one of each.")
    found: dict[Parameters, float] = {}
    for number in range(1, rounds + 1):
        combinations: list[dict[str, Any]] = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
        candidates = [c for c in (dataclasses.replace(start, **changes) for changes in combinations) if c not in found]
        if candidates:
            say(f"round {number}: {len(candidates)} candidates on {len(cases)} images")
            found.update(zip(candidates, scores(cases, candidates, num_classes)))
        best = max(found, key=lambda c: found[c])
        say(f"round {number}: best {best}, mIoU {100 * found[best]:.2f}")
        grid = refined(grid, best)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def plain_score(cases: Iterable[Case], num_classes: int) -> float:
    """Return the mIoU of the unary alone."""
    matrix = ConfusionMatrix.empty(num_classes)
    for case in cases:
        matrix = _add(matrix, jnp.asarray(case.unary), jnp.asarray(case.label))
    return _miou(matrix)


def _miou(matrix: ConfusionMatrix) -> float:
    return float(np.asarray(matrix.scores()["miou"]))


def values(text: str) -> tuple[float, ...]:
    """Return the numbers of a list such as ``3,5,8``, which must be positive."""
    numbers = tuple(float(part) for part in text.split(","))
    if not np.all(np.asarray(numbers) > 0):
        raise ValueError(f"{text} has values that are not positive")
    return numbers
