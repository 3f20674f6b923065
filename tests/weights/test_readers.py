import collections
import io
import json
import os
import pathlib
import pickle
import struct
import zipfile
from typing import ClassVar

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxseg.errors import InputError
from jaxseg.weights import readers, torch_files

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.array([1.5, -2.0], np.float16)}


class Global:
    """Pickled as a name of a module, which PyTorch's files are full of."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class TorchPickler(pickle._Pickler):
    """Writes what torch.save writes: tensors as calls of named functions, storages by their keys."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_global_named(self, obj):
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[Global] = save_global_named

    def persistent_id(self, obj):
        return obj.record if isinstance(obj, Stored) else None


class Stored:
    def __init__(self, *record):
        self.record = record


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def save_call(pickler, obj):
    pickler.save(obj.function)
    pickler.save(obj.args)
    pickler.write(pickle.REDUCE)


TorchPickler.dispatch[Call] = save_call


def tensor(storage, offset, size, stride):
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), storage, offset, size, stride, False, collections.OrderedDict())


def pickled(tree):
    buffer = io.BytesIO()
    TorchPickler(buffer, protocol=2).dump(tree)
    return buffer.getvalue()


def write_zip(path, tree, storages, byteorder=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled(tree))
        archive.writestr("x/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"x/data/{key}", values.tobytes())


def stored(key, kind, count):
    return Stored("storage", Global("torch", f"{kind}Storage"), key, "cpu", count)


def test_zip_with_views_parameters_and_records(tmp_path):
    flat = np.arange(12, dtype=np.float32)
    half = np.array([1.0, -2.5], ml_dtypes.bfloat16)
    tree = {
        "epoch": 3,
        "args": Call(Global("argparse", "Namespace")),
        "model": {
            "module.turned": tensor(stored("0", "Float", 12), 2, (2, 3), (1, 3)),
            "module.parameter": Call(
                Global("torch._utils", "_rebuild_parameter"), tensor(stored("0", "Float", 12), 0, (4,), (1,)), True, {}
            ),
            "module.half": tensor(stored("1", "BFloat16", 2), 0, (2,), (1,)),
            "module.scalar": tensor(stored("2", "Long", 1), 0, (), ()),
        },
    }
    write_zip(tmp_path / "x.pth", tree, {"0": flat, "1": half, "2": np.array([7])})
    arrays = readers.read(tmp_path / "x.pth").arrays
    np.testing.assert_array_equal(arrays["turned"], [[2, 5, 8], [3, 6, 9]])
    np.testing.assert_array_equal(arrays["parameter"], [0, 1, 2, 3])
    np.testing.assert_array_equal(arrays["half"].astype(np.float32), [1.0, -2.5])
    assert arrays["scalar"] == 7
    assert arrays.keys() == {"turned", "parameter", "half", "scalar"}


def test_the_old_form(tmp_path):
    storage = Stored("storage", Global("torch", "FloatStorage"), "12", "cpu", 4, None)
    parts = [torch_files.MAGIC, 1001, {"little_endian": True}, {"w": tensor(storage, 0, (2, 2), (2, 1))}, ["12"]]
    rows = b"".join(pickled(part) for part in parts) + struct.pack("<q", 4) + np.arange(4, dtype=np.float32).tobytes()
    (tmp_path / "old.pth").write_bytes(rows)
    np.testing.assert_array_equal(readers.read(tmp_path / "old.pth").arrays["w"], [[0, 1], [2, 3]])


def test_files_that_would_become_any_size_are_refused(tmp_path):
    storage = Stored("storage", Global("torch", "FloatStorage"), "12", "cpu", 10**15, None)
    parts = [torch_files.MAGIC, 1001, {"little_endian": True}, {"w": tensor(storage, 0, (2, 2), (2, 1))}, ["12"]]
    (tmp_path / "old.pth").write_bytes(b"".join(pickled(part) for part in parts))
    with pytest.raises(InputError, match=r"names a storage of 1000000000000000 values, more than the whole file holds"):
        readers.read(tmp_path / "old.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickled({}))
        archive.writestr("x/data/0", bytes(10**6))
    with pytest.raises(InputError, match=r"is compressed, which torch.save never does.* Save it anew as safetensors"):
        readers.read(tmp_path / "bomb.pth")


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_pickled_code_is_refused_by_name_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("evil.pth", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"state_dict": {}, "meta": Evil()}))
    with pytest.raises(InputError, match=r"holds the Python object (posix|nt)\.system, which is no tensor, and pickled"):
        readers.read(pathlib.Path("evil.pth"))
    pathlib.Path("evil.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"\.system, which is no tensor"):
        readers.read(pathlib.Path("evil.bin"))
    assert not pathlib.Path("executed").exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "torch._utils.exec", "torch.storage._load_from_bytes", "numpy.load", "torch.Tensor"]
)
def test_other_names_are_refused(name, tmp_path):
    module, _, function = name.rpartition(".")
    write_zip(tmp_path / "x.pth", {"w": Call(Global(module, function), "1")}, {})
    with pytest.raises(InputError, match=f"holds the Python object {name}"):
        readers.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (-1, (2,), (1,)), (0, (2,), (-1,))]
)
def test_a_tensor_that_leaves_its_storage_is_refused(offset, size, stride, tmp_path):
    write_zip(tmp_path / "x.pth", {"w": tensor(stored("0", "Float", 4), offset, size, stride)}, {"0": np.zeros(4, np.float32)})
    with pytest.raises(InputError, match="lies outside of its storage of 4 values"):
        readers.read(tmp_path / "x.pth")


