import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.visualize import attention_overlay, attention_sheet

IMAGE = np.full((60, 80, 3), 120, np.uint8)
SHARES = np.zeros((60, 80), np.float32)
SHARES[:, 40:] = np.linspace(0.0, 0.2, 40)


def test_brightest_where_most_is_looked_at():
    brightness = attention_overlay(IMAGE, SHARES).astype(int).sum(-1)
    assert brightness[0, 79] > brightness[0, 60] > brightness[0, 10]
    np.testing.assert_array_equal(attention_overlay(IMAGE, 5 * SHARES), attention_overlay(IMAGE, SHARES))


def test_the_query_is_ringed():
    plain, ringed = attention_overlay(IMAGE, SHARES), attention_overlay(IMAGE, SHARES, (30, 20))
    changed = np.argwhere((plain != ringed).any(-1))
    assert len(changed)
    assert np.abs(changed - (30, 20)).max() <= 5
    np.testing.assert_allclose(changed.mean(0), (30, 20), atol=0.01)


def test_nothing_looked_at_is_a_picture_too():
    assert attention_overlay(IMAGE, np.zeros_like(SHARES)).shape == (60, 80, 3)


def test_a_sheet_has_a_cell_per_block_and_the_image():
    few = attention_sheet(IMAGE, {"block1": SHARES}, (3, 4))
    many = attention_sheet(IMAGE, {f"block{i}": SHARES for i in range(4)}, None)
    assert few.shape[0] < many.shape[0]
    assert few.shape[1] < many.shape[1]
    assert attention_sheet(IMAGE, {"block1": SHARES}, None, columns=1).shape[1] < few.shape[1]


def test_refuses_other_sizes():
    with pytest.raises(InputError, match="The image is 60x80, its labels are 60x40"):
        attention_overlay(IMAGE, SHARES[:, :40])
