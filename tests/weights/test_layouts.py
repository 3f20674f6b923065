"""Single arrays from a file's layout into ours."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.positions import resize_table
from jaxseg.weights.layouts import Positions
from jaxseg.weights.transformers import CubicPositions


@pytest.mark.parametrize(("side", "grid"), [(24, (18, 32)), (14, (7, 28))])
def test_a_square_table_of_as_many_rows_as_an_oblong_grid_is_resized(side, grid):
    table = np.random.default_rng(0).normal(size=(1, side, side, 2)).astype(np.float32)
    given = np.concatenate([np.ones((1, 1, 2), np.float32), table.reshape(1, -1, 2)], axis=1)
    shape = (1, *grid, 2)
    layout = Positions(part=1)
    want = resize_table(jnp.asarray(table), grid, method="bicubic")
    np.testing.assert_array_equal(layout.load(given, shape, "position_embedding"), want)
    assert layout.changes(given, shape)
    cubic = CubicPositions(part=1)
    np.testing.assert_array_equal(cubic.load(given, shape, "position_embedding"), cubic.resize(table, grid))


def test_an_oblong_table_is_ours_where_its_rows_are_no_square():
    table = np.random.default_rng(0).normal(size=(1, 3, 5, 2)).astype(np.float32)
    layout, given = Positions(class_tokens=0), table.reshape(1, -1, 2)
    np.testing.assert_array_equal(layout.load(given, table.shape, "position_embedding"), table)
    assert not layout.changes(given, table.shape)
    assert layout.load(given, (1, 4, 4, 2), "position_embedding").shape == given.shape  # which does not fit and is named
