"""Examples in memory: read once, no larger than allowed, the same as without."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxseg.data.augment import RandomFlip
from jaxseg.data.loading import train_batches
from jaxseg.data.memory import Remembered
from jaxseg.data.source import Example


class Counting(Sequence):
    """Examples of 6 x 8 x 3 + 6 x 8 = 192 bytes that count how often they are read."""

    def __init__(self):
        self.reads = [0] * 10

    def __len__(self):
        return 10

    def __getitem__(self, i):
        self.reads[i] += 1
        image = np.random.default_rng(i).integers(0, 255, (6, 8, 3)).astype(np.uint8)
        return Example(image=image, label=image[..., 0].copy(), name=f"n{i}")


def test_reads_once_and_gives_the_same():
    source = Counting()
    memory = Remembered(source, 10**6)
    for _ in range(3):
        assert [memory[i]["name"] for i in range(10)] == [f"n{i}" for i in range(10)]
        np.testing.assert_array_equal(memory[4]["image"], Counting()[4]["image"])
    assert source.reads == [1] * 10
    assert len(memory) == 10
    assert [e["name"] for e in memory[2:4]] == ["n2", "n3"]


def test_keeps_no_more_than_fits():
    source = Counting()
    memory = Remembered(source, 3 * 192 + 100)
    for _ in range(4):
        for i in range(10):
            memory[i]
    assert source.reads == [1] * 3 + [4] * 7


def test_keeps_them_resized():
    memory = Remembered(Counting(), 10**6, image_size=(3, 4))
    assert memory[0]["image"].shape == (3, 4, 3)
    assert memory[0]["label"] is memory[0]["label"]


def test_nobody_can_write_into_it():
    memory = Remembered(Counting(), 10**6)
    memory[0]
    with pytest.raises(ValueError, match="read-only"):
        memory[0]["image"][0] = 1


def test_another_process_starts_empty():
    memory = Remembered(Counting(), 10**6)
    memory[0]
    copy = pickle.loads(pickle.dumps(memory))
    copy[0]
    assert copy._examples.reads[0] == memory._examples.reads[0] + 1


def test_threads_do_not_count_an_example_twice():
    memory = Remembered(Counting(), 10 * 192)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(memory.__getitem__, list(range(10)) * 50))
    assert len(memory._kept) == 10
    assert memory._bytes == 10 * 192


@pytest.mark.parametrize("workers", [0, 1])
def test_no_batch_depends_on_it(workers):
    options = {"batch_size": 4, "crop_size": (4, 4), "image_size": (5, 6), "augment": (RandomFlip(),), "seed": 0}
    plain, kept = train_batches(Counting(), **options), train_batches(Counting(), cache_mb=1, workers=workers, **options)
    for _ in range(6):
        a, b = next(plain), next(kept)
        assert a["name"] == b["name"]
        np.testing.assert_array_equal(a["image"], b["image"])
