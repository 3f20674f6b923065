"""A written artifact against the predictor it was made of: run by a process without jaxseg, on images of the run's data."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Shaped

from jaxseg.config import Config
from jaxseg.data.augment import resize_image
from jaxseg.data.scene_drawing import MIN_SIZE, draw_scene
from jaxseg.errors import InputError
from jaxseg.exporting import reader
from jaxseg.exporting.pipeline import SIZE_MULTIPLE, Signature
from jaxseg.inference import Predictor

#: An artifact may differ from the predictor by so much.
TOLERANCE = 1e-4

#: Images that an artifact for any number of them is tried on together, besides one alone.
IMAGES = 3


def stored_images(config: Config, count: int) -> list[np.ndarray]:
    """Return the first images that the run is evaluated on, or none where its data cannot be read here."""
    try:
        split = config.data.split(config.eval_split)
        return [np.asarray(split[i]["image"]) for i in range(min(count, len(split)))]
    except (InputError, OSError):
        return []


def batches(signature: Signature, stored: Sequence[np.ndarray] = ()) -> list[Shaped[np.ndarray, "b h w c"]]:
    """Return batches that an artifact must agree on: of one and of several images if it takes any number, of two sizes if any.

    Args:
        signature: of the artifact.
        stored: images of any size, resized to what it takes; street scenes are drawn where they are too few.
    """
    counts = [1, IMAGES] if signature.batch is None else [signature.batch] * (2 if signature.size is None else 1)
    sizes = [(2 * SIZE_MULTIPLE, 3 * SIZE_MULTIPLE), (4 * SIZE_MULTIPLE, 4 * SIZE_MULTIPLE)] if signature.size is None else []
    sizes = sizes or [signature.size or (1, 1)] * len(counts)
    made = []
    for count, size in zip(counts, sizes, strict=True):
        some = [*stored[:count], *(_drawn(n, size, signature.channels) for n in range(len(stored), count))]
        made.append(np.stack([_cast(resize_image(image, size), signature.dtype) for image in some]))
    return made


def _drawn(seed: int, size: tuple[int, int], channels: int) -> np.ndarray:
    scene, _ = draw_scene(np.random.default_rng(seed), (max(size[0], MIN_SIZE), max(size[1], MIN_SIZE)))
    return scene[..., [n % 3 for n in range(channels)]]


def _cast(image: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored values of another dtype, the same part of its range."""
    if image.dtype == dtype:
        return image
    unit = image.astype(np.float64)
    if np.issubdtype(image.dtype, np.integer):
        unit = unit / np.iinfo(image.dtype).max
    if dtype == "float32":
        return unit.astype(np.float32)
    return np.round(np.clip(unit, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def run_alone(artifact: Path, given: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return what an artifact says of batches of images in a fresh process, in which jaxseg cannot be imported.

    Raises:
        InputError: if it cannot be run there, with the end of what that process printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        np.savez(inputs, *given)
        # Without -P Python would look for its own modules in the script's folder first.
        command = [sys.executable, "-P", str(Path(reader.__file__).resolve()), str(artifact), str(inputs), str(outputs)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu"}
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise InputError(f"The artifact was made, but cannot be run in a process of its own, and was not kept:\n{last}")
        with np.load(outputs, allow_pickle=False) as archive:
            names = sorted({name.partition("/")[2] for name in archive.files})
            return [{name: archive[f"{n}/{name}"] for name in names} for n in range(len(given))]


def difference(name: str, got: np.ndarray, logits: np.ndarray) -> float:
    """Return by how much one output differs from what the predictor's logits say.

    Probabilities and confidences differ by the largest absolute difference. So do logits, in units of their own largest absolute
    value where that is above 1. Of labels it is by how much the predictor's probability of the class falls short of that of its
    own choice: 0 where the classes are the same, and small where two classes are all but equally probable.
    """
    pair = logits if logits.shape[-1] > 1 else np.concatenate([np.zeros_like(logits), logits], axis=-1)
    if not np.isfinite(pair).all():  # compared with nothing, no output could differ from it
        return float("inf")
    expected = scipy.special.softmax(pair.astype(np.float64), axis=-1)
    best = expected.max(axis=-1)
    shapes = {"labels": best.shape, "confidence": best.shape, "probabilities": expected.shape, "logits": logits.shape}
    if got.shape != shapes[name]:
        return float("inf")
    if name == "labels":
        chosen = np.take_along_axis(expected, np.minimum(got, expected.shape[-1] - 1)[..., None].astype(np.int64), axis=-1)
        return float(np.max(best - chosen[..., 0])) if got.max() < expected.shape[-1] else 1.0
    want = {"confidence": best, "probabilities": expected, "logits": logits}[name]
    unit = max(float(np.abs(logits).max()), 1.0) if name == "logits" else 1.0
    found = np.abs(got.astype(np.float64) - want).max() / unit
    return float(found) if np.isfinite(found) else float("inf")


def compare(artifact: Path, predictor: Predictor, given: Sequence[np.ndarray], outputs: Sequence[str]) -> Mapping[str, Any]:
    """Run an artifact in a process of its own, and compare it with the predictor.

    Args:
        artifact: ``*.stablehlo`` or ``*.onnx``.
        predictor: that it was made of.
        given: batches of images.
        outputs: what it must return, and nothing else.

    Returns:
        ``images``, how many were compared; ``differences``, the largest of each output, see :func:`difference`; ``tolerance``.

    Raises:
        InputError: where one of them is above :data:`TOLERANCE`, or the artifact returns other arrays.
    """
    found: dict[str, float] = {}
    for batch, result in zip(given, run_alone(artifact, given), strict=True):
        logits = predictor.logits(batch)
        if set(result) != set(outputs):
            raise InputError(f"The artifact was made, but returns {sorted(result)} for {sorted(outputs)}, and it was not kept.")
        for name, value in result.items():
            found[name] = max(found.get(name, 0.0), difference(name, value, logits))
    worst = max(found, key=lambda name: found[name])
    if found[worst] > TOLERANCE:
        raise InputError(
            f"The artifact was made, but its {worst} differ from the predictor's by {found[worst]:.1e}, above {TOLERANCE:.0e}, "
            "and it was not kept. Try another --format, or --size and --batch that are given."
        )
    return {"images": sum(map(len, given)), "differences": found, "tolerance": TOLERANCE}
