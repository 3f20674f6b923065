import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import draw_confusion


def test_the_full_cell_is_darkest_and_where_it_belongs():
    picture = draw_confusion(np.array([[90, 10, 0], [0, 100, 0]]), ("sky", "road"), title="")
    rows, columns = np.nonzero((picture == (8, 48, 107)).all(-1))
    assert len(rows) > 300
    # The second of the second row: at the lower right.
    assert rows.min() > picture.shape[0] - 12 - 34
    assert columns.min() > picture.shape[1] - 12 - 34
    assert picture.dtype == np.uint8


def test_strays_widen_it_and_many_classes_fit():
    names = ("a", "b")
    without, strays = (draw_confusion(np.array([[1, 0, s], [0, 1, 0]]), names, title="") for s in (0, 5))
    assert strays.shape[1] > without.shape[1]
    many = draw_confusion(np.eye(150, dtype=int), [f"class {i}" for i in range(150)])
    assert 150 * 15 < many.shape[0] < 150 * 15 + 200


def test_a_class_without_pixels_has_an_empty_row():
    picture = draw_confusion(np.array([[4, 4], [0, 0]]), ("a", "b"), title="")
    assert (picture[-40:-14, 60:-14].min(-1) > 200).all()


def test_names_must_be_as_many_as_classes():
    with pytest.raises(InputError, match=r"There are 1 class names for a confusion matrix of 2 classes"):
        draw_confusion(np.eye(2, dtype=int), ("a",))
