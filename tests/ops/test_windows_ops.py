import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxseg.errors import InputError
from jaxseg.ops.windows import cyclic_shift, merge, partition, places, relative_bias, shift_mask, unshift

SIDES = st.integers(1, 4)


def numbered(b, h, w, c=1):
    return jnp.asarray(np.arange(b * h * w * c, dtype=np.float32).reshape(b, h, w, c))


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(1, 2))
def test_partition_is_a_bijection_and_merge_its_inverse(down, across, rows, columns, b):
    x, window = numbered(b, down * rows, across * columns, 2), (rows, columns)
    windows, back = jax.jit(lambda x: (partition(x, window), merge(partition(x, window), window, x.shape[1:3])))(x)
    assert windows.shape == (b, down * across, rows * columns, 2)
    assert sorted(np.asarray(windows).ravel()) == sorted(np.asarray(x).ravel())
    np.testing.assert_array_equal(back, x)


def test_a_window_holds_neighbours_row_by_row():
    windows = partition(numbered(1, 4, 6), (2, 3))
    assert windows[0, :, :, 0].astype(int).tolist()[1] == [3, 4, 5, 9, 10, 11]
    assert windows[0, :, :, 0].astype(int).tolist()[2] == [12, 13, 14, 18, 19, 20]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 6), st.integers(0, 6))
def test_shift_and_its_inverse_are_the_identity(h, w, rows, columns):
    x, shift = numbered(1, h, w), (rows, columns)
    moved, back = jax.device_get(jax.jit(lambda x: (cyclic_shift(x, shift), unshift(cyclic_shift(x, shift), shift)))(x))
    np.testing.assert_array_equal(back, x)
    assert moved[0, 0, 0, 0] == np.asarray(x)[0, rows % h, columns % w, 0]


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 4), st.data())
def test_mask_allows_exactly_those_of_one_shifted_window(down, across, rows, columns, data):
    """Windows that start ``shift`` pixels later, cut off at the borders: who lies in the same one, without going round."""
    shift = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)))
    size = (down * rows, across * columns)
    pixels = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    cells = np.floor_divide(pixels - np.asarray(shift), (rows, columns))
    run = jax.jit(lambda x: partition(cyclic_shift(x, shift), (rows, columns)))
    cells = np.asarray(run(np.asarray(cells, np.float32)[None]))[0]
    expected = (cells[:, :, None] == cells[:, None, :]).all(-1)
    np.testing.assert_array_equal(shift_mask(size, (rows, columns), shift), expected)


@pytest.mark.parametrize("window", [(7, 7), (3, 3), (2, 5), (1, 1)])
def test_bias_is_the_table_at_query_less_key(window):
    """Row (dh + 6) 13 + dw + 6 of the table, whatever the window."""
    largest = 7
    table = jax.random.normal(jax.random.key(0), ((2 * largest - 1) ** 2, 3))
    got, table = jax.device_get((jax.jit(lambda t: relative_bias(t, largest, window))(table), table))
    tokens = [(i, j) for i in range(window[0]) for j in range(window[1])]
    assert got.shape == (3, len(tokens), len(tokens))
    for q, (qh, qw) in enumerate(tokens):
        for k, (kh, kw) in enumerate(tokens):
            row = (qh - kh + 6) * 13 + qw - kw + 6
            np.testing.assert_array_equal(got[:, q, k], table[row])


def test_every_entry_of_the_table_counts_as_often_as_its_distance_occurs():
    gradient = jax.jit(jax.grad(lambda t: relative_bias(t, 3, 3).sum()))(jnp.zeros((25, 1)))
    often = np.asarray([1, 2, 3, 2, 1])
    np.testing.assert_array_equal(gradient[:, 0], np.outer(often, often).ravel())


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="A map of 5 x 6 is no whole number of 2 x 3 windows: pad it first"):
        partition(numbered(1, 5, 6), (2, 3))
    with pytest.raises(InputError, match="A window of 8 x 7 is larger than the 7 that its table was made for"):
        relative_bias(jnp.zeros((169, 1)), 7, (8, 7))


@pytest.mark.parametrize("shift", [(0, 0), (1, 2)])
def test_places_are_where_the_tokens_of_a_padded_map_come_from(shift):
    x = numbered(1, 5, 7)
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 2), (0, 0)), constant_values=-1)
    expected = partition(cyclic_shift(padded, shift), (2, 3))[0, :, :, 0]
    np.testing.assert_array_equal(places((6, 9), (2, 3), shift, (5, 7)), expected)
