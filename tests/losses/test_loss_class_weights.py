import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.losses import PixelCounts, count_pixels, inverse_log_frequency_weights, median_frequency_weights

LABELS = [np.array([[0, 0, 0, 1], [1, 255, 255, 255]], np.uint8), np.array([[0, 2]], np.uint8), np.full((3, 3), 255, np.uint8)]
COUNTS = PixelCounts(pixels=(4, 2, 1, 0), image_pixels=(7, 5, 2, 0), images=(2, 1, 1, 0))


def test_pixels_are_counted_without_void():
    assert count_pixels(LABELS, 4) == COUNTS


def test_median_frequency():
    frequency = np.array([4 / 7, 2 / 5, 1 / 2])
    np.testing.assert_allclose(median_frequency_weights(COUNTS), [*(0.5 / frequency), 0.0])


def test_inverse_log_frequency():
    expected = 1 / np.log(1.02 + np.array([4, 2, 1, 0]) / 7)
    np.testing.assert_allclose(inverse_log_frequency_weights(COUNTS), expected)
    assert max(inverse_log_frequency_weights(COUNTS)) == pytest.approx(50.5, abs=0.01)
    np.testing.assert_allclose(inverse_log_frequency_weights(COUNTS, c=2.0), 1 / np.log(2 + np.array([4, 2, 1, 0]) / 7))


def test_they_are_plain_numbers_for_a_config():
    for weights in (median_frequency_weights(COUNTS), inverse_log_frequency_weights(COUNTS)):
        assert isinstance(weights, tuple)
        assert all(type(weight) is float for weight in weights)


def test_errors():
    with pytest.raises(InputError, match=r"Image 1 has the labels \[2\], which are neither classes in \[0, 2\) nor void \(255\)"):
        count_pixels(LABELS, 2)
    with pytest.raises(InputError, match=r"no labelled pixels"):
        median_frequency_weights(count_pixels(LABELS[2:], 2))
    with pytest.raises(InputError, match=r"no labelled pixels"):
        inverse_log_frequency_weights(count_pixels([], 2))
    with pytest.raises(InputError, match=r"c=1.0 must be above 1"):
        inverse_log_frequency_weights(COUNTS, c=1.0)
