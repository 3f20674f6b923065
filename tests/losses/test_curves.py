import formulas
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.losses.curves import SHOWN, curves


def test_curves_fall_with_the_probability_and_are_the_formulas():
    q, values = curves(points=9)
    assert values.keys() == SHOWN.keys()
    for name, value in values.items():
        assert value.shape == (9,)
        assert (np.diff(value) <= 1e-6).all(), name
    one = np.ones(9)
    np.testing.assert_allclose(values["cross entropy"], formulas.ce(one, q - 1e-12), rtol=1e-5)
    np.testing.assert_allclose(values["focal, alpha = 0.5, gamma = 2"], formulas.fl(one, q, 0.5, 2), rtol=1e-5)
    np.testing.assert_allclose(values["Dice"], 1 - (2 * q + 1) / (q + 2), rtol=1e-5)


def test_errors():
    with pytest.raises(InputError, match="points=0 must be at least 1"):
        curves(points=0)
