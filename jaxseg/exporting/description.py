"""What goes along with an artifact: a JSON file of the same name beside it.

Beside it and not inside, because the artifact is then exactly what ``jax.export.deserialize`` or an ONNX runtime reads, with no
container of ours around it, and the description can be read by people and by programs that read neither. Its checksum ties the
two together. (In an ONNX model it is also in ``metadata_props``, but for the checksum.)
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax

from jaxseg import checkpoint_files
from jaxseg.config import Config
from jaxseg.exporting.pipeline import DTYPES, Signature
from jaxseg.workdirs import write_json

#: What each output is, beside its shape.
MEANINGS = {
    "labels": "index of the most probable class of each pixel",
    "confidence": "probability of that class, 0 to 1",
    "probabilities": "probability of each class, 0 to 1",
    "logits": "score of each class before the softmax (before the sigmoid, if there is one)",
}


def describe(config: Config, signature: Signature, *, step: int, **more: Any) -> dict[str, Any]:
    """Return what somebody who has only the artifact must know.

    Args:
        config: of the run.
        signature: of the artifact.
        step: of the checkpoint.
        more: further entries, such as ``platforms``.
    """
    images = signature.dimensions("batch", "h", "w")
    classes = max(config.model.num_classes, 2)
    tail = {"labels": (), "confidence": (), "probabilities": (classes,), "logits": (config.model.num_classes,)}
    names, palette = config.predicted_names, config.predicted_palette
    return {
        "network": type(config.model).__name__,
        "checkpoint_step": step,
        "input": {
            "name": "images",
            "shape": list(images),
            "dtype": signature.dtype,
            "values": f"stored pixel values, {DTYPES[signature.dtype]}; normalised inside" + (", RGB" if images[3] == 3 else ""),
        },
        "outputs": {
            name: {
                "shape": [*images[:3], *tail[name]],
                "dtype": "uint8" if name == "labels" else "float32",
                "meaning": MEANINGS[name],
            }
            for name in signature.outputs
        },
        "classes": [{"index": i, "name": name, "colour": list(colour)} for i, (name, colour) in enumerate(zip(names, palette))],
        "normalise": {"mean": list(config.normalise.mean), "std": list(config.normalise.std), "of": "values scaled to 0 to 1"},
        "versions": {"jaxseg": checkpoint_files.version(), "jax": jax.__version__, "flax": flax.__version__},
        **more,
    }


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_description(path: Path, facts: Mapping[str, Any]) -> Path:
    """Write the description of an artifact beside it, and return where."""
    place = path.with_name(f"{path.name}.json")
    write_json(place, dict(facts))
    return place
