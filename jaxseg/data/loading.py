"""From a data source to batches: Grain reads, augments, batches and prefetches; batch i depends on (seed, i) alone."""

import dataclasses
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import numpy as np

from jaxseg.data.augment import RandomCrop, Resize
from jaxseg.data.memory import Remembered
from jaxseg.data.source import Example

#: Seconds that a worker outlives a signal, if its parent does not end it before.
_GRACE = 60.0

Transform = Callable[[Example, np.random.Generator], Example]


def train_batches(
    examples: Sequence[Any],
    *,
    batch_size: int,
    crop_size: tuple[int, int],
    image_size: tuple[int, int] | None = None,
    augment: tuple[Transform, ...] = (),
    seed: int,
    start: int = 0,
    workers: int = 0,
    cache_mb: int = 0,
    rows: Sequence[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Iterate over training batches without end, reshuffled every epoch.

    Global batch i is the same for any number of processes, workers and restarts: order and augmentation are drawn from
    (seed, position), and a process of several loads its own rows of it alone.

    Args:
        examples: one split of a source.
        batch_size: of the whole job.
        crop_size: height and width of every image in the batch.
        image_size: to which images are resized first, if given.
        augment: transforms, in order, before the crop.
        seed: of order and augmentation.
        start: number of the first batch, to go on where a run stopped.
        workers: processes that load; 0 loads in threads.
        cache_mb: megabytes of decoded images that each loading process keeps in memory; no batch depends on it.
        rows: of each batch, for this process; all by default. See :func:`jaxseg.processes.own_rows`.

    Yields:
        ``image`` ``(b, h, w, c)`` as stored, ``label`` ``(b, h, w)`` uint8, further maps that transforms add, ``name``, and
        ``row`` ``(b,)``, the number of each image in the batch of the whole job.

    Raises:
        InputError: as the source finds bad files.
    """
    if cache_mb:
        examples, image_size = Remembered(examples, cache_mb * 10**6, image_size), None
    transform = _InTurn(pipeline(image_size, augment, crop_size))
    data = grain.MapDataset.source(examples).seed(seed).shuffle().repeat().random_map(transform)
    if rows is not None:
        data = grain.MapDataset.source(_Rows(data, tuple(rows), batch_size))
    own = tuple(range(batch_size)) if rows is None else tuple(rows)
    data = data.batch(len(own), drop_remainder=True, batch_fn=functools.partial(_stack_numbered, rows=own))[start:]
    iterator = data.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=4 * len(own)))
    if workers:
        _parse_flags()
        options = grain.MultiprocessingOptions(num_workers=workers)
        iterator = iterator.mp_prefetch(options, worker_init_fn=_outlive_signals)
    return iter(iterator)


def _outlive_signals(index: int, count: int) -> None:
    """Let a worker go on for a while after a signal: one to the whole group must not take away the batches before the save."""
    del index, count
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_later)


def _leave_later(*_: object) -> None:
    timer = threading.Timer(_GRACE, os._exit, (0,))
    timer.daemon = True
    timer.start()


@dataclasses.dataclass(frozen=True)
class _InTurn:
    """Transforms as one; an object, since worker processes receive it pickled."""

    transforms: tuple[Transform, ...]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        for transform in self.transforms:
            example = transform(example, rng)
        return example


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Some rows of every batch of a data set, one after the other."""

    examples: grain.MapDataset
    rows: tuple[int, ...]
    batch_size: int

    def __len__(self) -> int:
        return len(self.examples) // self.batch_size * len(self.rows)

    def __getitem__(self, i: int) -> Any:
        batch, row = divmod(i, len(self.rows))
        return self.examples[batch * self.batch_size + self.rows[row]]


def pipeline(
    image_size: tuple[int, int] | None, augment: tuple[Transform, ...], crop_size: tuple[int, int]
) -> tuple[Transform, ...]:
    """Return all that happens to a training example: the resize, if any, the augmentation, the crop."""
    resize = () if image_size is None else (Resize(image_size),)
    return (*resize, *augment, RandomCrop(crop_size))


def stack(examples: Sequence[Any]) -> dict[str, Any]:
    """Stack examples of one shape into a batch; names stay a list."""
    first = examples[0]
    return {k: [e[k] for e in examples] if k == "name" else np.stack([e[k] for e in examples]) for k in first}


def _stack_numbered(examples: Sequence[Any], rows: tuple[int, ...]) -> dict[str, Any]:
    return {**stack(examples), "row": np.asarray(rows, np.int32)}


def eval_batches(
    examples: Sequence[Any], *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, Any]]:
    """Iterate once over a split, in batches of one image size each, this process's share of it.

    Args:
        examples: one split of a source.
        batch_size: at most so many images; the last batches of each size hold fewer.
        process_index: of this process, which takes examples ``process_index, process_index + process_count, ...``.
        process_count: of the job.

    Yields:
        As :func:`train_batches`, unaugmented; in place of ``row``, ``index`` ``(b,)``, the number of each example in the split.
    """
    data = grain.MapDataset.source(examples).map_with_index(_numbered)[process_index::process_count]
    waiting: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for example in data.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=2 * batch_size)):
        same = waiting.setdefault(example["image"].shape, [])
        same.append(example)
        if len(same) == batch_size:
            yield stack(waiting.pop(example["image"].shape))
    for rest in waiting.values():
        yield stack(rest)


def _numbered(index: int, example: Example) -> dict[str, Any]:
    return {**example, "index": index}


def _parse_flags() -> None:
    """Grain's worker processes read absl flags, which must have been parsed, even if there are none."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["jaxseg"])
