"""Files made to do harm: bombs, programs, pipes, names that lead elsewhere. Each is refused with its remedy."""

import io
import json
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
from encoded import encode, encode_tiff, noise
from PIL import EpsImagePlugin, Image

from jaxseg.data import limits
from jaxseg.data.archive import files_below, read_bytes
from jaxseg.data.decode import decode_image, decode_label
from jaxseg.data.folder import Folder
from jaxseg.data.limits import Inflate, check_unpacked, read_file
from jaxseg.data.prepared import check_features
from jaxseg.data.voc2012 import VOC2012, _read_mat
from jaxseg.errors import InputError

SMALL = str(2**16)


def tiff(compression, data, *, samples=1):
    """A grey TIFF of 64 x 64 with one strip, which may unpack to anything."""
    values = {256: 64, 257: 64, 258: 8, 259: compression, 262: 1, 273: 8, 277: samples, 278: 64, 279: len(data)}
    start = 8 + len(data) + len(data) % 2
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return (
        b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + struct.pack("<H", len(values)) + directory + bytes(4)
    )


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("compression", "pack"), [(8, zlib.compress), (32946, zlib.compress), (34925, lzma.compress)])
def test_a_tiff_whose_strip_unpacks_to_more_than_the_image(monkeypatch, compression, pack):
    """tifffile's own codecs would unpack all of it."""
    np.testing.assert_array_equal(
        decode_image(tiff(compression, pack(bytes(range(64)) * 64)), num_channels=1)[0, :, 0], range(64)
    )
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", SMALL)
    bomb = tiff(compression, pack(bytes(2**26)))
    tracemalloc.start()
    for decode in (lambda: decode_image(bomb, num_channels=1, name="x.tif"), lambda: decode_label(bomb, name="x.tif")):
        with pytest.raises(
            InputError,
            match=r"x\.tif is a decompression bomb: [\d,]+ bytes of it unpack to more than 65,536, and 4,096 are needed",
        ):
            decode()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", str(2**28))
    assert decode_image(bomb, num_channels=1).shape == (64, 64, 1)


def test_a_part_that_is_cut_short_is_left_to_the_decoder():
    for hurt in (zlib.compress(os.urandom(2**20))[:-9], zlib.compress(os.urandom(2**20))[:-9] * 5):
        check_unpacked(hurt, Inflate(), 0, "cut")
    for cut in (10, 1):
        with pytest.raises(InputError, match="is truncated or damaged"):
            decode_image(tiff(34925, lzma.compress(bytes(4096))[:-cut]), num_channels=1, name="cut")


