"""Which files of a folder belong together: the two common layouts of images and labels, matched by stem."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxseg.errors import InputError

#: Files with these suffixes are images or labels (in any case); all others are left alone.
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga")

LAYOUTS = """
    ROOT/images/train/a.jpg        ROOT/train/a.jpg
    ROOT/labels/train/a.png   or   ROOT/trainannot/a.png
    ROOT/images/val/b.jpg          ROOT/val/b.jpg
    ROOT/labels/val/b.png          ROOT/valannot/b.png"""

_ALIASES = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}
_LABEL_FOLDERS = ("labels", "masks", "annotations")


class Pair(NamedTuple):
    """An image and its label, as paths, under a name that is unique in the split and safe as a file stem."""

    name: str
    image: str
    label: str


def find_pairs(root: str, split: str, where_from: str = "") -> tuple[Pair, ...]:
    """Find the images of a split and their labels, sorted by name.

    The layouts are ``images/<split>`` with ``labels/<split>`` (or ``masks``, or ``annotations``), and ``<split>`` with
    ``<split>annot``. Subfolders are followed, and an image and its label have the same path below the two folders up to the
    suffix, which may differ. Files that are hidden or have no suffix of :data:`SUFFIXES` are left alone.

    Args:
        root: the folder of the data set; ``~`` is expanded.
        split: ``train``, ``val`` or ``test``, which also find ``training``, ``validation``, ``valid`` and ``testing``; or the
            name of any other folder.
        where_from: a sentence for the error of a missing folder: where people get this data.

    Returns:
        The pairs, at least one. A subfolder's ``/`` is ``__`` in their names.

    Raises:
        InputError: if there is no such split, it is empty, an image has no label or a label no image, or two files have one name.
    """
    image_folder, label_folder = _find_folders(Path(os.path.expanduser(root)), split, where_from)
    images, labels = _by_stem(image_folder), _by_stem(label_folder)
    if not images:
        raise InputError(f"{image_folder} holds no image ({_seen(image_folder)}). Put the images of {split!r} there.")
    if alone := sorted(images.keys() - labels.keys()):
        raise _unmatched("image", alone, images, "label", label_folder, labels)
    if alone := sorted(labels.keys() - images.keys()):
        raise _unmatched("label", alone, labels, "image", image_folder, images)
    pairs = tuple(Pair(stem.replace("/", "__"), images[stem], labels[stem]) for stem in sorted(images))
    seen: dict[str, str] = {}
    for pair in pairs:
        if seen.setdefault(pair.name, pair.image) != pair.image:
            raise InputError(f"{seen[pair.name]} and {pair.image} would both be named {pair.name!r}. Rename one (and its label).")
    return pairs


def _find_folders(root: Path, split: str, where_from: str) -> tuple[Path, Path]:
    """Return the image folder and the label folder of a split."""
    if not root.is_dir():
        problem = f"{root} is a file, not a folder." if root.exists() else f"The folder {root} does not exist."
        raise InputError(" ".join(filter(None, [problem, where_from, "Say where the data lies by --set data.root=/path/to/it."])))
    splits = _known_splits(root)
    for name in _ALIASES.get(split, (split,)):
        if name not in splits:
            continue
        image_folder, candidates = splits[name]
        found = [folder for folder in candidates if folder.is_dir()]
        if not found:
            raise InputError(
                f"{image_folder} has no folder of labels: there is neither {' nor '.join(map(str, candidates))}. "
                "Put the labels there, under the names of the images."
            )
        if len(found) > 1:
            raise InputError(f"{image_folder} has several folders of labels: {', '.join(map(str, found))}. Keep or rename one.")
        return image_folder, found[0]
    if splits:
        raise InputError(f"{root} has no split {split!r}; it has {', '.join(sorted(splits))}. Rename or add a folder.")
    problem = f"{root} holds neither layout that jaxseg knows ({_seen(root)})."
    raise InputError(" ".join(filter(None, [problem, where_from, f"Arrange it as{LAYOUTS}"])))


def _known_splits(root: Path) -> dict[str, tuple[Path, list[Path]]]:
    """Return the image folder of each split under ``root``, and where its labels may be."""
    splits: dict[str, tuple[Path, list[Path]]] = {}
    for folder in _subfolders(root):
        if (root / f"{folder.name}annot").is_dir():
            splits[folder.name] = folder, [root / f"{folder.name}annot"]
    for folder in _subfolders(root / "images"):
        splits[folder.name] = folder, [root / kind / folder.name for kind in _LABEL_FOLDERS]
    return splits


def _subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in ``folder``, or none where it is none."""
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(error) from None


def _by_stem(folder: Path) -> dict[str, str]:
    """Return the image files below ``folder`` by their path without suffix, with ``/`` between folders."""
    files: dict[str, str] = {}
    for path in _walk(folder):
        relative = path.relative_to(folder)
        stem = relative.with_suffix("").as_posix()
        if stem in files:
            raise InputError(f"{files[stem]} and {path} have the same stem, which must be unique. Remove or rename one of them.")
        files[stem] = str(path)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the visible files below ``folder`` whose suffix is an image's, following links but never in a circle."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error) from None

    visited = set()
    for current, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(current, name)


def _unreadable(error: OSError) -> InputError:
    return InputError(f"{error.filename} cannot be read: {error.strerror}. Check that you may read it.")


def _unmatched(
    kind: str, alone: Sequence[str], files: dict[str, str], other: str, other_folder: Path, others: dict[str, str]
) -> InputError:
    """Return the error for files whose counterpart is missing."""
    shown = ", ".join(files[stem] for stem in alone[:3]) + (", ..." if len(alone) > 3 else "")
    free = sorted(others.keys() - files.keys())
    example = f" (which holds {others[free[0]]}, for example)" if free else ""
    return InputError(
        f"{len(alone)} of {len(files)} {kind}s have no {other} of the same stem in {other_folder}{example}: {shown}. "
        f"Add the missing {other}s, rename them to the stem of their {kind}, or remove these {kind}s."
    )


def _seen(folder: Path) -> str:
    """Describe what a folder holds, for errors about what it should hold."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    return (
        "it holds " + ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "it is empty"
    )
