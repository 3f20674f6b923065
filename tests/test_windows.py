import numpy as np
import pytest

from jaxseg.windows import starts, tile


@pytest.mark.parametrize(("length", "window"), [(5, 8), (8, 8), (9, 8), (100, 8), (7, 3), (10, 1)])
def test_windows_cover_a_side_and_stay_inside(length, window):
    found = starts(length, window)
    assert found[0] == 0
    assert found == sorted(set(found))
    covered = {i for start in found for i in range(start, start + window)}
    assert covered >= set(range(length))
    assert max(covered) < max(length, window)


def shrink(pieces, call):
    """A network that loses 3 pixels on every side and says what it sees."""
    return pieces[:, 3:-3, 3:-3].astype(np.float32)


@pytest.mark.parametrize("size", [(5, 5), (8, 9), (17, 30), (1, 4)])
@pytest.mark.parametrize("stride", [1, 4, 32])
def test_tiles_put_every_pixel_in_its_place(size, stride):
    images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
    logits = tile(images, shrink, window=(15, 12), inner=(9, 6), stride=stride, at_once=4)
    np.testing.assert_allclose(logits, images, atol=1e-6)


def test_tiles_begin_at_whole_strides():
    rows, columns = np.indices((40, 40))
    images = np.stack([rows, columns], axis=-1)[None].astype(np.float32)
    seen = []

    def network(pieces, call):
        seen.extend(pieces[:, 3, 3].astype(int).tolist())
        return shrink(pieces, call)

    tile(images, network, window=(20, 20), inner=(14, 14), stride=4, at_once=1)
    assert sorted({row for row, _ in seen}) == [0, 12, 24, 36]
    assert len(seen) == 16


def test_tiles_see_the_mirror_beyond_the_image():
    images = np.arange(4.0, dtype=np.float32).reshape(1, 1, 4, 1)
    seen = []

    def network(pieces, call):
        seen.append(pieces[0, 0, :, 0].tolist())
        return pieces[:, 0:1, 3:-3]

    tile(images, network, window=(1, 10), inner=(1, 4), stride=1, at_once=1)
    assert seen == [[3, 2, 1, 0, 1, 2, 3, 2, 1, 0]]


def test_the_network_gets_as_many_pieces_each_time_and_counts_its_calls():
    calls = []

    def network(pieces, call):
        calls.append((call, len(pieces)))
        return shrink(pieces, call)

    tile(np.ones((1, 20, 20, 1), np.float32), network, window=(14, 14), inner=(8, 8), stride=1, at_once=4)
    assert calls == [(0, 4), (1, 4), (2, 4)]
