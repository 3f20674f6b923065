"""Files of a data set as it was downloaded: in a folder, or in the archive itself, which is read without unpacking.

A path may lead through an archive as if it were a folder: ``/data/voc.tar/VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg``. Zip
files and uncompressed tar files can be read anywhere in them; a compressed tar (``.tgz``) would have to be unpacked up to the
file that is wanted, at every access, so it is refused with the command that unpacks it.
"""

import functools
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import NamedTuple

from jaxseg.data.limits import check_bytes, read_file
from jaxseg.errors import InputError

#: The suffixes of archives that are read in place.
ARCHIVES = (".zip", ".tar")
_COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def files_below(folder: str, suffixes: tuple[str, ...] | None, *, first: bool = False) -> tuple[str, ...]:
    """List the visible files below a folder, on disk or in an archive.

    Args:
        folder: its path; none need be there.
        suffixes: how the names of the files end, None for any.
        first: stop at the first one.

    Returns:
        Their paths relative to ``folder``, with ``/``, sorted; empty if there is no such folder.
    """
    found: list[str] = []
    archive, inner = _split_archive(folder)
    names: Iterator[str]
    if archive:
        prefix = f"{inner}/" if inner else ""
        names = (name.removeprefix(prefix) for name in _index(archive) if name.startswith(prefix))
    else:
        names = _walk(folder)
    for name in names:
        if any(part.startswith(".") for part in name.split("/")) or name.startswith("__MACOSX/"):
            continue
        if suffixes is None or name.endswith(suffixes):
            found.append(name)
            if first:
                break
    return tuple(sorted(found))


def _walk(folder: str) -> Iterator[str]:
    """Yield the files below a folder on disk, following links but never in a circle."""
    visited = set()
    for current, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        for name in files:
            yield PurePath(os.path.relpath(os.path.join(current, name), folder)).as_posix()


def read_bytes(path: str) -> bytes:
    """Read a file from disk or from an archive.

    Raises:
        InputError: if it is missing or unreadable, or the archive is damaged.
    """
    archive, inner = _split_archive(path)
    try:
        if not archive:
            return read_file(path)
        member = _index(archive).get(inner)
        if member is None:
            raise InputError(f"{archive} holds no {inner}. Download it again if it is the official archive.")
        check_bytes(member.size, f"{inner} in {archive}")
        if archive.lower().endswith(".zip"):
            with _open_zip(archive, os.getpid()).open(inner) as file:
                return file.read(member.size)  # what its entry says, whatever it would unpack to
        with open(archive, "rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
        if len(data) < member.size:
            raise EOFError("it ends too early")
        return data
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check that it exists and that you may read it.") from None
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise InputError(f"{inner} in {archive} cannot be read ({error}). Download the archive again.") from None


def names_in(root: str) -> list[str]:
    """Return what is directly in a folder or an archive, for errors about what should be there."""
    archive, _ = _split_archive(root)
    names = {name.split("/")[0] for name in _index(archive)} if archive else os.listdir(root)
    return sorted(name for name in names if not name.startswith("."))


class _Member(NamedTuple):
    """Where the bytes of a file lie in an uncompressed tar."""

    offset: int
    size: int


def _split_archive(path: str) -> tuple[str, str]:
    """Return the archive that a path leads through and the path in it; two empty strings where it leads through none."""
    if os.path.isdir(path):
        return "", ""
    archive = path
    while not os.path.exists(archive) and os.path.dirname(archive) != archive:
        archive = os.path.dirname(archive)
    if not os.path.isfile(archive):
        return "", ""
    lower = archive.lower()
    if lower.endswith(_COMPRESSED):
        raise InputError(
            f"{archive} is a compressed tar, which can only be read from its beginning. Unpack it once by\n"
            f"    tar -xf {archive} -C {os.path.dirname(archive) or '.'}\nand give the folder that comes out of it."
        )
    if lower.endswith(ARCHIVES):
        return archive, PurePath(os.path.relpath(path, archive)).as_posix() if path != archive else ""
    if archive == path:
        return "", ""
    raise InputError(f"{archive} is neither a folder nor a zip or tar archive. Correct data.root.")


@functools.lru_cache(maxsize=8)
def _index(archive: str) -> Mapping[str, _Member]:
    """Return the files of an archive; a big one takes a second or two, once per process."""
    try:
        if archive.lower().endswith(".zip"):
            infos = _open_zip(archive, os.getpid()).infolist()
            if other := [info for info in infos if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]:
                raise InputError(
                    f"{archive} holds {other[0].filename} in an unusual compression (method {other[0].compress_type}), which "
                    "could unpack to any size. Make the archive again with deflate, the usual one, or unpack it."
                )
            return {info.filename: _Member(info.header_offset, info.file_size) for info in infos if not info.is_dir()}
        with tarfile.open(archive, "r:") as tar:
            return {
                os.path.normpath(info.name): _Member(info.offset_data, info.size)
                for info in tar
                if info.isfile() and not info.issparse()
            }
    except OSError as error:
        raise InputError(f"{archive} cannot be read: {error.strerror}. Check that you may read it.") from None
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise InputError(f"{archive} is truncated or damaged ({error}). Download it again.") from None


@functools.lru_cache(maxsize=8)
def _open_zip(archive: str, process: int) -> zipfile.ZipFile:
    """Open a zip for all threads of a process; forked processes may not share it, for they would share its position."""
    return zipfile.ZipFile(archive)


def _refuse(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}. Check that you may read it.")
