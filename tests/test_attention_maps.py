import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import crf
from jaxseg.attention_maps import attention_maps
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.models import CRFRNN, SETRNaive, UNet, UPerNet
from jaxseg.models.backbones import Swin, ViT

VIT = ViT(patch_size=4, width=8, depth=3, num_heads=2, hidden=16, image_size=(16, 24))
SWIN = Swin(width=8, depths=(2, 2), num_heads=(2, 2), window=3, patch_size=2)


def predictor(model, **fields):
    config = Config(model=model, data=Folder(root="unused", num_classes=2), crop_size=(16, 24), steps=1, batch_size=1, **fields)
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 24, 3)))
    return Predictor.of_state(config, jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), shapes))


def image(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("class_token", [False, True])
def test_a_vits_map_is_its_tokens_row_of_the_weights(class_token):
    model = SETRNaive(num_classes=2, backbone=VIT.clone(class_token=class_token, remat=True), head_features=4)
    network = predictor(model, window=(16, 24))
    picture = image(16, 24)
    found = attention_maps(network, picture, (9, 17))
    assert list(found.blocks) == ["block1", "block2", "block3"]
    assert found.query == (9, 17)
    normalised = network.config.normalise(jnp.asarray(picture)[None])
    plain = model.clone(backbone=model.backbone.clone(remat=False))
    _, kept = plain.apply(network.variables, normalised, mutable=["intermediates"])
    for name, shares in found.blocks.items():
        weights = kept["intermediates"]["backbone"][name]["attention"]["weights"][0]
        row = np.asarray(weights[0].mean(0))[int(class_token) + 2 * 6 + 4, int(class_token) :].reshape(4, 6)
        np.testing.assert_allclose(shares, row.repeat(4, 0).repeat(4, 1), rtol=1e-3, atol=1e-6)


def test_a_network_in_front_of_a_crf_is_the_one_looked_at():
    network = SETRNaive(num_classes=2, backbone=VIT.clone(remat=True), head_features=4)
    wrapped = predictor(CRFRNN(2, network, filter=crf.Local(samples=2)), window=(16, 24))
    inner = {name: tree["network"] for name, tree in wrapped.variables.items() if "network" in tree}
    plain = dataclasses.replace(predictor(network, window=(16, 24)), variables=inner)
    found, expected = (attention_maps(p, image(16, 24), (9, 17)).blocks for p in (wrapped, plain))
    jax.tree.map(np.testing.assert_array_equal, dict(found), dict(expected))


@pytest.mark.parametrize("query", [(0, 0), (7, 20), (21, 29)])
def test_swin_looks_inside_the_querys_own_window(query):
    model = UPerNet(num_classes=2, backbone=SWIN, features=4, bins=(1,))
    found = attention_maps(predictor(model), image(22, 30), query)
    assert list(found.blocks) == ["stage1_block1", "stage1_block2", "stage2_block1", "stage2_block2"]
    for name, shares in found.blocks.items():
        stride = 2 if name.startswith("stage1") else 4
        shift = 1 if name.endswith("block2") else 0
        assert shares.shape == (22, 30)
        rows, columns = np.arange(22) // stride, np.arange(30) // stride
        near = [(at - shift) // 3 == (q // stride - shift) // 3 for at, q in ((rows, query[0]), (columns, query[1]))]
        inside = near[0][:, None] & near[1][None]
        assert (shares[~inside] == 0).all()
        assert (shares[inside] > 0).all()


@pytest.mark.parametrize("backbone", [VIT, SWIN])
def test_what_all_look_at_sums_to_all(backbone):
    """On whole windows and tokens nothing lies beyond the image."""
    network = SETRNaive if backbone is VIT else UPerNet
    model = network(num_classes=2, backbone=backbone)
    size = (24, 24)
    found = attention_maps(predictor(model, window=size), image(*size), None)
    for name, shares in found.blocks.items():
        area = 16 if backbone is VIT or name.startswith("stage2") else 4
        assert shares.sum() / area == pytest.approx(1, abs=1e-3)


def test_a_window_is_cut_around_the_query():
    network = predictor(SETRNaive(num_classes=2, backbone=VIT, head_features=4), window=(16, 24))
    picture = image(50, 60)
    found = attention_maps(network, picture, (30, 40))
    np.testing.assert_array_equal(found.image, picture[22:38, 28:52])
    assert found.query == (8, 12)
    corner = attention_maps(network, picture, (49, 0))
    np.testing.assert_array_equal(corner.image, picture[34:, :24])
    assert corner.query == (15, 0)
    small = attention_maps(network, picture[:10, :10], (5, 5))
    assert small.image.shape == (16, 24, 3)


def test_the_query_follows_a_resized_image():
    network = predictor(SETRNaive(num_classes=2, backbone=VIT, head_features=4), image_size=(16, 24))
    found = attention_maps(network, image(32, 72), (31, 36))
    assert (found.image.shape, found.query) == ((16, 24, 3), (15, 12))


def test_few_of_many_blocks_are_shown():
    deep = SETRNaive(num_classes=2, backbone=VIT.clone(depth=11), head_features=4)
    found = attention_maps(predictor(deep, window=(16, 24)), image(16, 24), None, shown=3)
    assert list(found.blocks) == ["block1", "block6", "block11"]


def test_refuses_what_cannot_be():
    network = predictor(SETRNaive(num_classes=2, backbone=VIT, head_features=4), window=(16, 24))
    with pytest.raises(InputError, match="The query is row 16, column 3, and the image has 16 x 24 pixels: count from 0"):
        attention_maps(network, image(16, 24), (16, 3))
    with pytest.raises(InputError, match="The image has 1 channels; this network was trained on 3"):
        attention_maps(network, image(16, 24)[..., :1], None)
    with pytest.raises(InputError, match=r"UNet has no attention to show\. Take a transformer, such as SETRNaive"):
        attention_maps(predictor(UNet(num_classes=2, width=2, depth=1)), image(16, 24), None)
