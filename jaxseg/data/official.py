"""What the readers of official layouts have in common: where a layout begins, which files belong together, how they are read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxseg.data.archive import ARCHIVES, files_below, names_in, read_bytes
from jaxseg.data.decode import decode_image, decode_label
from jaxseg.data.folder import FolderSplit
from jaxseg.data.layout import Pair
from jaxseg.errors import InputError


def find_base(
    root: str, candidates: Sequence[str], marker: str, *, where_from: str, layout: str, field: str = "data.root"
) -> str:
    """Return where the official layout begins.

    Args:
        root: a folder or an archive, as the user gave it; ``~`` is expanded.
        candidates: where below it the layout may begin, ``""`` for ``root`` itself.
        marker: the folder that shows that it begins there.
        where_from: a sentence for the errors: where people get this data.
        layout: the layout in a few words, for the error of a folder that has another one.
        field: the field of the config that ``root`` is.

    Returns:
        The path of the first candidate that holds ``marker``.

    Raises:
        InputError: if ``root`` is missing, of another layout, or an archive that cannot be read in place.
    """
    root = os.path.normpath(os.path.expanduser(root))
    set_root = f"Say where it lies by --set {field}=/path/to/it."
    if not os.path.exists(root):
        raise InputError(f"{root} does not exist. {where_from} {set_root}")
    for candidate in candidates:
        base = os.path.join(root, candidate) if candidate else root
        if files_below(os.path.join(base, marker), suffixes=None, first=True):
            return base
    names = names_in(root)
    archives = [name for name in names if name.lower().endswith(ARCHIVES) and "" in candidates]
    hint = f" If it is in the archive that lies there, give its path: {field}={root}/{archives[0]}." if archives else ""
    seen = some(names, 6) or "nothing"
    raise InputError(f"{root} does not hold {layout}; it holds {seen}. {where_from} {set_root}{hint}")


def by_name(folder: str, suffix: str) -> dict[str, str]:
    """Return the paths of the files below a folder whose names end in ``suffix``, by what is before it.

    Raises:
        InputError: if two have the same name.
    """
    found: dict[str, str] = {}
    for path in files_below(folder, (suffix,)):
        name = path.rsplit("/", 1)[-1].removesuffix(suffix)
        if name in found:
            raise InputError(f"{found[name]} and {folder}/{path} are both named {name!r}. Remove one of them.")
        found[name] = f"{folder}/{path}"
    return found


def match(
    split: str, image_folder: str, images: Mapping[str, str], label_folder: str, labels: Mapping[str, str]
) -> tuple[Pair, ...]:
    """Pair images with labels of the same name.

    Args:
        split: for the errors.
        image_folder: for the errors: where the images were looked for.
        images: the path of each image, by its name.
        label_folder: for the errors: where the labels were looked for.
        labels: the path of each label, by its name; those without an image are left alone.

    Returns:
        The pairs, at least one, sorted by name.

    Raises:
        InputError: if there is no image, or one has no label.
    """
    if not images:
        raise InputError(f"{image_folder} holds no image of {split!r}. Unpack the archive again, or correct data.root.")
    if alone := sorted(images.keys() - labels.keys()):
        shown = some([images[name] for name in alone])
        raise InputError(
            f"{len(alone)} of {len(images)} images of {split!r} have no label in {label_folder}: {shown}. "
            "Unpack the archive of the labels again, or remove these images."
        )
    return tuple(Pair(name, images[name], labels[name]) for name in sorted(images))


def some(names: Sequence[str], limit: int = 3) -> str:
    """Return the first of some names, for messages."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


@dataclass(frozen=True)
class FileSplit(FolderSplit):
    """The examples of one split, whose files lie in folders or in archives; it pickles, being only paths."""

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, str]:
        """Read the image, the label as it is stored, and the name of an example."""
        image = decode_image(read_bytes(pair.image), num_channels=self.source.num_channels, name=pair.image)
        return image, self.read_label(pair.label), pair.name

    def read_label(self, path: str) -> np.ndarray:
        """Read a label as it is stored."""
        return decode_label(read_bytes(path), name=path)
