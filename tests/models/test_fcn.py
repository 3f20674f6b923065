import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.models.backbones import VGG16, ResNet

KEY = jax.random.key(0)
NETWORKS = {32: FCN32s, 16: FCN16s, 8: FCN8s}
THIN = VGG16(widths=(1, 1, 1, 1, 1))


def initialised(model, shape, train=False):
    return jax.eval_shape(lambda: model.init({"params": KEY, "dropout": KEY}, jnp.zeros(shape), train=train))


def count(model):
    return sum(x.size for x in jax.tree.leaves(initialised(model, (1, 64, 64, 3), train=True)["params"]))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (FCN32s(num_classes=21), 136_152_917),
        (FCN8s(num_classes=21), 134_489_759),
        (FCN8s(num_classes=21, learnt_deconvolutions="none"), 134_362_751),
        (FCN8s(num_classes=21, learnt_deconvolutions="intermediate"), 134_362_751 + 2 * 16 * 21 * 21),
        (FCN(num_classes=21), 35_322_218),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


@pytest.mark.parametrize("size", [(500, 375), (224, 224), (97, 33), (1, 1)])
@pytest.mark.parametrize("stride", NETWORKS)
def test_padding_by_100_and_cropping_covers_any_image(stride, size):
    model = NETWORKS[stride](num_classes=2, backbone=THIN.clone(first_padding=100), padding="pad 100", fc_features=1)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: model.init_with_output({"params": KEY}, x)[0], image)
    assert logits.shape == (1, *size, 2)


def positive(model, shape):
    """Return variables in which every activation is positive and grows with the pixels: no ReLU closes, no gradient cancels."""
    variables = model.init({"params": KEY}, jnp.zeros(shape))
    params = jax.tree.map(lambda v: jnp.abs(v) + 1 / v[..., 0].size if v.ndim == 4 else v, variables["params"])
    return {"params": params}


def seen_rows(model, variables, side, row):
    """Return the first and the last row of the image that a row of logits depends on.

    A pooling hands its gradient to one pixel of each window. On an image that grows downwards that is the last, on one that
    falls the first, so that both together find the whole field.
    """

    def logit(image):
        return model.apply(variables, image)[0, row, side // 2, 0]

    ramp = jnp.linspace(1.0, 2.0, side)[None, :, None, None] * jnp.ones((1, side, side, 1))
    rows = [np.flatnonzero(np.abs(jax.grad(logit)(image)).sum((0, 2, 3))) for image in (ramp, ramp[:, ::-1])]
    return min(r[0] for r in rows), max(r[-1] for r in rows)


def expected_rows(stride, row, fc_kernel_size):
    """The same by arithmetic, as in the paper: back through the final deconvolution, fc6, and the poolings of VGG16.

    The finest scores see the least, so the field is that of the coarsest ones, at stride 32.
    """
    first = last = row
    factors = [stride] + [2] * (5 - stride.bit_length() + 1)
    for factor in factors:
        # Pixel y of a deconvolution of kernel 2f, stride f and padding f/2 is reached from x where 0 <= y + f/2 - f x < 2f.
        pad = factor // 2
        first, last = -(-(first + pad - 2 * factor + 1) // factor), (last + pad) // factor
    first, last = first - fc_kernel_size // 2, last + fc_kernel_size // 2
    for convolutions in (3, 3, 3, 2, 2):
        first, last = 2 * first - convolutions, 2 * last + 1 + convolutions
    return first, last


@pytest.mark.parametrize("stride", NETWORKS)
def test_receptive_field_is_that_of_the_paper(stride):
    side, row, kernel = 448, 227, 3
    model = NETWORKS[stride](num_classes=1, backbone=THIN, fc_features=1, fc_kernel_size=kernel)
    variables = positive(model, (1, side, side, 1))
    expected = expected_rows(stride, row, kernel)
    assert 0 < expected[0] < expected[1] < side - 1, "the field must lie inside of the image to be measured"
    assert seen_rows(model, variables, side, row) == expected


def test_fc7_sees_404_pixels():
    """VGG16's fully connected layers, as convolutions, see 404 pixels, of which the kernel of 7 makes 192."""
    low, high = 0, 0
    low, high = low - 3, high + 3
    for convolutions in (3, 3, 3, 2, 2):
        low, high = 2 * low - convolutions, 2 * high + 1 + convolutions
    assert high - low + 1 == 404


def test_scores_start_at_zero_and_enlargement_at_bilinear():
    model = FCN8s(num_classes=2, backbone=THIN, fc_features=4)
    variables = model.init({"params": KEY}, jnp.zeros((1, 32, 32, 3)))
    params = variables["params"]
    assert not any(np.any(params[name]["kernel"]) for name in ("score_fr", "score_pool4", "score_pool3"))
    np.testing.assert_allclose(params["upscore16"][:, 0, 0, 0], np.array([0.25, 0.75, 0.75, 0.25]) * 0.25)
    assert not np.any(params["upscore_final"][:, :, 0, 1])
    params["score_fr"]["bias"] = jnp.array([3.0, -2.0])
    logits = model.apply({"params": params}, jnp.zeros((1, 96, 96, 3)))
    np.testing.assert_allclose(logits[0, 40:56, 40:56, 0], 3.0, rtol=1e-6)
    np.testing.assert_allclose(logits[0, 40:56, 40:56, 1], -2.0, rtol=1e-6)


def test_at_once_scales_the_skips():
    model = FCN8s(num_classes=1, backbone=THIN, fc_features=2, dropout=0.0)
    image = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 3)), jnp.float32)
    variables = positive(model, image.shape)

    def gradient(model, name):
        score = jax.grad(lambda p: model.apply({"params": p}, image).sum())(variables["params"])[name]["kernel"]
        return np.asarray(score)

    for name, factor in (("score_pool4", 0.01), ("score_pool3", 0.0001), ("score_fr", 1.0)):
        np.testing.assert_allclose(gradient(model.clone(at_once=True), name), factor * gradient(model, name), rtol=1e-4)


def test_a_resnet_may_stand_below():
    model = FCN8s(num_classes=3, backbone=ResNet(depth=18, width=4), fc_features=None)
    image = jax.ShapeDtypeStruct((2, 65, 47, 3), jnp.float32)
    assert jax.eval_shape(lambda x: model.init_with_output({"params": KEY}, x)[0], image).shape == (2, 65, 47, 3)
    assert "fc" not in initialised(model, (1, 64, 64, 3))["params"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FCN8s(num_classes=2, padding="valid"), r"padding='valid': FCN knows \('same', 'pad 100'\)"),
        (FCN8s(num_classes=2, learnt_deconvolutions="last"), "learnt_deconvolutions='last': FCN knows"),
        (FCN8s(num_classes=2, padding="pad 100"), r"'pad 100' needs VGG16\(first_padding=100\)"),
        (FCN8s(num_classes=2, backbone=THIN.clone(first_padding=100)), "and 'same' needs 1"),
        (FCN8s(num_classes=2, backbone=ResNet(depth=18, output_stride=8)), "set output_stride=32, or take jaxseg.models.FCN"),
        (
            FCN8s(num_classes=2, backbone=THIN.clone(first_padding=100), padding="pad 100", fc_features=None),
            "'pad 100' needs fc6",
        ),
    ],
)
def test_what_does_not_fit_is_said(model, message):
    with pytest.raises(InputError, match=message):
        initialised(model, (1, 64, 64, 3))
