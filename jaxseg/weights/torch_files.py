"""PyTorch's ``.pth``, ``.pt`` and ``.bin`` files, read with NumPy alone and without running what is pickled in them.

Such a file is a pickle, which may name any function of the machine and have it called, and the raw storages of its tensors. Here
a name is answered from a fixed list, of PyTorch's tensors and plain containers, or refused: nothing is imported, and no code but
this module's runs. Both forms are read: the zip archive, and what PyTorch wrote before 1.6, pickles and storages in a row.
"""

import collections
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxseg.errors import InputError

#: What the old form starts with, as a pickled number.
MAGIC = 0x1950A86A20F9469CFC6C

#: The dtype that a storage class, or ``torch.dtype``, stands for.
DTYPES: dict[str, Any] = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}

#: Classes of records beside the tensors that published files hold: read as empty things, which the caller passes over.
PASSED_OVER = (
    ("argparse", "Namespace"),
    ("torch", "device"),
    ("torch", "Size"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("mmengine.logging.history_buffer", "HistoryBuffer"),
    ("pathlib", "PosixPath"),
)


class Storage(NamedTuple):
    """Flat values, of which tensors are views."""

    values: np.ndarray


class Nothing:
    """Stands where a record stood that holds no weights; takes any arguments and any state."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read(path: Path) -> Any:
    """Return what the file holds: mostly a mapping, tensors as arrays, records that hold no weights as :class:`Nothing`.

    Raises:
        InputError: for a file that is damaged or of another kind, or one that names what is not on the list.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            return _read_row(path, file)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(f"{path} cannot be read as a file of PyTorch ({error}). Is it damaged, or of another kind?") from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1 or any("/code/" in name for name in archive.namelist()):
            raise InputError(
                f"{path} is a zip archive, but no state dict of PyTorch. A TorchScript file must be saved anew as one."
            )
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise InputError(
                f"{path} is compressed, which torch.save never does, and could unpack to any size. Save it anew as safetensors."
            )
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise InputError(f"{path} was written on a big-endian machine: save it anew as safetensors.")
        kept: dict[str, Storage] = {}

        def fetch(kind: Any, key: str, count: int) -> Storage:
            if key not in kept:
                kept[key] = Storage(np.frombuffer(archive.read(f"{folder}data/{key}"), kind, count))
            return kept[key]

        return _Unpickler(io.BytesIO(archive.read(found[0])), path, fetch).load()


def _read_row(path: Path, file: Any) -> Any:
    """Read the form before 1.6: magic number, protocol, system, the pickle, the storages' keys, then the storages."""
    wanted: dict[str, tuple[Any, int, Storage]] = {}

    def fetch(kind: Any, key: str, count: int) -> Storage:
        if not 0 <= count * kind.itemsize <= path.stat().st_size:
            raise InputError(f"{path} names a storage of {count} values, more than the whole file holds. Is it damaged?")
        if key not in wanted:
            wanted[key] = (kind, count, Storage(np.zeros(count, kind)))
        return wanted[key][2]

    def unpickle() -> Any:
        return _Unpickler(file, path, fetch).load()

    if unpickle() != MAGIC:
        raise InputError(f"{path} is no file of PyTorch. Known: .safetensors, .npz, and .pth, .pt or .bin that torch.save wrote.")
    unpickle(), unpickle()
    tree = unpickle()
    for key in unpickle():
        kind, count, storage = wanted[key]
        if int(np.fromfile(file, "<i8", 1)[0]) != count:
            raise InputError(f"{path}: storage {key} has another length than its tensors need. Is the file damaged?")
        storage.values[:] = np.fromfile(file, kind, count)
    return tree


class _Unpickler(pickle.Unpickler):
    """Builds tensors as arrays and refuses every name that is not on the lists."""

    def __init__(self, file: Any, path: Path, fetch: Callable[[Any, str, int], Storage]) -> None:
        super().__init__(file)
        self._path, self._fetch = path, fetch

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in BUILDERS:
            return BUILDERS[name]
        if (module, name) in PASSED_OVER:
            return Nothing
        kind = name.removesuffix("Storage")
        if module == "torch" and name != kind and kind in DTYPES:
            return np.dtype(DTYPES[kind])
        raise InputError(
            f"{self._path} holds the Python object {module}.{name}, which is no tensor, and pickled code is not run here. If you "
            "trust the file, load it with PyTorch and save its state_dict() alone, best as safetensors."
        )

    def persistent_load(self, record: Any) -> Storage:
        what, kind, key, _, count = record[:5]
        if what != "storage" or not isinstance(kind, np.dtype) or (len(record) > 5 and record[5] is not None):
            raise InputError(f"{self._path} holds storages of a form that is not known. Save it anew as safetensors.")
        return self._fetch(kind, str(key), int(count))


def _tensor(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> np.ndarray:
    """Return the view of a storage that a tensor is; one that leaves its storage is refused."""
    flat = storage.values
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if min(size, default=1) < 1:
        return np.zeros(size, flat.dtype)
    if offset < 0 or min(stride, default=0) < 0 or last >= flat.size:
        raise InputError(
            f"A tensor of shape {tuple(size)} lies outside of its storage of {flat.size} values: the file is damaged."
        )
    steps = tuple(s * flat.itemsize for s in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], tuple(size), steps, writeable=False)


def _parameter(data: np.ndarray, *_: object) -> np.ndarray:
    return data


BUILDERS: Mapping[str, Callable[..., np.ndarray]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_parameter": _parameter,
}
