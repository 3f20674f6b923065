import numpy as np
import pytest
from scipy import ndimage

from jaxseg.errors import InputError
from jaxseg.instances import label_instances
from jaxseg.types import VOID


def test_regions_are_numbered_class_by_class():
    labels = np.array([[1, 0, 2, 2], [1, 0, 0, 0], [0, 1, VOID, 2]], np.uint8)
    found = label_instances(labels)
    assert found.ids.dtype == np.uint16
    np.testing.assert_array_equal(found.ids, [[1, 0, 3, 3], [1, 0, 0, 0], [0, 2, 0, 4]])
    assert found.classes == (1, 1, 2, 2)


def test_corners_join_if_asked():
    labels = np.array([[1, 0], [0, 1]], np.int32)
    assert label_instances(labels).classes == (1, 1)
    assert label_instances(labels, connectivity=8).classes == (1,)


def test_background_is_any_class_or_none():
    labels = np.array([[0, 1, 2]], np.uint8)
    assert label_instances(labels, background=(1, 2)).classes == (0,)
    assert label_instances(labels, background=()).classes == (0, 1, 2)


def test_small_regions_are_left_out_and_numbers_stay_dense():
    labels = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1], [2, 2, 2, 0, 2, 0]], np.uint8)
    found = label_instances(labels, min_area=2)
    np.testing.assert_array_equal(found.ids, [[0, 0, 1, 1, 0, 2], [0, 0, 0, 0, 0, 2], [3, 3, 3, 0, 0, 0]])
    assert found.classes == (1, 1, 2)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_agrees_with_scipy(connectivity):
    labels = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    found = label_instances(labels, connectivity=connectivity, min_area=3)
    for index in (1, 2):
        regions, _ = ndimage.label(labels == index, structure=np.ones((3, 3)) if connectivity == 8 else None)
        areas = np.bincount(regions.ravel())[1:]
        assert found.classes.count(index) == (areas >= 3).sum()
        kept = np.isin(regions, 1 + np.flatnonzero(areas >= 3))
        np.testing.assert_array_equal(np.isin(found.ids, 1 + np.flatnonzero(np.array(found.classes) == index)), kept)
        assert len(set(zip(found.ids[kept].tolist(), regions[kept].tolist()))) == found.classes.count(index)


def test_no_regions():
    for labels in (np.zeros((3, 4), np.uint8), np.full((3, 4), VOID, np.uint8)):
        found = label_instances(labels)
        assert not found.ids.any()
        assert found.classes == ()


def test_bad_settings():
    labels = np.zeros((2, 2), np.uint8)
    with pytest.raises(InputError, match=r"connectivity=6 must be 4 \(pixels are joined along edges\) or 8"):
        label_instances(labels, connectivity=6)
    with pytest.raises(InputError, match="min_area=0 must be at least 1"):
        label_instances(labels, min_area=0)
    many = np.indices((520, 520)).sum(axis=0) % 2
    with pytest.raises(InputError, match=r"135200 regions are more than 16 bits can number \(65535\): .* min_area"):
        label_instances(many)
