"""PyTorch's ``DataLoader`` around the same source and the same transforms: what :mod:`jaxseg.benchmarks.data` compares with."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from jaxseg.data.loading import stack
from jaxseg.data.source import Example


class Transformed(torch.utils.data.Dataset):
    """Examples of a source, transformed; the randomness of example i is that of i."""

    def __init__(self, examples: Sequence[Example], transforms: tuple[Callable[..., Example], ...]) -> None:
        self.examples, self.transforms = examples, transforms

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        example, rng = self.examples[index], np.random.default_rng(index)
        for transform in self.transforms:
            example = transform(example, rng)
        return example


def as_tensors(examples: Sequence[Example]) -> dict[str, Any]:
    """Stack examples; tensors go from process to process through shared memory, arrays would be pickled."""
    batch = stack(examples)
    return {key: value if key == "name" else torch.from_numpy(value) for key, value in batch.items()}


def batches(
    examples: Sequence[Example], transforms: tuple[Callable[..., Example], ...], batch_size: int, workers: int
) -> Iterator[dict[str, Any]]:
    """Iterate without end, shuffled anew every epoch."""
    loader = torch.utils.data.DataLoader(
        Transformed(examples, transforms),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        collate_fn=as_tensors,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
    )
    while True:
        yield from loader
