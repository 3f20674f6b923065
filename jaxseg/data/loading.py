"""From a data source to batches: Grain reads, augments, batches and prefetches; batch i depends on (seed, i) alone."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import numpy as np

from jaxseg.data.augment import RandomCrop, Resize
from jaxseg.data.memory import Remembered
from jaxseg.data.source import Example
from jaxseg.errors import InputError

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
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, Any]]:
    """Iterate over training batches without end, reshuffled every epoch.

    Global batch i is the same for any number of processes, workers and restarts: order and augmentation are drawn from
    (seed, position), and process p takes rows p, p + n, p + 2n ... of it.

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
        process_index: of this process.
        process_count: of the job.

    Yields:
        ``image`` ``(b, h, w, c)`` as stored, ``label`` ``(b, h, w)`` uint8, further maps that transforms add, ``name``, and
        ``row`` ``(b,)``, the number of each image in the batch of the whole job.

    Raises:
        InputError: if the batch does not split over the processes, or as the source finds bad files.
    """
    if batch_size % process_count:
        raise InputError(f"batch_size={batch_size} does not split evenly over {process_count} processes.")
    if cache_mb:
        examples, image_size = Remembered(examples, cache_mb * 10**6, image_size), None
    transform = _InTurn(pipeline(image_size, augment, crop_size))
    data = grain.MapDataset.source(examples).seed(seed).shuffle().repeat().random_map(transform)
    numbered = functools.partial(_stack_numbered, first=process_index, step=process_count)
    data = data[process_index::process_count].batch(batch_size // process_count, drop_remainder=True, batch_fn=numbered)[start:]
    iterator = data.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=4 * batch_size // process_count))
    if workers:
        _parse_flags()
        iterator = iterator.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(iterator)


@dataclasses.dataclass(frozen=True)
class _InTurn:
    """Transforms as one; an object, since worker processes receive it pickled."""

    transforms: tuple[Transform, ...]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        for transform in self.transforms:
            example = transform(example, rng)
        return example


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


def _stack_numbered(examples: Sequence[Any], first: int, step: int) -> dict[str, Any]:
    return {**stack(examples), "row": np.arange(first, first + step * len(examples), step, dtype=np.int32)}


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
        As :func:`train_batches`, unaugmented.
    """
    data = grain.MapDataset.source(examples)[process_index::process_count]
    waiting: dict[tuple[int, ...], list[Example]] = {}
    for example in data.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=2 * batch_size)):
        same = waiting.setdefault(example["image"].shape, [])
        same.append(example)
        if len(same) == batch_size:
            yield stack(waiting.pop(example["image"].shape))
    for rest in waiting.values():
        yield stack(rest)


def _parse_flags() -> None:
    """Grain's worker processes read absl flags, which must have been parsed, even if there are none."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["jaxseg"])
