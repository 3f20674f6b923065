import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from jaxseg import ops, row_blocks
from jaxseg.row_blocks import Taps, average, of_height, resample, resized


def gather(blocks, size):
    return row_blocks.gather([(range(size[2]), blocks)], size)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cut(x, *heights):
    """Bands of these heights, in turn, until there are no rows left."""
    top = 0
    while top < x.shape[1]:
        for height in heights:
            if top < x.shape[1]:
                yield x[:, top : top + height]
            top += height


@pytest.mark.parametrize("heights", [(1,), (3,), (7, 2), (40,), (5, 11)])
def test_blocks_of_one_height(heights):
    x = draw(2, 23, 4, 3)
    blocks = list(of_height(cut(x, *heights), 5))
    assert [block.shape for block in blocks] == [(2, 5, 4, 3)] * 5
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1)[:, :23], x)
    np.testing.assert_array_equal(gather(iter(blocks), (2, 23, 4)), x)


def test_a_whole_number_of_blocks_has_no_further_one():
    assert len(list(of_height(cut(draw(1, 20, 2, 1), 6), 5))) == 4


@pytest.mark.parametrize("target", [(46, 10), (23, 5), (9, 31), (100, 7), (2, 2), (1, 1)])
@pytest.mark.parametrize("heights", [(1,), (7, 2), (40,)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_resized_as_they_come_as_if_they_came_at_once(target, heights, mirrored):
    x = draw(2, 23, 7, 3)
    expected = ops.resize(jnp.asarray(x[:, :, ::-1] if mirrored else x), target)
    across = Taps.of(7, target[1], size=target[1], mirrored=mirrored)
    blocks = list(resized(cut(x, *heights), 23, target[0], height=8, columns=across))
    assert {block.shape[1] for block in blocks} == {8}
    np.testing.assert_allclose(gather(iter(blocks), (2, *target)), expected, atol=1e-6)


@pytest.mark.parametrize("target", [5, 7, 31])
@pytest.mark.parametrize("mirrored", [False, True])
def test_some_columns_are_read_from_no_more_than_they_need(target, mirrored):
    x, whole = draw(1, 4, 7, 2), Taps.of(7, target, size=target, mirrored=mirrored)
    rows = Taps.of(4, 4, size=4)
    columns, seen = whole.within(range(2, target - 1))
    assert len(seen) < 7 or target == 31
    found = resample(x[:, :, seen.start : seen.stop], rows, columns)
    np.testing.assert_allclose(found, resample(x, rows, whole)[:, :, 2:-1], atol=1e-6)


def test_stripes_are_put_beside_each_other():
    x = draw(2, 9, 11, 3)
    stripes = [(columns, cut(x[:, :, columns.start : columns.stop], 4)) for columns in (range(4), range(4, 11))]
    np.testing.assert_array_equal(row_blocks.gather(stripes, (2, 9, 11)), x)


@pytest.mark.parametrize("mirrored", [False, True])
def test_taps_of_a_padded_source_and_target(mirrored):
    """What lies beyond the source is not read; what lies beyond the target may be anything."""
    x = draw(1, 9, 6, 2)
    beyond = np.pad(x, ((0, 0), (0, 3), (0, 4), (0, 0)), constant_values=np.nan)
    found = resample(beyond, Taps.of(9, 14, size=16), Taps.of(6, 13, size=32, mirrored=mirrored))
    assert found.shape == (1, 16, 32, 2)
    np.testing.assert_allclose(
        np.asarray(found)[:, :14, :13], ops.resize(jnp.asarray(x[:, :, ::-1] if mirrored else x), (14, 13)), atol=1e-6
    )


def test_the_average_is_of_probabilities():
    several = [draw(1, 6, 3, 4, seed=seed) * 3 for seed in range(3)]
    found = gather(average([cut(x, 2) for x in several]), (1, 6, 3))
    np.testing.assert_allclose(np.exp(found), np.mean([softmax(x, axis=-1) for x in several], axis=0), rtol=1e-5)


def test_the_average_of_one_logit_is_the_log_odds_of_the_mean():
    several = [draw(1, 6, 3, 1, seed=seed) * 9 for seed in range(2)]
    found = gather(average([cut(x, 6) for x in several]), (1, 6, 3))
    np.testing.assert_allclose(
        found, logit(np.mean([expit(x.astype(np.float64)) for x in several], axis=0)), rtol=1e-3, atol=1e-5
    )


def test_what_is_certain_to_all_stays_finite():
    certain = np.array([200.0, -200.0], np.float32).reshape(1, 1, 1, 2)
    found = gather(average([iter([certain]), iter([certain])]), (1, 1, 1))
    assert np.isfinite(found).all()
    assert found[..., 0] == 0
