"""Decoded examples kept in memory: a small data set is then read and decoded once, and not in every epoch."""

import threading
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from jaxseg.data.augment import Resize
from jaxseg.data.source import Example


class Remembered(Sequence):  # of Example
    """The examples of a split, of which as many as fit stay in memory, resized where the config resizes all.

    What has a place keeps it: with random access to all examples a cache that makes room for new ones would only ever forget
    what comes next. A copy in another process starts empty. The arrays are read-only, for they are given out again.
    """

    def __init__(self, examples: Sequence[Any], limit: int, image_size: tuple[int, int] | None = None) -> None:
        """Wrap a split.

        Args:
            examples: of a source.
            limit: bytes of images and labels to keep.
            image_size: to which images are resized before they are kept.
        """
        self._examples, self._limit = examples, limit
        self._resize = None if image_size is None else Resize(image_size)
        self._forget()

    def _forget(self) -> None:
        self._kept: dict[int, Example] = {}
        self._bytes, self._lock = 0, threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_examples": self._examples, "_limit": self._limit, "_resize": self._resize}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Return an example from memory, or read it."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = index.__index__()
        if (kept := self._kept.get(number)) is not None:
            return kept
        example = self._examples[number]
        if self._resize is not None:
            example = self._resize(example, np.random.default_rng(0))  # which it draws nothing from
        size = example["image"].nbytes + example["label"].nbytes
        with self._lock:  # several threads read, and two may read the same
            if number not in self._kept and self._bytes + size <= self._limit:
                for plane in (example["image"], example["label"]):
                    plane.flags.writeable = False
                self._bytes += size
                self._kept[number] = example
        return example
