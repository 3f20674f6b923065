import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.errors import InputError


def test_centre_crop_takes_as_much_from_both_sides():
    x = jnp.arange(7 * 9).reshape(1, 7, 9, 1)
    np.testing.assert_array_equal(ops.centre_crop(x, (3, 5)), x[:, 2:5, 2:7])
    np.testing.assert_array_equal(ops.centre_crop(x, (7, 9)), x)
    np.testing.assert_array_equal(ops.centre_crop(x, (4, 9)), x[:, 1:5])


def test_centre_crop_of_labels():
    labels = jnp.arange(36, dtype=jnp.uint8).reshape(1, 6, 6)
    cropped = ops.centre_crop(labels, (2, 4))
    np.testing.assert_array_equal(cropped[0], [[13, 14, 15, 16], [19, 20, 21, 22]])
    assert cropped.dtype == jnp.uint8


def test_centre_crop_cannot_enlarge():
    with pytest.raises(InputError, match="Cannot crop 4x6 to 5x6: the crop must not be larger"):
        ops.centre_crop(jnp.zeros((1, 4, 6, 2)), (5, 6))
