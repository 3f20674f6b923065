"""Oxford-IIIT Pet: 7,349 photographs of cats and dogs, as TensorFlow Datasets prepares them.

3,680 images to train and 3,669 to test, of many sizes, with a trimap each: pet, background, and a border around the pet that is
neither. The border is void here, which leaves two classes.

Paper: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012, https://www.robots.ox.ac.uk/~vgg/data/pets/.
Licence: CC BY-SA 4.0.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsIndex, overload

from jaxseg.data.decode import decode_image, decode_label, index_label
from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID

_SPLITS = {"train": "train[:90%]", "val": "train[90%:]", "test": "test"}
_FEATURES = ("image", "segmentation_mask", "file_name")
_TRIMAP = ((1, 0), (2, 1), (3, VOID))


@dataclass(frozen=True)
class OxfordIIITPet:
    """The TFDS data set ``oxford_iiit_pet``, prepared anywhere in a format of random access (``array_record``).

    TFDS has no validation split: ``val`` is the last tenth of its ``train`` (which is in random order), and ``train`` the rest.

    Attributes:
        root: the TFDS data directory, or the folder of one version in it; ``~`` is expanded where it is read.
        class_names: ``pet`` and ``background``.
        palette: their colours.
    """

    root: str = "~/tensorflow_datasets"
    class_names: tuple[str, ...] = ("pet", "background")
    palette: tuple[tuple[int, int, int], ...] = ((220, 20, 60), (0, 0, 0))

    def __post_init__(self) -> None:
        for what, entries in (("class_names", self.class_names), ("palette", self.palette)):
            if len(entries) != self.num_classes:
                raise InputError(
                    f"{what} has {len(entries)} entries, but the pets have {self.num_classes} classes: pet, background."
                )

    @property
    def num_classes(self) -> int:
        """Two: pet and background."""
        return 2

    @property
    def num_channels(self) -> int:
        """Three: the photographs are RGB."""
        return 3

    def split(self, name: str) -> "PetsSplit":
        """Open a split for random access; images are decoded when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or no prepared data; it says how to prepare it.
        """
        if name not in _SPLITS:
            raise InputError(f"The pets have no split {name!r}; they have {', '.join(_SPLITS)}.")
        folder = _version_folder(Path(os.path.expanduser(self.root)))
        import tensorflow_datasets as tfds  # slow to import, and only this source needs it

        builder = tfds.builder_from_directory(folder)
        if missing := set(_FEATURES) - set(builder.info.features):
            raise InputError(
                f"{folder} is not oxford_iiit_pet: it has no feature {min(missing)!r}. Point data.root at the right one."
            )
        encoded = tfds.decode.SkipDecoding()
        try:
            records = builder.as_data_source(_SPLITS[name], decoders={"image": encoded, "segmentation_mask": encoded})
        except NotImplementedError:
            raise InputError(
                f"{folder} was prepared in a format without random access. Convert it, where TensorFlow is installed, by\n"
                f"    tfds convert_format --dataset_version_dir={folder} --out_file_format=array_record"
            ) from None
        return PetsSplit(records, name)


@dataclass(frozen=True)
class PetsSplit(Sequence):  # of Example; said so, a runtime type checker would read an image at every call
    """The examples of one split of :class:`OxfordIIITPet`; ``records`` holds them as they are encoded."""

    records: Sequence = field(repr=False)
    split: str

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Example | list[Example]:
        """Read and decode one example, or several.

        Raises:
            InputError: if an image or a trimap is damaged, or they differ in size.
        """
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]  # counts negative ones from the end, and raises IndexError
        record = self._record(position)
        file_name = record["file_name"].decode()
        where = f"oxford_iiit_pet, {self.split} {position} ({file_name})"
        image = decode_image(record["image"], num_channels=3, name=f"{where}, image")
        stored = decode_label(record["segmentation_mask"], name=f"{where}, segmentation_mask")
        label = index_label(stored, num_classes=2, void_index=None, label_map=_TRIMAP, name=f"{where}, segmentation_mask")
        if image.shape[:2] != label.shape:
            raise InputError(
                f"{where} has an image of {image.shape[:2]} and a mask of {label.shape}. Prepare the data set again."
            )
        # A record may be called anything; as the name of a written picture it must stay in its folder.
        return Example(image=image, label=label, name=re.sub(r"[^\w-]", "_", file_name.removesuffix(".jpg")))

    def _record(self, position: int) -> Mapping[str, Any]:
        """Read the encoded record; array_record gives an error or nothing where a file is missing or cut short."""
        try:
            record = self.records[position]
            if all(record[key] is not None for key in _FEATURES):
                return record
            detail = "the record is incomplete"
        except RuntimeError as error:
            detail = str(error)
        raise InputError(
            f"oxford_iiit_pet, {self.split} {position} cannot be read ({detail}). Copy or prepare the data set again."
        ) from None


def _version_folder(root: Path) -> Path:
    """Return the folder of the newest prepared version: ``root`` itself, or under it."""
    if (root / "dataset_info.json").is_file():
        return root
    found = [path.parent for path in root.glob("oxford_iiit_pet/*/dataset_info.json")]
    if not found:
        raise InputError(
            f"No prepared oxford_iiit_pet in {root}. Prepare it once (773 MiB of download), where TensorFlow is installed, by\n"
            f"    tfds build oxford_iiit_pet --file_format=array_record --data_dir={root}\n"
            "and copy the folder here if that was elsewhere; reading it needs no TensorFlow. "
            "If it lies somewhere else, set --set data.root=/path/to/tensorflow_datasets."
        )
    return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)])
