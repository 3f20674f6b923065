import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.pyramid import PyramidPooling

KEY = jax.random.key(0)


def test_keeps_the_map_and_adds_a_level_per_bin():
    x = jax.random.normal(KEY, (2, 7, 9, 4))
    module = PyramidPooling(bins=(1, 2, 3), features=5)
    y, variables = module.init_with_output(KEY, x, train=False)
    assert y.shape == (2, 7, 9, 4 + 3 * 5)
    np.testing.assert_array_equal(y[..., :4], x)
    assert sorted(variables["params"]) == ["bin1", "bin2", "bin3"]


def test_the_first_level_is_the_mean_of_the_image():
    x = jax.random.normal(KEY, (2, 7, 9, 4))
    module = PyramidPooling(bins=(1,), features=5)
    y, variables = module.init_with_output(KEY, x, train=False)
    kernel = variables["params"]["bin1"]["conv"]["kernel"][0, 0]
    expected = jax.nn.relu(x.mean((1, 2)) @ kernel / np.sqrt(1 + 1e-5))
    np.testing.assert_allclose(y[..., 4:], np.broadcast_to(expected[:, None, None], (2, 7, 9, 5)), atol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
def test_levels_are_enlarged_as_asked(align_corners):
    x = jnp.arange(8, dtype=jnp.float32).reshape(1, 1, 8, 1) + jnp.zeros((1, 8, 8, 1))
    module = PyramidPooling(bins=(2,), features=1, align_corners=align_corners)
    variables = module.init(KEY, x, train=False)
    variables = jax.tree.map(jnp.ones_like, variables)
    level = (np.asarray(module.apply(variables, x, train=False))[0, 0, :, 1] - 1) * np.sqrt(1 + 1e-5)
    # (x - 1) / sd + 1 of the two means 1.5 and 5.5, read between the corners or between the pixels' centres.
    at = np.linspace(0, 1, 8) if align_corners else np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)
    np.testing.assert_allclose(level, 0.5 + 4 * at, atol=1e-5)


def test_a_map_smaller_than_the_bins_is_enough():
    y, _ = PyramidPooling(features=3).init_with_output(KEY, jnp.ones((1, 1, 2, 4)), train=True)
    assert y.shape == (1, 1, 2, 16)
