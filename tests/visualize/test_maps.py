import numpy as np
import pytest
from PIL import Image

from jaxseg import visualize
from jaxseg.errors import InputError
from jaxseg.visualize.maps import _distinct_colors

IDS = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 0, 0, 0, 0]], np.uint16)


def test_objects_have_colours_of_their_own_and_the_background_the_image():
    image = np.full((5, 5, 1), 100, np.uint8)
    picture = visualize.instance_overlay(image, IDS, alpha=0.5)
    colors = _distinct_colors(2).astype(int)
    assert (picture[IDS == 0] == 100).all()
    np.testing.assert_allclose(picture[2, 2], (100 + colors[1]) / 2, atol=0.5)
    assert picture[1, 1].tolist() == colors[1].tolist()
    assert picture[2, 4].tolist() == colors[2].tolist()
    assert np.array_equal(visualize.instance_overlay(image, np.zeros_like(IDS)), visualize.to_rgb(image))


def test_colours_of_neighbours_in_number_differ_clearly():
    colors = _distinct_colors(300).astype(int)
    assert len({tuple(color) for color in colors}) == 301
    assert np.abs(np.diff(colors[1:], axis=0)).sum(axis=1).min() > 100
    assert colors[1:].max(axis=1).min() > 120


def test_heat_rises_from_black_and_ends_at_the_largest():
    values = np.linspace(0, 3, 7, dtype=np.float32)[None]
    picture = visualize.heat_map(values, largest=2.0)[0].astype(int)
    assert picture[0].max() < 10
    assert (np.diff(picture[:5].sum(axis=1)) > 50).all()
    assert (picture[4:] == picture[4]).all()
    assert picture[4].min() > 150
    assert picture[2, 0] > picture[2, 2], "RGB, not BGR: the middle of the scale is reddish"


def test_objects_are_kept_in_sixteen_bits(tmp_path):
    ids = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    visualize.save_instances(tmp_path / "new" / "a.png", ids)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), ids)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_bad_settings(tmp_path):
    image = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(InputError, match=r"alpha=2 must be from 0"):
        visualize.instance_overlay(image, IDS, alpha=2)
    with pytest.raises(InputError, match="The image is 4x5, its labels are 5x5"):
        visualize.instance_overlay(image[1:], IDS)
    with pytest.raises(InputError, match=r"largest=0.0 must be above 0"):
        visualize.heat_map(np.zeros((2, 2)), largest=0.0)
    with pytest.raises(InputError, match=r"Cannot save objects as 'a.jpg': the name must end in .png"):
        visualize.save_instances(tmp_path / "a.jpg", IDS)
