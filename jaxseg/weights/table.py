"""Tables of names: for each of our layers, or arrays, the name that a source gives it. One table serves both directions.

A row pairs a path below a module with a name: ``Row("stage{s}_block{b}/conv{n}/conv", "layer{s}.{b0}.conv{n}")``. ``{b}`` stands
for a number, and ``{b0}`` in the name for one less, since we count from 1 and PyTorch from 0. Where that is not enough the name
is a function of the numbers. A path of a layer stands for its arrays, under PyTorch's names for them:

    kernel, scale -> weight        mean -> running_mean
    bias -> bias                   var -> running_var
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxseg.weights.layouts import AS_IS, Layout, Stem

Name = str | Callable[..., str]

#: PyTorch's names of a layer's arrays.
ARRAYS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

#: Caffe's numbers of them.
BLOBS = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}


@dataclasses.dataclass(frozen=True)
class Row:
    """One of our layers or arrays, and what the source calls it.

    Attributes:
        ours: path below the module.
        theirs: name; of a layer without ``.weight`` and the like, unless ``{array}`` in it says where these go, or ``{blob}``
            where Caffe's number of it does. Several are spellings, of which the first is written.
        layout: of the arrays.
    """

    ours: str
    theirs: Name | tuple[Name, ...]
    layout: Layout = AS_IS

    def names(self, path: str) -> tuple[str, ...]:
        """Return what the source calls the array of this path, in all spellings; none where the row is of another."""
        layer, _, array = path.rpartition("/")
        numbers = _numbers(self.ours, path)
        whole = numbers is not None
        if not whole:
            numbers = _numbers(self.ours, layer) if array in ARRAYS else None
        if numbers is None:
            return ()
        spellings = self.theirs if isinstance(self.theirs, tuple) else (self.theirs,)
        return tuple(_name(spelling, numbers, "" if whole else ARRAYS[array]) for spelling in spellings)


def conv_bn(ours: str, conv: str, norm: str, layout: Layout = AS_IS) -> tuple[Row, ...]:
    """Return the rows of a :class:`jaxseg.models.layers.ConvBNAct`: its convolution and its norm."""
    return Row(f"{ours}/conv", conv, layout), Row(f"{ours}/bn/norm", norm)


def attention(ours: str, packed: Name, out: Name) -> tuple[Row, ...]:
    """Return the rows of a :class:`jaxseg.models.attention.MultiHeadAttention` whose query, key and value are packed."""
    parts = (Row(f"{ours}/{name}", packed, Layout(n, 3)) for n, name in enumerate(("query", "key", "value")))
    return *parts, Row(f"{ours}/out", out)


def within(ours: str, theirs: str, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return rows of a part, with the part's path and name before theirs: ``within("backbone/", "backbone.", resnet(...))``."""
    return tuple(Row(ours + row.ours, _behind(theirs, row.theirs), row.layout) for row in rows)


class Converted(NamedTuple):
    """A file's arrays as ours.

    Attributes:
        arrays: by our names, in our layouts.
        changed: our names of those that were interpolated, inflated or averaged to fit.
        unused: the file's names of those that are not among ours.
        channels: of the image that our first convolution reads; ``None`` where the rows have none.
    """

    arrays: dict[str, np.ndarray]
    changed: tuple[str, ...]
    unused: tuple[str, ...]
    channels: int | None = None


def load(rows: Iterable[Row], own: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]) -> Converted:
    """Return the file's arrays under our names and in our layouts.

    Args:
        rows: paths below a collection, such as ``backbone/stem/conv``.
        own: shape of each of our arrays, by a name that starts with the collection.
        given: the file's arrays.
    """
    rows, arrays, changed, used = tuple(rows), {}, [], set()
    for name, shape in own.items():
        for row, theirs in _matches(rows, name):
            if theirs in given:
                arrays[name] = row.layout.load(given[theirs], shape, name)
                used.add(theirs)
                if row.layout.changes(given[theirs], shape):
                    changed.append(name)
                break
    return Converted(arrays, tuple(changed), tuple(name for name in given if name not in used), _image_channels(rows, own))


def _image_channels(rows: Iterable[Row], own: Mapping[str, tuple[int, ...]]) -> int | None:
    stems = [row for row in rows if isinstance(row.layout, Stem)]
    kernels = (shape for name, shape in own.items() if len(shape) == 4 and any(_matches(stems, name)))
    return next((shape[2] for shape in kernels), None)


def save(rows: Iterable[Row], own: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return our arrays under the source's names and in its layouts, and the names of ours that the rows do not have."""
    rows, left = tuple(rows), []
    parts: dict[str, list[tuple[int, Layout, np.ndarray]]] = {}
    for name, value in own.items():
        row, theirs = next(_matches(rows, name), (None, ""))
        if row is None:
            left.append(name)
            continue
        parts.setdefault(theirs, []).append((row.layout.part or 0, row.layout, row.layout.save(np.asarray(value), name)))
    together = {}
    for theirs, found in parts.items():
        found.sort(key=lambda part: part[0])
        together[theirs] = np.ascontiguousarray(
            np.concatenate([a for *_, a in found], found[0][1].axis) if len(found) > 1 else found[0][2]
        )
    return together, left


def _matches(rows: Iterable[Row], name: str) -> Iterator[tuple[Row, str]]:
    path = name.partition("/")[2]
    return ((row, theirs) for row in rows for theirs in row.names(path))


def _numbers(pattern: str, path: str) -> dict[str, int] | None:
    """Return the numbers that make the pattern the path."""
    found = _expression(pattern).fullmatch(path)
    return None if found is None else {name: int(text) for name, text in found.groupdict().items()}


@functools.cache
def _expression(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(re.escape(piece) if n % 2 == 0 else rf"(?P<{piece}>\d+)" for n, piece in enumerate(pieces)))


def _name(spelling: Name, numbers: Mapping[str, int], array: str) -> str:
    from_0 = {f"{name}0": number - 1 for name, number in numbers.items()}
    text = spelling(**numbers) if callable(spelling) else spelling
    if array and "{array}" not in text and "{blob}" not in text:
        text += ".{array}"
    return text.format(**numbers, **from_0, array=array, blob=BLOBS.get(array))


def _behind(prefix: str, theirs: Name | tuple[Name, ...]) -> Name | tuple[Name, ...]:
    if isinstance(theirs, tuple):
        return tuple(_prefixed(prefix, name) for name in theirs)
    return _prefixed(prefix, theirs)


def _prefixed(prefix: str, name: Name) -> Name:
    return (lambda **numbers: prefix + name(**numbers)) if callable(name) else prefix + name
