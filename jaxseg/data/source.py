"""What a data set is to jaxseg: named splits of images with index labels, on the host, one at a time."""

from collections.abc import Sequence
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8


class Example(TypedDict):
    """One image with its label.

    Attributes:
        image: ``(h, w, c)``, uint8, uint16 or float32, not normalised; colour images are RGB.
        label: ``(h, w)`` uint8, class indices in ``[0, num_classes)`` or ``VOID``, of the image's own size.
        name: a stable name, unique in its split, safe as a file stem; error messages and written pictures use it.
    """

    image: Shaped[np.ndarray, "h w c"]
    label: UInt8[np.ndarray, "h w"]
    name: str


@runtime_checkable
class Source(Protocol):
    """A data set of a config. Implementations are frozen dataclasses; making one reads nothing from disk.

    ``split`` raises :class:`jaxseg.errors.InputError` where the data is missing or wrong, saying what, where and what to do.
    A source whose files may be bad also has ``check(split)``, which reads some of them and raises the same; training calls it.
    """

    @property
    def root(self) -> str:
        """Where the data lies (or is generated); ``~`` is expanded."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the indices."""

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour per class, 0 to 255."""

    @property
    def num_channels(self) -> int:
        """Channels of every image."""

    def split(self, name: str) -> Sequence[Example]:
        """Random access to the examples of a split: ``train``, ``val`` or ``test``. Safe to read from several threads."""
        ...
