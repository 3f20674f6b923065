import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.drop_path import DropPath, linear_rates


def test_drops_whole_images_and_keeps_the_mean():
    x = jnp.ones((4000, 3))
    y = np.asarray(DropPath(0.25).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(y.round(5))) == {0.0, np.float32(1.33333)}
    assert (y == y[:, :1]).all()
    assert y.mean() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(DropPath(0.25).apply({}, x, train=False), x)


def test_rates_rise_from_zero():
    assert linear_rates(0.3, 4) == pytest.approx((0, 0.1, 0.2, 0.3))
    assert linear_rates(0.3, 1) == (0,)
