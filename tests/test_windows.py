import itertools

import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.windows import slide, starts, tile


@pytest.mark.parametrize(("length", "window"), [(5, 8), (8, 8), (9, 8), (100, 8), (7, 3), (10, 1)])
def test_windows_cover_a_side_and_stay_inside(length, window):
    found = starts(length, window)
    assert found[0] == 0
    assert found == sorted(set(found))
    covered = {i for start in found for i in range(start, start + window)}
    assert covered >= set(range(length))
    assert max(covered) < max(length, window)


def joined(bands):
    return np.concatenate(list(bands), axis=1)


def shrink(pieces, call):
    """A network that loses 3 pixels on every side and says what it sees."""
    return pieces[:, 3:-3, 3:-3].astype(np.float32)


@pytest.mark.parametrize("size", [(5, 5), (8, 9), (17, 30), (1, 4)])
@pytest.mark.parametrize("stride", [1, 4, 32])
def test_tiles_put_every_pixel_in_its_place(size, stride):
    images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
    logits = joined(tile(images, shrink, window=(15, 12), inner=(9, 6), stride=stride, at_once=4))
    np.testing.assert_allclose(logits, images, atol=1e-6)


def test_tiles_begin_at_whole_strides():
    rows, columns = np.indices((40, 40))
    images = np.stack([rows, columns], axis=-1)[None].astype(np.float32)
    seen = []

    def network(pieces, call):
        seen.extend(pieces[:, 3, 3].astype(int).tolist())
        return shrink(pieces, call)

    joined(tile(images, network, window=(20, 20), inner=(14, 14), stride=4, at_once=1))
    assert sorted({row for row, _ in seen}) == [0, 12, 24, 36]
    assert len(seen) == 16


def test_tiles_see_the_mirror_beyond_the_image():
    images = np.arange(4.0, dtype=np.float32).reshape(1, 1, 4, 1)
    seen = []

    def network(pieces, call):
        seen.append(pieces[0, 0, :, 0].tolist())
        return pieces[:, 0:1, 3:-3]

    joined(tile(images, network, window=(1, 10), inner=(1, 4), stride=1, at_once=1))
    assert seen == [[3, 2, 1, 0, 1, 2, 3, 2, 1, 0]]


def test_the_network_gets_as_many_pieces_each_time_and_counts_its_calls():
    calls = []

    def network(pieces, call):
        calls.append((call, len(pieces)))
        return shrink(pieces, call)

    joined(tile(np.ones((1, 20, 20, 1), np.float32), network, window=(14, 14), inner=(8, 8), stride=1, at_once=4))
    assert calls == [(0, 4), (1, 4), (2, 4)]


@pytest.mark.parametrize("size", [(5, 5), (8, 9), (17, 30), (1, 4), (64, 100), (130, 33)])
@pytest.mark.parametrize(
    ("blending", "window", "overlap"),
    [
        *(("gaussian", *sides) for sides in [((8, 6), 1 / 3), ((64, 96), 0.5), ((3, 3), 0.9)]),
        *(("mean", *sides) for sides in [((8, 6), 0.0), ((3, 3), 0.9)]),
        *(("tile", *sides) for sides in [((64, 96), 0.5), ((32, 64), 0.0)]),
    ],
)
def test_windows_put_every_pixel_in_its_place(size, blending, window, overlap):
    """A network that says what it sees: all windows agree, so that their blend is the image, whatever the weights."""
    images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
    bands = slide(images, lambda x, _: x, window=window, at_once=5, overlap=overlap, blending=blending)
    np.testing.assert_allclose(joined(bands), images, atol=1e-6)


def windows_of(length, side, blending, overlap=0.5):
    """The share that each window has in every pixel of a row: the network tells windows apart by the pixel they begin at."""
    images = np.arange(length, dtype=np.float32).reshape(1, 1, length, 1)
    begins = starts(length, side, overlap, 32 if blending == "tile" else 1)

    def network(pieces, call):
        number = [begins.index(int(piece[0, 0, 0])) for piece in pieces]
        return np.broadcast_to(np.eye(len(begins))[number][:, None, None], (len(pieces), 64, side, len(begins)))

    return joined(slide(images, network, window=(64, side), at_once=1, overlap=overlap, blending=blending))[0, 0].T


def test_the_mean_counts_windows():
    first, second, third = windows_of(16, 8, "mean")
    assert first.tolist() == [1] * 4 + [0.5] * 4 + [0] * 8
    assert second.tolist() == [0] * 4 + [0.5] * 8 + [0] * 4
    assert third.tolist() == [0] * 8 + [0.5] * 4 + [1] * 4


def test_a_gaussian_has_an_eighth_of_the_side_and_prefers_the_nearer_centre():
    first, second, _ = windows_of(32, 16, "gaussian")
    at = np.arange(8, 16)
    bells = [np.exp(-0.5 * ((at - centre) / 2) ** 2) for centre in (7.5, 15.5)]
    np.testing.assert_allclose(first[8:16], bells[0] / (bells[0] + bells[1]), rtol=1e-5)
    np.testing.assert_allclose(first[8:16] + second[8:16], 1, rtol=1e-6)


def test_tiled_windows_give_their_inner_part_alone():
    first, second, third = windows_of(128, 64, "tile")
    assert first.tolist() == [1] * 48 + [0] * 80
    assert second.tolist() == [0] * 48 + [1] * 32 + [0] * 48
    assert third.tolist() == [0] * 80 + [1] * 48


@pytest.mark.parametrize(("window", "overlap"), [((100, 96), 0.5), ((96, 90), 0.5), ((32, 32), 0.5), ((64, 64), 0.6)])
def test_tiled_windows_that_cannot_keep_to_the_stride_are_refused(window, overlap):
    images = np.zeros((1, 200, 200, 1), np.float32)
    with pytest.raises(InputError, match=r"windows must be multiples of 32, and leave as much between their beginnings"):
        slide(images, lambda x, _: x, window=window, at_once=1, overlap=overlap, blending="tile")


def test_tiled_windows_keep_to_the_largest_stride():
    seen = []

    def network(pieces, call):
        seen.extend(pieces[:, 0, 0, 0].tolist())
        return pieces

    images = np.broadcast_to(np.arange(200, dtype=np.float32)[None, :, None, None], (1, 200, 64, 1))
    joined(slide(images, network, window=(96, 64), at_once=1, overlap=0.25, blending="tile"))
    assert seen == [0, 64, 128]  # 224 rows: the image is extended to a multiple of 32


def test_bands_come_as_soon_as_they_are_complete():
    """However high the image, no more rows are held than a window has."""
    images, calls = np.ones((1, 100, 10, 1), np.float32), []

    def network(pieces, call):
        calls.append(call)
        return pieces

    bands = slide(images, network, window=(20, 10), at_once=1, overlap=0.5)
    first = next(bands)
    assert first.shape == (1, 10, 10, 1)
    assert len(calls) == 3  # the second row of windows, and the next, which is under way
    assert [band.shape[1] for band in itertools.chain([first], bands)] == [10] * 8 + [20]
