"""Our variables into safetensors, under our names or those of a source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree
from safetensors.numpy import save_file

from jaxseg.errors import InputError, did_you_mean
from jaxseg.ops.normalise import Normalise
from jaxseg.weights import table
from jaxseg.weights.matching import flat, layers
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.sources import FORMATS

OWN = "jaxseg"


def save(
    variables: Mapping[str, PyTree],
    path: str | Path,
    *,
    model: Any = None,
    source: str = OWN,
    normalise: Normalise | None = None,
    crop_size: tuple[int, int] | None = None,
) -> None:
    """Save a network's weights as safetensors.

    With ``source="torchvision"`` the names and layouts are those of torchvision, whose network then takes the file with
    ``load_state_dict(safetensors.torch.load_file(path))``. Where ours has no layer that theirs has (ResNet's ImageNet classifier)
    give it ``strict=False``, or take the layer out.

    Args:
        variables: ``params`` and, where the network has them, ``batch_stats``.
        path: ends in ``.safetensors``.
        model: the network, for the names of a source.
        source: ``"jaxseg"`` for our own names, or a library that has the network.
        normalise: that the network was trained with; it goes into the file's metadata.
        crop_size: likewise.

    Raises:
        InputError: for another ending, a folder that is not there, an unknown source, a network that it has not, or one of whose
            layers it has no names for.
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: weights are saved as safetensors, and the name must end in .safetensors.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}. Create it first.")
    own = {name: np.asarray(value) for name, value in flat(variables).items()}
    arrays = own if source == OWN else _named(own, model, source)
    metadata = {"format": "pt" if source != OWN else OWN, "source": source}
    if normalise is not None:
        metadata |= Preprocessing(normalise, crop_size=crop_size).metadata()
    save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, path, metadata)


def _named(own: dict[str, np.ndarray], model: Any, source: str) -> dict[str, np.ndarray]:
    known = sorted({name for kind in FORMATS for name in kind.sources})
    if source not in known:
        raise InputError(f"source={source!r} is not known.{did_you_mean(source, [OWN, *known])}")
    if model is None:
        raise InputError(f"source={source!r} needs the network too, for its names: give model=.")
    kind = next((kind for kind in FORMATS if source in kind.sources and type(model) in kind.tables), None)
    if kind is None:
        has = ", ".join(sorted({k.__name__ for kind in FORMATS if source in kind.sources for k in kind.tables}))
        raise InputError(f"{source} has no {type(model).__name__}. It has {has}; source={OWN!r} saves any network.")
    arrays, left = table.save(kind.tables[type(model)](model, ()), own)
    if left:
        raise InputError(
            f"{kind.title} has no layers {', '.join(layers(left)[:5])}: this {type(model).__name__} is no network of {source}. "
            f"source={OWN!r} saves any."
        )
    counters = {name.replace("running_mean", "num_batches_tracked"): np.int64(0) for name in arrays if "running_mean" in name}
    return {**arrays, **{name: np.asarray(zero) for name, zero in counters.items()}, **kind.constants(model)}
