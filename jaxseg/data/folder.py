"""Anybody's images and index labels, in a folder."""

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, SupportsIndex, overload

import numpy as np

from jaxseg.data.archive import read_bytes
from jaxseg.data.decode import LabelMap, decode_image, decode_label, index_label
from jaxseg.data.layout import Pair, find_pairs
from jaxseg.data.palette import default_palette
from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID


@dataclass(frozen=True)
class Folder:
    """Images and index labels that lie in a folder, matched by stem: ``images/train`` with ``labels/train``, or the CamVid way.

    Either of these, see :func:`jaxseg.data.layout.find_pairs` for what else is found::

        ROOT/images/train/a.jpg        ROOT/train/a.jpg
        ROOT/labels/train/a.png   or   ROOT/trainannot/a.png
        ROOT/images/val/b.jpg          ROOT/val/b.jpg
        ROOT/labels/val/b.png          ROOT/valannot/b.png

    Images may be grey, RGB, 16-bit or multi-channel (:func:`jaxseg.data.decode.decode_image`); labels hold one class index per
    pixel, as grey or palette PNG or TIFF (:func:`jaxseg.data.decode.decode_label`). Masks of 0 and 255 need the explicit
    ``label_map=((0, 0), (255, 1))``, since 255 is also the usual void. Labels that count from 1, with 0 as void, as in ADE20K:
    ``void_index=0, label_map=tuple((k, k - 1) for k in range(1, 151))``.

    Attributes:
        root: the folder; ``~`` is expanded where it is read.
        num_classes: how many classes, 1 to 255.
        class_names: one name per class; ``class 0``, ``class 1`` ... where none are given.
        palette: one RGB colour per class, 0 to 255; Pascal VOC's colours where none are given.
        num_channels: channels of every image: 1 grey, 3 RGB, or more.
        void_index: the stored label value that marks void pixels, or None.
        label_map: pairs of a stored label value and the class (or ``VOID``, 255) that it stands for; every value but
            ``void_index`` then needs a pair. Empty: values stand for themselves.

    Raises:
        InputError: if the fields contradict each other, such as three names for two classes.
    """

    root: str
    num_classes: int
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    num_channels: int = 3
    void_index: int | None = 255
    label_map: LabelMap = ()

    #: Where people get this data: a sentence of the error for a missing root.
    where_from: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= VOID:
            raise InputError(f"num_classes is {self.num_classes}; it must be 1 to {VOID}, because {VOID} is void.")
        if self.num_channels < 1:
            raise InputError(f"num_channels is {self.num_channels}; it must be at least 1.")
        # Generated names and colours follow num_classes when dataclasses.replace hands them on.
        names, colors = tuple(self.class_names), tuple(tuple(color) for color in self.palette)
        if names == _default_names(len(names)):
            names = _default_names(self.num_classes)
        if colors == default_palette(len(colors)):
            colors = default_palette(self.num_classes)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "palette", colors)
        object.__setattr__(self, "label_map", tuple((value, target) for value, target in self.label_map))
        for what, entries in (("class_names", names), ("palette", colors)):
            if len(entries) != self.num_classes:
                raise InputError(
                    f"{what} has {len(entries)} entries, but num_classes is {self.num_classes}. "
                    f"Give one per class, or {what}=() for generated ones."
                )
        for color in colors:
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise InputError(f"palette holds {color}; a colour is red, green and blue from 0 to 255.")
        self._check_mapping()

    def _check_mapping(self) -> None:
        values = [value for value, _ in self.label_map]
        stored = values if self.void_index is None else [*values, self.void_index]
        if any(not 0 <= value < 2**16 for value in stored):
            raise InputError(f"void_index and the values of label_map must be 0 to 65535, not {stored}.")
        if len(set(values)) < len(values):
            raise InputError(f"label_map={self.label_map} names a value twice. Give each stored value one class.")
        if wrong := [target for _, target in self.label_map if not 0 <= target < self.num_classes and target != VOID]:
            raise InputError(f"label_map leads to {wrong}; classes are 0 to {self.num_classes - 1}, and {VOID} is void.")
        if not self.label_map and self.void_index is not None and self.void_index < self.num_classes:
            raise InputError(
                f"void_index={self.void_index} is also one of the classes 0 to {self.num_classes - 1}. Give one outside them, "
                "void_index=None if no pixel is void, or a label_map that says which value is which class."
            )

    def split(self, name: str) -> "FolderSplit":
        """Find the examples of a split; they are read when they are asked for, and safely from several threads.

        Raises:
            InputError: if the folder or the split is missing or empty, or an image has no label or a label no image.
        """
        return FolderSplit(self, find_pairs(self.root, name, self.where_from))

    def check(self, name: str, limit: int | None = 64) -> None:
        """Read up to ``limit`` evenly spaced examples of a split (None: all), so that bad files show before hours of work.

        Raises:
            InputError: for what :meth:`split` or reading an example raises, listing the bad files; if images differ in dtype; if
                all labels are void; or if they hold only 0 and 255, and 255 is void for want of a ``label_map``.
        """
        split = self.split(name)
        count = len(split) if limit is None else min(len(split), max(limit, 1))
        positions = np.unique(np.linspace(0, len(split) - 1, count).round().astype(int)).tolist()
        with ThreadPoolExecutor() as pool:
            results = list(pool.map(functools.partial(_probe, split), positions))
        errors = [result for result in results if isinstance(result, str)]
        if len(errors) == 1:
            raise InputError(errors[0])
        if errors:
            listed = "".join(f"\n- {error}" for error in errors[:8]) + (
                f"\n- and {len(errors) - 8} more" if len(errors) > 8 else ""
            )
            raise InputError(f"{len(errors)} of the {len(positions)} examples of {name!r} that were read cannot be used:{listed}")
        probes = [result for result in results if not isinstance(result, str)]
        dtypes = {probe.dtype: split.pairs[position].image for position, probe in zip(positions, probes)}
        if len(dtypes) > 1:
            shown = " and ".join(f"{dtype} ({path})" for dtype, path in sorted(dtypes.items()))
            raise InputError(
                f"The images of {name!r} differ in type: {shown}. Convert them to one type, since its range is theirs."
            )
        self._check_classes(name, len(positions), frozenset[int]().union(*(probe.classes for probe in probes)))

    def _check_classes(self, name: str, count: int, classes: frozenset[int]) -> None:
        """Refuse labels that teach nothing, given the classes (and ``VOID``) that ``count`` of them hold."""
        where = f"The {count} labels of {name!r} that were read hold"
        if classes == {VOID}:
            raise InputError(f"{where} nothing but void (void_index={self.void_index}). Correct void_index or label_map.")
        if classes == {0, VOID} and self.num_classes > 1 and self.void_index == VOID and not self.label_map:
            raise InputError(
                f"{where} only 0 and {VOID}, and {VOID} is void: nothing but class 0 would be learnt. "
                f"For masks of 0 and {VOID} set label_map=((0, 0), ({VOID}, 1)). "
                f"If {VOID} is meant as void, say so by label_map=((0, 0), (1, 1), ({VOID}, {VOID}))."
            )


