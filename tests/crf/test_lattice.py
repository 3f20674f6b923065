"""Splatting by pieces, as on a CPU, against all at once, as elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.crf import lattice


@pytest.mark.parametrize("n", [5, lattice.PIECE, 2 * lattice.PIECE + 1])
def test_pieces_add_up_to_the_whole(n):
    rng = np.random.default_rng(n)
    number = jnp.asarray(rng.integers(0, 40, (n, 3)), jnp.int32)
    weight, values = (jnp.asarray(rng.random(shape), jnp.float32) for shape in ((n, 3), (n, 4)))
    want = np.zeros((41, 4))
    np.add.at(want, np.asarray(number), np.asarray(weight)[:, :, None] * np.asarray(values)[:, None])
    for splat in (lattice._splat, lattice._splat_by_pieces):
        got = jax.jit(splat)(jnp.zeros((41, 4)), number, weight, values)
        np.testing.assert_allclose(got, want, rtol=1e-4)
        assert not got[40].any(), "the last is for vertices that are not there"


def test_sizes_to_compile_for_leave_room():
    for count in (1, 7, 100, 70_286):
        assert count <= lattice.rounded_up(count) <= 1.25 * count
