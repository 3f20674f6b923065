"""The dense CRF on one image and on several, beside pydensecrf where it is installed."""

import concurrent.futures
import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg import crf
from jaxseg.benchmarks.timing import cores, interleaved
from jaxseg.crf import SETS
from jaxseg.data.decode import decode_image
from jaxseg.errors import InputError

HEIGHT, WIDTH, CLASSES, BATCH = 360, 480, 11, 8

#: What a process of pydensecrf works on; set once when it starts.
_pairs: list[tuple[np.ndarray, np.ndarray]] = []


def pictures(folder: Path | None, count: int) -> list[np.ndarray]:
    """Return images of 480 x 360: from a folder such as CamVid's, searched whole, or drawn ones with a camera's noise.

    Raises:
        InputError: for a folder without so many.
    """
    if folder is None:
        return [_drawn(seed) for seed in range(count)]
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg") and not p.parent.name.endswith("annot"))
    images = [decode_image(p, num_channels=3, name=str(p)) for p in files[:: max(len(files) // count, 1)][:count]]
    if len(images) < count or any(image.shape != (HEIGHT, WIDTH, 3) for image in images):
        raise InputError(f"--images {folder}: {count} images of {WIDTH} x {HEIGHT} are needed, such as CamVid's.")
    return images


def _drawn(seed: int) -> np.ndarray:
    """Return flat patches under uneven light, with noise: about as many colours as a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centres = rng.uniform((0, 0), (HEIGHT, WIDTH), (60, 2))
    nearest = np.argmin((y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2, axis=-1)
    light = 20 * np.sin(x / 40 + seed)[..., None] + 15 * np.cos(y / 30)[..., None]
    return (rng.uniform(40, 200, (60, 3))[nearest] + light + rng.normal(0, 4, (HEIGHT, WIDTH, 3))).clip(0, 255).astype(np.uint8)


def _unary(seed: int) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), HEIGHT * WIDTH)
    return -np.log(p + 1e-6).astype(np.float32).reshape(HEIGHT, WIDTH, CLASSES)


def _ours(index: int) -> np.ndarray:
    marginals = crf.mean_field(*_pairs[index], **SETS["deeplab-v1"].arguments())
    return np.asarray(marginals).argmax(axis=-1).astype(np.uint8)


def _theirs(index: int) -> np.ndarray:
    from pydensecrf import densecrf

    (unary, image), given = _pairs[index], SETS["deeplab-v1"]
    field = densecrf.DenseCRF2D(WIDTH, HEIGHT, CLASSES)
    field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(-1, CLASSES).T))
    field.addPairwiseGaussian(sxy=given.sigma_gamma, compat=given.w2)
    field.addPairwiseBilateral(sxy=given.sigma_alpha, srgb=given.sigma_beta, rgbim=np.ascontiguousarray(image), compat=given.w1)
    return np.asarray(field.inference(given.iterations)).argmax(axis=0).astype(np.uint8).reshape(HEIGHT, WIDTH)


def _start(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    _pairs[:] = pairs


def _all(run: Callable[[int], Any], pool: concurrent.futures.Executor) -> list[Any]:
    return list(pool.map(run, range(BATCH)))


def rows(
    rounds: int, only: str | None, with_lax: bool, with_torch: bool, *, folder: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Measure one image, and a batch of images side by side: jaxseg's in threads, pydensecrf's in processes, one for each core.

    ``agree`` is the share of the pixels of the first image that both give the same label.
    """
    del with_lax, with_torch
    with_theirs = importlib.util.find_spec("pydensecrf") is not None
    _start([(_unary(i), image) for i, image in enumerate(pictures(folder, BATCH))])
    number = cores()
    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ThreadPoolExecutor(number) as threads,
        concurrent.futures.ProcessPoolExecutor(number, spawn, _start, (_pairs,)) as processes,
    ):
        cases: dict[str, tuple[dict[str, Callable[[], Any]], int]] = {
            "one image": ({"jaxseg": lambda: _ours(0), "pydensecrf": lambda: _theirs(0)}, 1),
            f"batch of {BATCH}": (
                {"jaxseg": lambda: _all(_ours, threads), "pydensecrf": lambda: _all(_theirs, processes)},
                BATCH,
            ),
        }
        for name, (runs, images) in cases.items():
            if only is None or only in name:
                kept = runs if with_theirs else {"jaxseg": runs["jaxseg"]}
                seconds = {key: value / images for key, value in interleaved(kept, rounds).items()}
                ratio = seconds["jaxseg"] / seconds["pydensecrf"] if with_theirs else None
                agree = float((_ours(0) == _theirs(0)).mean()) if with_theirs else None
                times = {f"{key}_ms": 1e3 * value for key, value in seconds.items()}
                yield {"name": name, "ratio_pydensecrf": ratio, **times, "agree": agree}