def test_big_endian_is_refused(tmp_path):
    write_zip(tmp_path / "x.pth", {}, {}, byteorder=b"big")
    with pytest.raises(InputError, match="big-endian"):
        readers.read(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(3), pickle.dumps({"a": 1})])
def test_damaged_files_are_named(content, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth (cannot be read as a file of PyTorch|is no file of PyTorch)"):
        readers.read(tmp_path / "x.pth")


def test_a_zip_that_is_no_state_dict(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/code/model.py", "")
    with pytest.raises(InputError, match="TorchScript"):
        readers.read(tmp_path / "x.pt")


def test_safetensors_with_bfloat16_and_metadata(tmp_path):
    save_file({**ARRAYS}, tmp_path / "x.safetensors", {"who": "me"})
    file = readers.read(tmp_path / "x.safetensors")
    assert file.metadata == {"who": "me"}
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], value)
    header = json.dumps({"h": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    half = np.array([1.0, -2.5], ml_dtypes.bfloat16)
    (tmp_path / "h.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + half.tobytes())
    np.testing.assert_array_equal(readers.read(tmp_path / "h.safetensors").arrays["h"], half)


def test_a_damaged_safetensors_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        readers.read(tmp_path / "x.safetensors")


def test_npz(tmp_path):
    np.savez(tmp_path / "x.npz", **ARRAYS)
    assert readers.read(tmp_path / "x.npz").arrays.keys() == ARRAYS.keys()
    np.savez(tmp_path / "evil.npz", w=np.array([Evil()], object))
    with pytest.raises(InputError, match="Pickled objects in it are not read"):
        readers.read(tmp_path / "evil.npz")


def test_shards(tmp_path):
    for n, (name, value) in enumerate(ARRAYS.items()):
        save_file({name: value}, tmp_path / f"model-{n}.safetensors")
    index = {"weight_map": {name: f"model-{n}.safetensors" for n, name in enumerate(ARRAYS)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert readers.read(tmp_path).arrays.keys() == ARRAYS.keys()
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"lists shards that are not beside it: model-1\.safetensors"):
        readers.read(tmp_path / "model.safetensors.index.json")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(InputError, match="outside of its folder"):
        readers.read(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(InputError, match="is no index of shards"):
        readers.read(tmp_path)


def test_what_is_not_there_or_of_no_kind_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*x\.pth"):
        readers.read(tmp_path / "x.pth")
    with pytest.raises(InputError, match="is a folder without weights"):
        readers.read(tmp_path)
    (tmp_path / "x.h5").touch()
    with pytest.raises(InputError, match="is of no known kind"):
        readers.read(tmp_path / "x.h5")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(InputError, match="holds no arrays under names"):
        readers.read(tmp_path / "empty.npz")


def test_averaged_weights_come_first_and_prefixes_go():
    one, other = {"model.module.w": np.ones(1)}, {"w": np.zeros(1)}
    assert readers.unwrap({"state_dict": other, "model_ema": one, "optimizer": {}}) is one
    assert readers.unwrap({"state_dict": {"model": {"w": 1}}}) == {"w": 1}
    mmengine = {"state_dict": {"w": np.full(1, 2.0)}, "ema_state_dict": {"module.w": np.ones(1), "steps": np.array(0)}}
    assert readers.unwrap(mmengine)["w"] == 2.0
    assert readers.without_prefix(one).keys() == {"w"}
    assert readers.without_prefix({"model.a": np.ones(1), "b": np.ones(1)}).keys() == {"model.a", "b"}


@pytest.mark.parametrize("beside", [("n_averaged",), ("steps",), ("mean", "std")])
def test_what_is_beside_the_network_does_not_keep_the_prefix(beside):
    arrays = {"module.model.w": np.ones(1), **{name: np.array(3) for name in beside}}
    assert readers.without_prefix(arrays).keys() == {"w"}
    assert readers.without_prefix({"module.n_averaged": np.array(3), "module.module.w": np.ones(1)}).keys() == {"w"}


def test_lightnings_ending(tmp_path):
    tree = {"state_dict": {"model.w": tensor(stored("0", "Float", 2), 0, (2,), (1,))}, "epoch": 3}
    write_zip(tmp_path / "last.ckpt", tree, {"0": np.array([1, 2], np.float32)})
    assert readers.is_weights(tmp_path / "last.ckpt")
    np.testing.assert_array_equal(readers.read(tmp_path / "last.ckpt").arrays["w"], [1, 2])


def test_records_of_training_programs_are_passed_over(tmp_path):
    """MMEngine's message hub holds histories of losses as NumPy arrays, others the path of their folder."""
    array = Call(Global("numpy._core.multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,), b"b")
    tree = {
        "state_dict": {"w": tensor(stored("0", "Float", 2), 0, (2,), (1,))},
        "message_hub": {
            "loss": Call(Global("mmengine.logging.history_buffer", "HistoryBuffer"), array),
            "older": Call(Global("numpy.core.multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,), b"b"),
            "folder": Call(Global("pathlib", "PosixPath"), "runs"),
        },
    }
    write_zip(tmp_path / "x.pth", tree, {"0": np.array([1, 2], np.float32)})
    assert readers.read(tmp_path / "x.pth").arrays.keys() == {"w"}
    assert isinstance(torch_files.read(tmp_path / "x.pth")["message_hub"]["folder"], torch_files.Nothing)
