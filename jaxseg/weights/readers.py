"""Files of weights, read into arrays by name: ``.safetensors``, ``.npz``, PyTorch's, in one piece or sharded."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  (makes NumPy know bfloat16, which safetensors asks it for)
import numpy as np
import safetensors

from jaxseg.errors import InputError
from jaxseg.weights import torch_files

#: Endings, and files that a folder of the Hub may hold, best first.
ENDINGS = (".safetensors", ".npz", ".pth", ".pt", ".ckpt", ".bin", ".index.json")
IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "weights.npz",
)

#: Where a training program's checkpoint keeps the network, best first: averaged weights before the last ones. MMEngine's EMAHook
#: exchanges the two when it saves, so that ``ema_state_dict`` holds the last ones and ``state_dict`` the average.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "ema_state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
)

#: What data parallelism, compilation, Lightning or a network around it put before every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")

#: What stands beside the network in an average of weights (its counters) or a Lightning module (the colours' statistics).
NO_WEIGHTS = ("n_averaged", "steps", "mean", "std")


class File(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: by the names of the network that they were saved from.
        metadata: text by name, of safetensors; else empty.
        path: of the file, whose folder may hold a ``config.json``.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    path: Path


def is_weights(path: Path) -> bool:
    """Say whether the path is named as a file of weights, or is a folder that holds one."""
    return path.name.endswith(ENDINGS) or any((path / name).is_file() for name in IN_A_FOLDER)


def read(path: Path) -> File:
    """Read a file, a folder that holds one, or all shards that an index lists.

    Raises:
        InputError: for what is not there, of an unknown kind, damaged, or holds no arrays.
    """
    path = path.expanduser()
    if path.is_dir():
        inside = [path / name for name in IN_A_FOLDER if (path / name).is_file()]
        if not inside:
            raise InputError(f"{path} is a folder without weights: there is none of {', '.join(IN_A_FOLDER)} in it.")
        path = inside[0]
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    metadata: dict[str, str] = {}
    if path.name.endswith(".index.json"):
        tree: Any = _read_shards(path)
    elif path.suffix == ".safetensors":
        tree, metadata = _read_safetensors(path)
    elif path.suffix == ".npz":
        tree = _read_npz(path)
    elif path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
        tree = torch_files.read(path)
    else:
        raise InputError(f"{path} is of no known kind: it must end in {', '.join(ENDINGS)}.")
    arrays = without_prefix(_arrays(unwrap(tree)))
    if not arrays:
        raise InputError(f"{path} holds no arrays under names.")
    return File(arrays, metadata, path)


def unwrap(tree: Any) -> Any:
    """Return the network's own arrays out of a training program's checkpoint."""
    while isinstance(tree, Mapping):
        inside = [tree[name] for name in WRAPPERS if isinstance(tree.get(name), Mapping) and tree[name]]
        if not inside:
            break
        tree = inside[0]
    return tree


def without_prefix(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take away what training programs put before every name, and what they put beside the network."""
    arrays = {name: value for name, value in arrays.items() if name not in NO_WEIGHTS}
    found = next((p for p in PREFIXES if arrays and all(name.startswith(p) for name in arrays)), None)
    if found is None:
        return arrays
    return without_prefix({name.removeprefix(found): value for name, value in arrays.items()})


def _arrays(tree: Any) -> dict[str, np.ndarray]:
    """Keep what is an array under a name; epochs, optimizers and settings are passed over."""
    items = tree.items() if isinstance(tree, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, np.ndarray)}


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safetensors.safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}). Is it damaged?") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as .npz ({error}). Pickled objects in it are not read.") from error


def _read_shards(path: Path) -> dict[str, np.ndarray]:
    try:
        shards = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no index of shards: it must have a weight_map.") from error
    outside = [name for name in shards if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise InputError(f"{path} names shards outside of its folder: {', '.join(map(str, outside))}.")
    missing = [name for name in shards if not (path.parent / name).is_file()]
    if missing:
        raise InputError(f"{path} lists shards that are not beside it: {', '.join(missing)}.")
    arrays: dict[str, np.ndarray] = {}
    for name in shards:
        part = _read_safetensors(path.parent / name)[0] if name.endswith(".safetensors") else torch_files.read(path.parent / name)
        arrays.update(_arrays(part))
    return arrays
