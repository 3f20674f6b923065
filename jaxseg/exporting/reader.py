"""Run an exported artifact on arrays, with JAX or onnxruntime alone.

A script that stands for the program of somebody who has the artifact and no jaxseg; ``export`` runs it in a process of its own:

    python -P reader.py model.stablehlo inputs.npz outputs.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def run_stablehlo(path: Path, batches: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return what a StableHLO artifact says of each batch of images."""
    import jax
    import jax.export

    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    network = jax.jit(exported.call)
    return [{name: np.asarray(value) for name, value in network(images).items()} for images in batches]


def run_onnx(path: Path, batches: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return what an ONNX artifact says of each batch of images, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    network = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in network.get_outputs()]
    return [dict(zip(names, network.run(names, {"images": images}))) for images in batches]


def main() -> None:
    """Read the paths of the artifact, of the batches, and of what is to be written."""
    sys.modules["jaxseg"] = None  # type: ignore[assignment]  # importing it fails from here on
    artifact, given, made = (Path(argument) for argument in sys.argv[1:])
    with np.load(given, allow_pickle=False) as archive:
        batches = [archive[f"arr_{n}"] for n in range(len(archive.files))]
    run = run_onnx if artifact.suffix == ".onnx" else run_stablehlo
    results = run(artifact, batches)
    arrays: dict[str, Any] = {f"{n}/{name}": value for n, result in enumerate(results) for name, value in result.items()}
    np.savez(made, **arrays)


if __name__ == "__main__":
    main()
