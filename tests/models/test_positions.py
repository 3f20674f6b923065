import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.positions import resize_table, sinusoids, split_table


def test_sinusoids_are_the_papers():
    table = sinusoids(50, 8)
    assert table.shape == (50, 8)
    for place in (0, 1, 49):
        for i in range(4):
            angle = place / 10000 ** (2 * i / 8)
            np.testing.assert_allclose(table[place, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)
    assert sinusoids(3, 5).shape == (3, 5)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("grid", [(4, 6), (9, 5), (1, 1), (2, 12)])
def test_a_slope_stays_a_slope_at_any_grid(method, grid):
    table = jnp.stack(jnp.meshgrid(jnp.arange(4.0), jnp.arange(6.0), indexing="ij"), axis=-1)[None]
    resized = resize_table(table, grid, method=method)
    assert resized.shape == (1, *grid, 2)
    for axis, (n, m) in enumerate(zip((4, 6), grid)):
        at = (np.arange(m) + 0.5) * n / m - 0.5
        inside = (at >= 1) & (at <= n - 2)  # away from the border, where both kernels repeat the edge
        values = np.asarray(resized[0, :, grid[1] // 2, 0] if axis == 0 else resized[0, grid[0] // 2, :, 1])
        np.testing.assert_allclose(values[inside], at[inside], atol=1e-4 if method == "bilinear" else 0.02)


def test_the_learnt_grid_is_left_alone():
    table = jax.random.normal(jax.random.key(0), (1, 3, 5, 4))
    assert resize_table(table, (3, 5)) is table


def test_a_stored_table_is_split_into_class_token_and_grid():
    stored = jnp.arange(13.0).reshape(1, 13, 1)
    own, table = split_table(stored, grid=(3, 4))
    assert own.ravel().tolist() == [0]
    assert table[0, 2, 1].item() == 1 + 2 * 4 + 1
    own, table = split_table(stored[:, :11], class_tokens=2)
    assert (own.shape, table.shape) == ((1, 2, 1), (1, 3, 3, 1))


def test_refuses_what_does_not_fit():
    with pytest.raises(
        InputError, match="The position table has 13 rows, 1 of them for class tokens: the other 12 make no square"
    ):
        split_table(jnp.zeros((1, 13, 1)))
    with pytest.raises(InputError, match="the other 13 make not 3 x 4"):
        split_table(jnp.zeros((1, 13, 1)), class_tokens=0, grid=(3, 4))
    with pytest.raises(InputError, match="method='cubic' is not known: give one of"):
        resize_table(jnp.zeros((1, 3, 4, 1)), (5, 5), method="cubic")
