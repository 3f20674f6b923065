import multiprocessing
import os
import signal
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from jaxseg import processes
from jaxseg.data.augment import ColorJitter, RandomFlip
from jaxseg.data.loading import eval_batches, train_batches
from jaxseg.data.source import Example
from jaxseg.errors import InputError


class Numbered(Sequence):
    """Examples whose every pixel is their number."""

    def __init__(self, count=10, sizes=((6, 8),)):
        self.count, self.sizes = count, sizes

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        size = self.sizes[i % len(self.sizes)]
        return Example(image=np.full((*size, 3), i, np.uint8), label=np.full(size, i, np.uint8), name=f"n{i}")


def take(count, **options):
    options = {"batch_size": 4, "crop_size": (4, 4), "seed": 0, **options}
    batches = train_batches(Numbered(), **options)
    return [next(batches) for _ in range(count)]


def names(batches):
    return [batch["name"] for batch in batches]


def flat_names(batches):
    return [name for batch in batches for name in batch["name"]]


def test_a_batch_is_stacked_as_stored():
    (batch,) = take(1)
    assert batch["image"].shape == (4, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].shape == (4, 4, 4)
    assert [f"n{i}" for i in batch["label"][:, 0, 0]] == batch["name"]


def test_every_example_once_an_epoch_and_another_order_in_the_next():
    flat = flat_names(take(5))
    assert sorted(flat[:10]) == sorted(flat[10:]) == sorted(f"n{i}" for i in range(10))
    assert flat[:10] != flat[10:]


def test_seeds_differ():
    assert names(take(3, seed=0)) == names(take(3, seed=0))
    assert names(take(3, seed=0)) != names(take(3, seed=1))


AUGMENT = (RandomFlip(), ColorJitter(0.5, 0.5))


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_i_depends_on_seed_and_i_alone(workers):
    straight = take(6, augment=AUGMENT)
    resumed = take(3, augment=AUGMENT, start=3, workers=workers)
    assert names(resumed) == names(straight[3:])
    for a, b in zip(straight[3:], resumed):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_augmentation_is_drawn_anew_every_epoch():
    epochs = take(5, augment=(ColorJitter(0.5, 0.5),))
    seen = [batch["image"][batch["name"].index("n7")][0, 0, 0] for batch in epochs if "n7" in batch["name"]]
    assert len(seen) == 2
    assert seen[0] != seen[1]


@pytest.mark.parametrize("shares", [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((1,), (0, 2, 3))])
def test_processes_load_their_own_rows_of_the_global_batches(shares):
    whole = take(4, augment=AUGMENT, start=2)
    for rows in shares:
        part = take(4, augment=AUGMENT, start=2, rows=rows)
        for i in range(4):
            assert part[i]["name"] == [whole[i]["name"][row] for row in rows]
            np.testing.assert_array_equal(part[i]["image"], whole[i]["image"][list(rows)])
            np.testing.assert_array_equal(part[i]["row"], rows)
    np.testing.assert_array_equal(whole[0]["row"], np.arange(4))


def test_a_process_reads_no_rows_of_others():
    class Counted(Numbered):
        read: ClassVar[list] = []

        def __getitem__(self, i):
            self.read.append(i)
            return super().__getitem__(i)

    batches = train_batches(Counted(40), batch_size=4, crop_size=(4, 4), seed=0, rows=(3,))
    mine = [next(batches)["name"] for _ in range(3)]
    assert len(mine[0]) == 1
    assert len(Counted.read) < 12


def test_images_are_resized_before_the_crop():
    (batch,) = take(1, image_size=(4, 4))
    np.testing.assert_array_equal(batch["label"], batch["image"][..., 0])


def test_evaluation_sees_everything_once_in_batches_of_one_size():
    batches = list(eval_batches(Numbered(11, sizes=((6, 8), (4, 4), (6, 8))), batch_size=3))
    assert sorted(flat_names(batches)) == sorted(f"n{i}" for i in range(11))
    assert [len(b["name"]) for b in batches].count(3) >= 3
    assert {b["image"].shape[1:3] for b in batches} == {(6, 8), (4, 4)}


def test_processes_evaluate_disjoint_shares():
    shares = [flat_names(eval_batches(Numbered(7), batch_size=3, process_index=p, process_count=2)) for p in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(f"n{i}" for i in range(7))


def test_a_bad_file_is_the_users_error_not_a_traceback_of_the_loader():
    class Broken(Numbered):
        def __getitem__(self, i):
            raise InputError(f"file {i} is truncated")

    from jaxseg.console import _input_error

    batches = train_batches(Broken(), batch_size=2, crop_size=(4, 4), seed=0)
    with pytest.raises(Exception, match=r"truncated") as error:
        next(batches)
    assert "is truncated" in str(_input_error(error.value))


def test_workers_outlive_a_signal_that_their_whole_group_gets():
    """Or a job that is told to end could not finish its step and save."""
    batches = train_batches(Numbered(40), batch_size=4, crop_size=(4, 4), seed=0, workers=1)
    whole = train_batches(Numbered(40), batch_size=4, crop_size=(4, 4), seed=0)
    assert next(batches)["name"] == next(whole)["name"]
    children = multiprocessing.active_children()
    assert children
    for child in children:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.pid, number)
    for _ in range(60):  # far more than are prefetched
        assert next(batches)["name"] == next(whole)["name"]
    processes.end_workers()
    for child in children:
        child.join(10)
        assert not child.is_alive()
