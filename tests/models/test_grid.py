import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models import grid
from jaxseg.models.backbones import VGG16, ResNet, Xception65


@pytest.mark.parametrize(("size", "expected"), [((33, 33), (33, 33)), ((32, 34), (33, 41)), ((1, 2), (1, 9))])
def test_extends_to_the_next_multiple_and_one_by_zeros(size, expected):
    image = jnp.ones((2, *size, 3))
    extended = grid.extend(image, 8)
    assert extended.shape == (2, *expected, 3)
    np.testing.assert_array_equal(extended[:, : size[0], : size[1]], image)
    assert float(extended.sum()) == image.size
    assert grid.extend(image, 8, align_corners=False) is image


def test_a_logit_comes_to_lie_on_the_pixel_of_its_feature():
    image = jnp.zeros((1, 30, 35, 3))
    extended = grid.extend(image, 8)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)), jnp.bfloat16)
    found = grid.enlarge(logits, extended, (30, 35))
    assert found.shape == (1, 30, 35, 2)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[:, ::8, ::8], logits[:, :4, :5].astype(jnp.float32), atol=1e-5)


@pytest.mark.parametrize(
    "backbone",
    [
        ResNet(depth=18, output_stride=8, width=2),
        ResNet(depth=18, output_stride=16, width=2, deep_stem=True),
        VGG16(widths=(2, 2, 2, 2, 2), output_stride=8, pool_window=3),
        Xception65(width=2, middle_blocks=1, output_stride=16),
    ],
)
def test_feature_i_lies_on_pixel_stride_times_i(backbone):
    """An image mirrored about its middle pixel gives mirrored features, if kernels are: so the grid has no shift."""
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 65, 65, 3)), jnp.float32)
    variables = jax.jit(backbone.init)(jax.random.key(0), image)
    params = jax.tree.map(lambda x: (x + x[::-1, ::-1]) / 2 if x.ndim == 4 else x, variables["params"])
    apply = jax.jit(lambda x: backbone.apply({**variables, "params": params}, x)[-1])
    there, back = apply(image), apply(image[:, ::-1, ::-1])
    assert there.shape[1] == 64 // backbone.strides[-1] + 1
    np.testing.assert_allclose(there, back[:, ::-1, ::-1], atol=1e-4 * float(jnp.abs(there).max()))
