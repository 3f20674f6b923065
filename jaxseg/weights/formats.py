"""What a source's files look like, and which of our networks they fit."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxseg.override import children
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Row, within

#: Makes the rows of one module; the second argument is the names in the file, empty for saving.
Table = Callable[[Any, Collection[str]], Iterable[Row]]


@dataclasses.dataclass(frozen=True)
class Format:
    """Files of one kind.

    Attributes:
        title: what the report calls them, such as ``"ResNet of torchvision or timm"``.
        sources: libraries that have it; the names that ``save`` takes.
        signature: expressions of which each must match the start of a name in the file.
        tables: the classes of ours that they are for, and their tables. Where the network given is of none of them, its parts are
            tried: a backbone inside a segmentation network takes a classifier's file.
        inside: likewise, for parts of the file's network: a backbone takes what it finds in a segmentation network's file.
        absent: expressions that must match the start of no name.
        preprocessing: that of the published files; ``None`` where they differ.
        ignored: expressions of names that hold no weights.
        constants: arrays beside the weights that the source wants in a file, by name.
    """

    title: str
    sources: tuple[str, ...]
    signature: tuple[str, ...]
    tables: Mapping[type, Table]
    inside: Mapping[type, Table] = dataclasses.field(default_factory=dict)
    absent: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    ignored: tuple[str, ...] = (r".*num_batches_tracked",)
    constants: Callable[[Any], dict[str, np.ndarray]] = lambda module: {}

    def recognises(self, names: Collection[str]) -> bool:
        """Say whether the names in a file are those of this format."""
        return all(_any_starts(names, e) for e in self.signature) and not any(_any_starts(names, e) for e in self.absent)

    def rows(self, model: Any, names: Collection[str] = ()) -> tuple[Row, ...] | None:
        """Return the table for a network, or for the first part of it that there is one for; ``None`` without one."""
        for path, module in parts(model):
            for kind, table in (*self.tables.items(), *self.inside.items()):
                if type(module) is kind:
                    return within(path, "", table(module, names))
        return None

    def weighs(self, name: str) -> bool:
        """Say whether a name in a file may be one of weights."""
        return not any(re.fullmatch(expression, name) for expression in self.ignored)

    @property
    def fits(self) -> str:
        """Names of the classes that it is for."""
        return ", ".join(kind.__name__ for kind in (*self.tables, *self.inside))


def parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield a network and, breadth first, the modules that are its fields, each with the path of its variables."""
    waiting = [("", model)]
    while waiting:
        path, module = waiting.pop(0)
        yield path, module
        for name, child in children(module).items():
            if hasattr(child, "apply") and hasattr(child, "init"):
                waiting.append((f"{path}{name}/", child))


def _any_starts(names: Iterable[str], expression: str) -> bool:
    found = re.compile(expression)
    return any(found.match(name) for name in names)
