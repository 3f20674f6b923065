import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import KEY, count, initialised

from jaxseg.models import DeepLabV1
from jaxseg.models.backbones import VGG16

THIN = VGG16(widths=(1, 1, 1, 1, 1), output_stride=8, pool_window=3)
SIDE, MIDDLE = 449, 224


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (DeepLabV1(num_classes=21), 20_505_429),
        # Five branches of 3x3 (from 3, 64, 128, 256 and 512 channels) and 1x1, and 640 more channels to classify.
        (DeepLabV1(num_classes=21, multi_scale=True), 20_505_429 + 963 * 9 * 128 + 5 * (128 + 128 * 128 + 128) + 640 * 21),
        (DeepLabV1(num_classes=21, fc_features=4096, fc_kernel_size=7, atrous_rate=4), 14_714_688 + 119_545_856 + 86_037),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


def field_of_view(model):
    """First and last row that the logit of the middle row sees: of an image that grows downwards, and of one that falls.

    Max pooling hands its gradient to one pixel of a window; that is the last where the image grows, and the first where it falls.
    """
    ramp = jnp.linspace(1.0, 2.0, SIDE)[None, :, None, None] * jnp.ones((1, SIDE, 33, 1))
    variables = jax.eval_shape(model.init, KEY, ramp)
    params = jax.tree.map(lambda x: jnp.full(x.shape, 1 / np.prod(x.shape[:3]) if x.ndim == 4 else 0.0), variables["params"])

    @jax.jit
    def gradient(image):
        return jax.grad(lambda x: model.apply({"params": params}, x)[0, MIDDLE, 16, 0])(image)

    rows = [np.flatnonzero(np.abs(gradient(image)).sum((0, 2, 3))) for image in (ramp, ramp[:, ::-1])]
    return min(r[0] for r in rows), max(r[-1] for r in rows)


def test_the_field_of_view_is_224():
    """The taps of fc6 lie 192 pixels apart; with one cell of VGG's own stride, 32, these are its input's 224."""
    point = field_of_view(DeepLabV1(num_classes=1, backbone=THIN, fc_features=1, fc_kernel_size=1))
    large = field_of_view(DeepLabV1(num_classes=1, backbone=THIN, fc_features=1))
    seven = field_of_view(DeepLabV1(num_classes=1, backbone=THIN, fc_features=1, fc_kernel_size=7, atrous_rate=4))
    assert (large[1] - large[0]) - (point[1] - point[0]) + 32 == 224
    assert large == seven


def test_a_score_sees_what_arithmetic_says():
    """Three pixels per 3x3 layer, spread by stride and rate: 121 to each side before fc6, and 12 times 8 more with it."""
    before = sum(n * j for n, j in [(2, 1), (1, 1), (2, 2), (1, 2), (3, 4), (1, 4), (3, 8), (1, 8), (3, 16), (1, 8), (1, 8)])
    assert before == 121
    assert field_of_view(DeepLabV1(num_classes=1, backbone=THIN, fc_features=1)) == (MIDDLE - 217, MIDDLE + 217)
    without = DeepLabV1(num_classes=1, backbone=THIN, fc_features=1, average_pool=False)
    assert field_of_view(without) == (MIDDLE - 209, MIDDLE + 209)


def test_branches_bring_early_maps_to_the_last_grid():
    params = initialised(DeepLabV1(num_classes=2, backbone=THIN, fc_features=4, multi_scale=True))["params"]
    assert params["classifier"]["kernel"].shape == (1, 1, 4 + 5 * 128, 2)
    model = DeepLabV1(num_classes=2, backbone=THIN, fc_features=4, multi_scale=True)
    jaxpr = jax.make_jaxpr(lambda x: model.init_with_output(KEY, x)[0])(jnp.zeros((1, 33, 33, 3)))
    strides = [e.params["geometry"].strides[0] for e in jaxpr.eqns if e.primitive.name == "jaxseg_conv"]
    assert [s for s in strides if s > 1] == [8, 4, 2]
