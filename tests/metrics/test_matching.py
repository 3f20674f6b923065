import itertools

import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import match_segments

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("classes", "segments"), [(4, 4), (5, 3), (3, 2), (1, 1)])
def test_with_few_segments_it_is_the_best_of_all_one_to_one_assignments(classes, segments):
    for _ in range(5):
        counts = RNG.integers(0, 100, (classes, segments))
        found = match_segments(counts)
        assert len(set(found.tolist())) == segments
        best = max(
            sum(counts[row, column] for column, row in enumerate(rows))
            for rows in itertools.permutations(range(classes), segments)
        )
        assert counts[found, np.arange(segments)].sum() == best


def test_with_many_segments_each_gets_the_class_of_most_of_its_pixels():
    counts = np.array([[5, 0, 9, 4], [3, 2, 0, 4], [0, 1, 8, 0]])
    assert match_segments(counts).tolist() == [0, 1, 0, 0]


def test_counts_beyond_float32_and_of_the_confusion_matrixs_dtype():
    counts = np.array([[2**30 + 1, 2**30], [2**30, 2**30]], np.uint64)
    assert match_segments(counts).tolist() == [0, 1]


def test_permuted_classes_are_found_again():
    order = RNG.permutation(6)
    counts = (np.eye(6, dtype=np.int64) * 50 + RNG.integers(0, 10, (6, 6)))[:, order]
    assert match_segments(counts).tolist() == order.tolist()


def test_errors():
    with pytest.raises(InputError, match="0 classes and 3 segments cannot be matched"):
        match_segments(np.zeros((0, 3), np.int64))