@dataclass(frozen=True)
class FolderSplit(Sequence):  # of Example; said so, a runtime type checker would read an image at every call
    """The examples of one split of a :class:`Folder`, read from disk whenever one is asked for; it pickles, being only paths."""

    source: Folder
    pairs: tuple[Pair, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> "FolderSplit": ...

    def __getitem__(self, index: SupportsIndex | slice) -> "Example | FolderSplit":
        """Read one example, or take a part of the split without reading.

        Raises:
            InputError: if a file is damaged, a label holds an unknown value, or image and label differ in size.
        """
        if isinstance(index, slice):
            return dataclasses.replace(self, pairs=self.pairs[index])
        pair, source = self.pairs[index], self.source
        image, stored, name = self.read(pair)
        label = index_label(
            stored,
            num_classes=source.num_classes,
            void_index=source.void_index,
            label_map=source.label_map,
            name=pair.label,
        )
        if image.shape[:2] != label.shape:
            raise _different_sizes(pair.image, image.shape[:2], pair.label, label.shape)
        return Example(image=image, label=label, name=name)

    def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray, str]:
        """Read the image, the label as it is stored, and the name of an example; for splits that read otherwise."""
        return decode_image(pair.image, num_channels=self.source.num_channels), decode_label(pair.label), pair.name

    def stored(self, index: int) -> tuple[bytes, bytes]:
        """Return the files of an example's image and label, not decoded: what reading costs apart from decoding."""
        return read_bytes(self.pairs[index].image), read_bytes(self.pairs[index].label)


class _Probe(NamedTuple):
    """What :meth:`Folder.check` keeps of an example."""

    dtype: str
    classes: frozenset[int]


def _probe(split: FolderSplit, position: int) -> _Probe | str:
    """Read an example and keep its facts, or the text of what is wrong with it."""
    try:
        example = split[position]
    except InputError as error:
        return str(error)
    return _Probe(str(example["image"].dtype), frozenset(np.unique(example["label"]).tolist()))


def _different_sizes(image_path: str, image_size: tuple[int, ...], label_path: str, label_size: tuple[int, ...]) -> InputError:
    """Return the error for an image and a label of different height or width."""
    (image_height, image_width), (height, width) = image_size, label_size
    remedy = "Resize the label to the image by nearest neighbour, or pair the right files."
    if (image_height, image_width) == (width, height):
        remedy = (
            "One lies on its side: images are turned as their EXIF orientation says, labels are not. "
            "Turn the label, or save the image without the orientation tag."
        )
    return InputError(
        f"{image_path} is {image_width}x{image_height} (width x height), but its label {label_path} is {width}x{height}. {remedy}"
    )


def _default_names(num_classes: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(num_classes))