def test_a_tiff_with_absurdly_many_channels():
    data = encode_tiff(np.zeros((8, 8, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    data = data.replace(struct.pack("<HHII", 277, 3, 1, 5), struct.pack("<HHII", 277, 4, 1, 40_000_000))
    with pytest.raises(
        InputError, match=r"x has 8x8 pixels .* of 40,000,000 channels = 2,560,000,000 values, more than 4 .*PIXELS=640000000"
    ):
        decode_image(data, num_channels=5, name="x")


def test_a_program_that_pillow_would_run(monkeypatch):
    """Encapsulated PostScript is drawn by Ghostscript, which has let programs out more than once."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("it was run"))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(touch x) system\nshowpage\n"
    assert Image.open(io.BytesIO(program)).format == "EPS"
    for decode in (lambda: decode_image(program, num_channels=3, name="x.png"), lambda: decode_label(program, name="x.png")):
        with pytest.raises(InputError, match=r"x\.png is not an image that jaxseg can read .* Save it as PNG, JPEG or TIFF"):
            decode()


def test_an_image_beyond_pillows_own_limit_names_the_variable():
    data = bytearray(encode(noise(4, 4), "BMP"))
    data[18:26] = struct.pack("<ii", 60_000, 60_000)
    with pytest.raises(
        InputError, match=r"x\.bmp is too large \(.*3600000000 pixels.* JAXSEG_MAX_PIXELS to its number of pixels"
    ):
        decode_image(bytes(data), num_channels=1, name="x.bmp")


def test_a_png_whose_first_part_only_looks_like_a_header():
    whole = encode(noise(4, 4))
    forged = whole[:8] + chunk(b"tEXt", struct.pack(">IIBB", 4, 4, 8, 0)) + whole[8:]
    with pytest.raises(InputError, match=r"x\.png is truncated or damaged \(the PNG does not begin with its header\)"):
        decode_image(forged, num_channels=1, name="x.png")


def test_what_opencv_will_not_read_names_its_own_variables(monkeypatch):
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", str(2**34))
    data = bytearray(encode(noise(4, 4)))
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(InputError, match=r"x\.png is larger than OpenCV reads .* OPENCV_IO_MAX_IMAGE_PIXELS, _WIDTH and _HEIGHT"):
        decode_image(bytes(data), num_channels=1, name="x.png")


@pytest.mark.parametrize("name", ["pipe.png", "/dev/zero"])
def test_pipes_and_devices_are_no_files(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.png")
    for read in (lambda: decode_image(tmp_path / name, num_channels=3), lambda: read_bytes(str(tmp_path / name))):
        with pytest.raises(InputError, match=rf"{name} is a pipe or a device, not a file\. Remove it"):
            read()


def test_a_file_larger_than_memory(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    with open(path, "wb") as file:
        file.truncate(16 * 2**16 + 1)
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", SMALL)
    assert len(read_file(path)) == 16 * 2**16 + 1  # 64 MB are fine in any case
    monkeypatch.setattr(limits, "_ALWAYS", 0)
    with pytest.raises(
        InputError, match=r"x\.png has 1,048,577 bytes, more than the limit of 1,048,576.* JAXSEG_MAX_PIXELS=65537"
    ):
        decode_image(path, num_channels=3)
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "65537")
    assert len(read_file(path)) == 16 * 2**16 + 1


def test_a_zip_bomb_by_its_entry(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/bomb.png", bytes(2**21))
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", SMALL)
    monkeypatch.setattr(limits, "_ALWAYS", 0)
    with pytest.raises(InputError, match=r"a/bomb\.png in .*x\.zip has 2,097,152 bytes, more than the limit .*PIXELS=131072"):
        read_bytes(f"{path}/a/bomb.png")


def test_a_zip_bomb_whose_entry_lies(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(2**27))
    data = bytearray(path.read_bytes())
    for place in (22, data.rfind(b"PK\1\2") + 24):  # of the size in the file's own header, and in the list of files
        assert struct.unpack_from("<I", data, place) == (2**27,)
        struct.pack_into("<I", data, place, 1000)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"bomb\.png in .*x\.zip cannot be read \(Bad CRC-32"):
        read_bytes(f"{path}/bomb.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_of_methods_that_python_unpacks_whole(tmp_path, method):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.png", bytes(2**10))
    with pytest.raises(InputError, match=rf"x\.zip holds a\.png in an unusual compression \(method {method}\), .*with deflate"):
        read_bytes(f"{path}/a.png")


def test_members_of_archives_lead_nowhere_else(tmp_path):
    """Nothing is unpacked; and neither links nor names with .. make a file outside readable through the archive."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    hostile = ("../secret.png", "/etc/passwd", "a/../../secret.png", "a/nul\0.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name in hostile:
            file.writestr(name, b"theirs")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name, kind in (("a/link.png", tarfile.SYMTYPE), ("a/hard.png", tarfile.LNKTYPE), ("a/fifo.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            file.addfile(member)
        member = tarfile.TarInfo("../secret.png")
        member.size = 6
        file.addfile(member, io.BytesIO(b"theirs"))
    assert files_below(f"{tmp_path}/x.tar/a", None) == ()
    for inside in ("x.tar/a/link.png", "x.tar/a/hard.png", "x.tar/a/fifo.png", "x.zip/a/secret.png", "x.zip/etc/passwd"):
        with pytest.raises(InputError, match=r"x\.(tar|zip) holds no "):
            read_bytes(f"{tmp_path}/{inside}")
    for archive in ("x.zip", "x.tar"):  # a member is what is read, if anything is
        assert read_bytes(f"{tmp_path}/{archive}/a/../../secret.png") == b"theirs"
    assert {path.name for path in tmp_path.iterdir()} == {"secret.png", "x.zip", "x.tar"}


def test_folders_that_link_to_each_other_in_circles_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"x")
    for name in ("one", "two"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "a")
    assert files_below(str(tmp_path), (".png",)) == ("a/x.png",)


def test_names_of_examples_are_file_stems_whatever_the_folders_are_called(tmp_path):
    for kind in ("images", "labels"):
        for name in ("sub/a", "sub\\b", "..c", "new\nline"):
            path = tmp_path / kind / "train" / f"{name}.png"
            if path.name.startswith("."):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(noise(4, 4) % 2))
    names = [pair.name for pair in Folder(root=str(tmp_path), num_classes=2).split("train").pairs]
    assert len(names) == 3
    for name in names:
        assert os.path.basename(name) == name
        assert name not in ("", ".", "..")


def test_lists_of_names_cannot_lead_out_of_their_folder(tmp_path):
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "JPEGImages/a.jpg").write_bytes(b"x")
    listed = tmp_path / "ImageSets/Segmentation/val.txt"
    for line in ("../../secret", "/etc/passwd", "a\0b"):
        listed.write_text(f"{line}\n")
        with pytest.raises(InputError, match=r"val\.txt, line 1: .* is not the ID of an image"):
            VOC2012(root=str(tmp_path)).split("val")


def mat(size, compressed=True):
    content = np.zeros((1, 1), dtype=[("Segmentation", object)])
    content["Segmentation"][0, 0] = np.zeros(size, np.uint8)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"GTcls": content}, do_compression=compressed)
    return buffer.getvalue()


def test_a_matlab_file_that_is_a_bomb(monkeypatch):
    assert _read_mat(mat((5, 6)), "x.mat").shape == (5, 6)
    bomb = mat((4096, 4096))
    assert _read_mat(bomb, "x.mat").shape == (4096, 4096)
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", SMALL)
    with pytest.raises(InputError, match=r"x\.mat is a decompression bomb: [\d,]+ bytes of it unpack to more than 65,536"):
        _read_mat(bomb, "x.mat")


@pytest.mark.parametrize("key", ["pythonClassName", "type", "python_class_name"])
def test_prepared_data_that_names_code(tmp_path, key):
    """TFDS imports the module of a feature that it does not know."""
    good = {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict"}
    (tmp_path / "features.json").write_text(json.dumps(good))
    check_features(tmp_path)
    inner = {"featuresDict": {"features": {"image": [{key: "evil_module.Feature"}]}}}
    (tmp_path / "features.json").write_text(json.dumps({**good, **inner}))
    with pytest.raises(InputError, match=r"features\.json names the class evil_module\.Feature, and TFDS would run the module"):
        check_features(tmp_path)
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(InputError, match=r"features\.json cannot be read"):
        check_features(tmp_path)
