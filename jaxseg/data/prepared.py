"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow; what the readers of single ones have in common."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.data.decode import decode_image, decode_label
from jaxseg.data.layout import Pair
from jaxseg.data.official import FileSplit
from jaxseg.errors import InputError


@dataclass(frozen=True)
class Records:
    """One prepared split: encoded records, and which of their features is what.

    Attributes:
        stored: the records, by position.
        dataset: its name in TFDS.
        split: its name in TFDS.
        image: the feature that is the image.
        label: the feature that is the label.
        name: the feature that names an example, or its file; None where none does, and its position must.
    """

    stored: Sequence = field(repr=False)
    dataset: str
    split: str
    image: str
    label: str
    name: str | None = None

    def pairs(self) -> tuple[Pair, ...]:
        """Return a pair for each record: its position, and what errors call its image and its label."""
        where = f"{self.dataset}, {self.split}"
        return tuple(
            Pair(str(position), f"{where} {position}, {self.image}", f"{where} {position}, {self.label}")
            for position in range(len(self.stored))
        )

    def read(self, position: int) -> Mapping[str, Any]:
        """Read an encoded record.

        Raises:
            InputError: if a file is missing or cut short, which array_record answers with an error or with nothing.
        """
        try:
            record = self.stored[position]
            if all(record[key] is not None for key in (self.image, self.label, self.name) if key):
                return record
            detail = "the record is incomplete"
        except RuntimeError as error:
            detail = str(error)
        raise InputError(
            f"{self.dataset}, {self.split} {position} cannot be read ({detail}). Copy or prepare the data set again."
        ) from None


def open_records(root: str, dataset: str, split: str, *, image: str, label: str, name: str | None = None, build: str) -> Records:
    """Open a prepared split for random access, nothing decoded.

    Args:
        root: the TFDS data directory, or the folder of one version in it; ``~`` is expanded.
        dataset: the name in TFDS, with ``/`` and the config where there is one.
        split: the name in TFDS, or an expression such as ``train+validation`` or ``train[90%:]``.
        image: the feature that is the image.
        label: the feature that is the label.
        name: the feature that names an example, if one does.
        build: the command that prepares the data set, for errors.

    Raises:
        InputError: if nothing is prepared, without random access, or something else.
    """
    folder = _version_folder(Path(os.path.expanduser(root)), dataset, build)
    check_features(folder)
    import tensorflow_datasets as tfds  # slow to import, and only these sources need it

    builder = tfds.builder_from_directory(folder)
    if missing := {image, label, *filter(None, [name])} - set(builder.info.features):
        raise InputError(f"{folder} is not {dataset}: it has no feature {min(missing)!r}. Point data.root at the right one.")
    if absent := {part.split("[")[0] for part in split.split("+")} - set(builder.info.splits):
        raise InputError(f"{folder} has no split {min(absent)!r}; it has {', '.join(builder.info.splits)}. Prepare it again.")
    encoded = tfds.decode.SkipDecoding()
    try:
        stored = builder.as_data_source(split, decoders={image: encoded, label: encoded})
    except NotImplementedError:
        raise InputError(
            f"{folder} was prepared in a format without random access. Convert it, where TensorFlow is installed, by\n"
            f"    tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
        ) from None
    return Records(stored, dataset, split, image, label, name)


def check_features(folder: Path) -> None:
    """Refuse a prepared data set whose description names code of another package: TFDS would import it.

    Raises:
        InputError: naming it.
    """
    file = folder / "features.json"
    try:
        named = [*_classes(json.loads(file.read_text()))] if file.is_file() else []
    except (ValueError, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}). Copy or prepare the data set again.") from None
    for name in named:
        if not name.startswith("tensorflow_datasets."):
            raise InputError(
                f"{file} names the class {name}, and TFDS would run the module that it is in. "
                "Features of TensorFlow Datasets itself are read alone: prepare the data set with those."
            )


def _classes(node: Any) -> Iterator[str]:
    """Yield the classes of features that a ``features.json`` names, in TFDS's newer and older ways."""
    if isinstance(node, list):
        for item in node:
            yield from _classes(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str) and "." in value:
                yield value
            yield from _classes(value)


@dataclass(frozen=True)
class PreparedSplit(FileSplit):
    """The examples of one prepared split; its pairs are those of its records, not paths."""

    records: Records

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, str]:
        """Read the image, the label as it is stored, and the name of an example."""
        records = self.records
        record = records.read(int(pair.name))
        name = f"{records.split}_{int(pair.name):06}"
        if records.name:
            # A record may be called anything; as the name of a written picture it must stay in its folder.
            name = re.sub(r"[^\w-]", "_", re.sub(r"\.(jpg|png)$", "", record[records.name].decode()))
        image = decode_image(record[records.image], num_channels=self.source.num_channels, name=pair.image)
        return image, self.decode_label(record[records.label], pair.label), name

    def stored(self, index: int) -> tuple[bytes, bytes]:
        """Return an example's image and label, not decoded."""
        record = self.records.read(int(self.pairs[index].name))
        return record[self.records.image], record[self.records.label]

    def decode_label(self, data: bytes, name: str) -> np.ndarray:
        """Decode a label to the values that it stores."""
        return decode_label(data, name=name)


def _version_folder(root: Path, dataset: str, build: str) -> Path:
    """Return the folder of the newest prepared version: ``root`` itself, or under it."""
    if (root / "dataset_info.json").is_file():
        return root
    found = [path.parent for path in root.glob(f"{dataset}/*/dataset_info.json")]
    if not found:
        raise InputError(
            f"No prepared {dataset} in {root}. Prepare it once, where TensorFlow is installed, by\n"
            f"    {build} --file_format=array_record --data_dir={root}\n"
            "and copy the folder here if that was elsewhere; reading it needs no TensorFlow. "
            "If it lies somewhere else, set --set data.root=/path/to/tensorflow_datasets."
        )
    return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)])
