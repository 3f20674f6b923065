import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.backbones import VGG16
from jaxseg.models.backbones.vgg import ConvolutionalFC

KEY = jax.random.key(0)


def shapes(model, size):
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return [x.shape[1:] for x in jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], image)]


@pytest.mark.parametrize(("batch_norm", "parameters"), [(False, 14_714_688), (True, 14_723_136)])
def test_has_torchvisions_parameters(batch_norm, parameters):
    variables = jax.eval_shape(lambda: VGG16(batch_norm=batch_norm).init(KEY, jnp.zeros((1, 32, 32, 3))))
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == parameters


def test_features_are_the_five_pooled_maps():
    assert VGG16().strides == (2, 4, 8, 16, 32)
    channels = (64, 128, 256, 512, 512)
    assert shapes(VGG16(), (64, 96)) == [(64 // s, 96 // s, c) for s, c in zip((2, 4, 8, 16, 32), channels)]
    up = [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]  # SegNet's 360x480
    assert [s[:2] for s in shapes(VGG16(), (360, 480))] == up
    down = [*up[:3], (22, 30), (11, 15)]
    assert [s[:2] for s in shapes(VGG16(ceil_mode=False), (360, 480))] == down


def test_stages_keep_where_the_maxima_were():
    model = VGG16(widths=(2, 3, 3, 3, 3))
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 33, 47, 3)), jnp.float32)
    variables = model.init(KEY, image)
    stages = model.apply(variables, image, method="stages")
    features = model.apply(variables, image)
    sizes = [(33, 47), (17, 24), (9, 12), (5, 6), (3, 3)]
    assert [stage.size for stage in stages] == sizes
    for stage, feature, (h, w) in zip(stages, features, sizes):
        np.testing.assert_array_equal(stage.pooled, feature)
        rows, columns = np.divmod(np.asarray(stage.argmax), w)
        at = np.indices(stage.argmax.shape)
        assert (rows // 2 == at[1]).all()
        assert (columns // 2 == at[2]).all()
        assert (rows < h).all()


def test_dropout_is_after_the_three_deepest_poolings():
    model = VGG16(widths=(4, 4, 4, 4, 4), dropout=0.9)
    image = jnp.ones((1, 64, 64, 3))
    variables = model.init(KEY, image)
    variables = {"params": jax.tree.map(jnp.abs, variables["params"])}
    features = model.apply(variables, image, train=True, rngs={"dropout": KEY})
    assert [bool((f == 0).any()) for f in features] == [False, False, True, True, True]
    assert not any((f == 0).any() for f in model.apply(variables, image))


def test_fully_connected_layers_are_convolutions():
    """On a map of 7x7 without padding, fc6 is VGG's matrix over the flattened map."""
    layer = ConvolutionalFC(5, 7, padding=0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 7, 3)), jnp.float32)
    variables = layer.init(KEY, x, train=False)
    fc6, fc7 = (variables["params"][name]["kernel"] for name in ("fc6", "fc7"))
    want = jax.nn.relu(jax.nn.relu(x.reshape(2, -1) @ fc6.reshape(-1, 5)) @ fc7[0, 0])
    np.testing.assert_allclose(layer.apply(variables, x, train=False)[:, 0, 0], want, atol=1e-4)
    assert jax.eval_shape(lambda x: layer.clone(padding=None).apply(variables, x, train=False), x).shape == (2, 7, 7, 5)


def test_mirrored_widths_are_those_of_the_decoders():
    assert [VGG16().mirrored(n) for n in (4, 3, 2, 1, 0)] == [
        (512, 512, 512),
        (512, 512, 256),
        (256, 256, 128),
        (128, 64),
        (64, 64),
    ]


def atrous(**fields):
    return VGG16(widths=(2, 3, 3, 4, 4), pool_window=3, **fields)


@pytest.mark.parametrize(("output_stride", "sizes"), [(8, (161, 81, 41, 41, 41)), (16, (161, 81, 41, 21, 21))])
def test_without_its_last_strides_it_keeps_deeplabs_sizes(output_stride, sizes):
    model = atrous(output_stride=output_stride)
    assert [s[0] for s in shapes(model, (321, 321))] == list(sizes)
    assert model.strides == tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))


def test_the_atrous_form_is_the_strided_one_computed_everywhere():
    """Up to the fifth pooling, whose neighbours are others where the fourth had no stride."""
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 65, 65, 3)), jnp.float32)
    variables = atrous().init(KEY, image)
    coarse, fine = atrous().apply(variables, image), atrous(output_stride=8).apply(variables, image)
    for small, large, step in zip(coarse[:4], fine[:4], (1, 1, 1, 2)):
        np.testing.assert_allclose(small, large[:, ::step, ::step], atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (2, 2)}, "widths=\\(2, 2\\) and convolutions=\\(2, 2, 3, 3, 3\\) must name as many stages"),
        ({"pool_window": 4}, "pool_window=4: VGG16 pools over 2 or 3"),
        ({"output_stride": 4, "pool_window": 3}, "output_stride=4: VGG16 takes 8, 16 and 32"),
        ({"output_stride": 8}, "shifts the map by half a pixel. Set pool_window=3"),
    ],
)
def test_what_does_not_fit_is_said(fields, message):
    with pytest.raises(InputError, match=message):
        shapes(VGG16(**fields), (64, 64))
