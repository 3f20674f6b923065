"""Files in folders and in archives, by one kind of path."""

import os
import tarfile
import zipfile

import pytest

from jaxseg.data.archive import files_below, names_in, read_bytes
from jaxseg.errors import InputError

FILES = {"set/a/1.png": b"one", "set/a/deep/2.png": b"two" * 1000, "set/b/3.jpg": b"", "notes.txt": b"n"}
HIDDEN = {"set/a/.hidden.png": b"x", "set/.cache/4.png": b"x"}


@pytest.fixture(params=["folder", "files.zip", "FILES.ZIP", "files.tar", "dotted.tar"])
def place(tmp_path, request):
    """The same files in a folder (with a misleading suffix), in zips, and in tars, one with names that begin with ``./``."""
    folder = tmp_path / "folder.zip"
    for name, data in (FILES | HIDDEN).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if request.param == "folder":
        return str(folder)
    path = tmp_path / request.param
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name in FILES | HIDDEN:
                file.write(folder / name, name)
    else:
        with tarfile.open(path, "w") as file:
            file.add(folder, "." if request.param == "dotted.tar" else "")
    return str(path)


def test_lists_and_reads(place):
    assert files_below(f"{place}/set/a", (".png",)) == ("1.png", "deep/2.png")
    assert files_below(place, None) == ("notes.txt", "set/a/1.png", "set/a/deep/2.png", "set/b/3.jpg")
    assert files_below(f"{place}/set", (".png", ".jpg")) == ("a/1.png", "a/deep/2.png", "b/3.jpg")
    assert len(files_below(place, None, first=True)) == 1
    assert files_below(f"{place}/se", None) == files_below(f"{place}/none/at/all", None) == ()
    assert names_in(place) == ["notes.txt", "set"]
    for name, data in FILES.items():
        assert read_bytes(f"{place}/{name}") == data


def test_missing_files(place):
    with pytest.raises(InputError, match=r"set/a/5\.png cannot be read: No such file|holds no set/a/5\.png\. Download it again"):
        read_bytes(f"{place}/set/a/5.png")


def test_a_file_that_may_not_be_listed_is_no_archive(tmp_path):
    (tmp_path / "notes.txt").write_text("n")
    assert read_bytes(str(tmp_path / "notes.txt")) == b"n"
    with pytest.raises(InputError, match=r"notes\.txt is neither a folder nor a zip or tar archive\."):
        files_below(str(tmp_path / "notes.txt/images"), None)


@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_compressed_tars_say_how_to_unpack_them(tmp_path, suffix):
    (tmp_path / f"x{suffix}").write_bytes(b"x")
    with pytest.raises(
        InputError, match=rf"x{suffix} is a compressed tar, .* Unpack it once by\n    tar -xf .*/x{suffix} -C {tmp_path}\n"
    ):
        files_below(str(tmp_path / f"x{suffix}/images"), None)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_what_is_no_archive_by_its_content(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>Please log in</html>")
    with pytest.raises(InputError, match=rf"{name} is truncated or damaged \(.*\)\. Download it again"):
        files_below(str(tmp_path / name), None)


def test_a_tar_that_was_cut_after_it_was_listed(tmp_path):
    path = tmp_path / "x.tar"
    (tmp_path / "big").write_bytes(os.urandom(5000))
    with tarfile.open(path, "w") as file:
        file.add(tmp_path / "big", "big")
    assert files_below(str(path), None) == ("big",)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"big in .*x\.tar cannot be read \(it ends too early\)\. Download the archive again"):
        read_bytes(f"{path}/big")
