"""What every network of jaxseg keeps to, whatever its paper."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import crf, losses, objectives
from jaxseg.models import (
    CRFRNN,
    FCN,
    SETRMLA,
    SETRPUP,
    DeconvNet,
    DeepLabV1,
    DeepLabV2,
    DeepLabV3,
    DeepLabV3Plus,
    FCN8s,
    PSPNet,
    SegNet,
    SegNetBasic,
    SETRNaive,
    UNet,
    UNetBackbone,
    UPerNet,
    WNet,
)
from jaxseg.models.backbones import VGG16, ResNet, Swin, ViT, Xception65
from jaxseg.ops.normalise import Normalise

KEY = jax.random.key(0)
SMALL_VIT = ViT(patch_size=4, width=16, depth=2, num_heads=2, hidden=32, image_size=(16, 24), feature_depths=(1, 2))
SMALL_SWIN = Swin(width=8, depths=(2, 2), num_heads=(2, 4), window=3, patch_size=2, drop_path=0.0)
SMALL_VGG = VGG16(batch_norm=True, widths=(3, 4, 4, 5, 5), convolutions=(1, 1, 2, 1, 1))
SMALL_RESNET = ResNet(depth=18, output_stride=8, width=2)
ATROUS_VGG = SMALL_VGG.clone(output_stride=8, pool_window=3)

SMALL_FCN = FCN8s(num_classes=3, backbone=SMALL_VGG, fc_features=12, fc_kernel_size=3, dropout=0.0)

#: A small network of each kind.
NETWORKS = {
    "fcn-8s": SMALL_FCN,
    "crf-rnn": CRFRNN(3, SMALL_FCN, Normalise(mean=(0.5,), std=(0.25,)), filter=crf.Local(samples=16)),
    "fcn-resnet": FCN(num_classes=3, backbone=SMALL_RESNET),
    "deconvnet": DeconvNet(num_classes=3, backbone=SMALL_VGG, width=6, fc_kernel_size=2),
    "segnet": SegNet(num_classes=3, backbone=SMALL_VGG),
    "segnet-basic": SegNetBasic(num_classes=3, width=4, depth=3),
    "unet": UNet(num_classes=3, width=4, depth=2),
    "unet-batch-norm": UNet(num_classes=3, width=4, depth=2, batch_norm=True),
    "unet-backbone": UNetBackbone(num_classes=3, backbone=SMALL_VGG, decoder_features=(6, 6, 6, 4, 4)),
    "setr-naive": SETRNaive(num_classes=3, backbone=SMALL_VIT, head_features=8),
    "pspnet": PSPNet(num_classes=3, backbone=SMALL_RESNET, features=4, dropout=0.0),
    "deeplab-v1": DeepLabV1(num_classes=3, backbone=ATROUS_VGG, fc_features=6, atrous_rate=2, dropout=0.0, multi_scale=True),
    "deeplab-v2": DeepLabV2(num_classes=3, backbone=SMALL_RESNET, atrous_rates=(1, 2), scales=(1.0, 0.5)),
    "deeplab-v3": DeepLabV3(num_classes=3, backbone=SMALL_RESNET, atrous_rates=(1, 2), features=4, dropout=0.0),
    "deeplab-v3+": DeepLabV3Plus(
        num_classes=3, backbone=Xception65(width=2, middle_blocks=1), atrous_rates=(1, 2), features=4, dropout=0.0
    ),
    "setr-pup": SETRPUP(num_classes=3, backbone=SMALL_VIT, head_features=8),
    "setr-mla": SETRMLA(num_classes=3, backbone=SMALL_VIT, head_features=8, stream_features=6),
    "upernet-swin": UPerNet(num_classes=3, backbone=SMALL_SWIN, features=8, bins=(1, 2), dropout=0.0, auxiliary_features=6),
    "deeplab-v3+-swin": DeepLabV3Plus(
        num_classes=3, backbone=SMALL_SWIN.clone(patch_size=4), atrous_rates=(2, 4), features=4, dropout=0.0
    ),
    "fcn-swin": FCN(num_classes=3, backbone=SMALL_SWIN),
    "wnet": WNet(num_classes=3, width=4, depth=2),
}


def initialise(model, shape):
    """Return variables at random, without running anything. Some start at zero otherwise, and hand no gradient on."""
    variables = jax.eval_shape(partial(model.init, train=True), {"params": KEY, "dropout": KEY}, jnp.zeros(shape))
    variables = {name: tree for name, tree in variables.items() if name != "auxiliary"}
    draw = np.random.default_rng(0)

    def value(path, leaf):
        noise = draw.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return jnp.asarray(noise * np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return jnp.asarray(0.1 * np.abs(noise) + 1 if path[-1].key in ("scale", "var") else 0.1 * noise)

    return jax.tree_util.tree_map_with_path(value, variables)


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    model = NETWORKS[request.param]
    return model, initialise(model, (1, 16, 24, 3))


@pytest.fixture(scope="module")
def apply(network):
    """The network compiled once for all tests."""
    model, _ = network
    return jax.jit(model.apply)


def random_images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("size", "channels"), [((33, 17), 1), ((3, 40), 5)])
def test_logits_have_the_images_size_for_any_number_of_channels(network, size, channels):
    """Sides of one above the strides, of a whole number of them, and below them."""
    model, _ = network

    def run(image):
        variables = dict(model.init({"params": KEY, "dropout": KEY}, image, train=True))
        variables.pop("auxiliary", None)
        return model.apply(variables, image)

    logits = jax.eval_shape(run, jax.ShapeDtypeStruct((2, *size, channels), jnp.float32))
    assert logits.shape == (2, *size, 3)
    assert logits.dtype == jnp.float32


def test_images_of_a_batch_do_not_see_each_other_in_evaluation(network, apply):
    _, variables = network
    images = random_images(3, 16, 24, 3)
    together = apply(variables, images)
    assert together.shape == (3, 16, 24, 3)
    alone = jnp.concatenate([apply(variables, images[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_every_parameter_has_a_gradient(network):
    model, variables = network
    images = random_images(2, 16, 24, 3)
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 3, (2, 16, 24)))
    state = {k: v for k, v in variables.items() if k != "params"}
    batch = {"image": images, "label": labels}
    own, steps = partial(objectives.supervised, loss=losses.cross_entropy), (0,)
    if isinstance(model, WNet):  # its decoder learns in odd steps, of its own objective alone
        cut = partial(losses.soft_normalised_cut, radius=2.0)
        own, steps = partial(objectives.segment_and_reconstruct, loss=cut), (0, 1)

    def objective(params):
        return sum(own(params, state, batch, model=model, step=jnp.int32(step), key=KEY)[0] for step in steps)

    gradients = jax.device_get(jax.jit(jax.grad(objective))(variables["params"]))
    zero = ["/".join(k.key for k in path) for path, g in jax.tree_util.tree_leaves_with_path(gradients) if not np.any(g != 0)]
    # A key's bias moves all scores of a query alike, and softmax does not see it.
    assert [name for name in zero if not name.endswith("attention/key/bias")] == []
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def in_bfloat16(model):
    if hasattr(model, "network"):
        return model.clone(network=in_bfloat16(model.network))
    if hasattr(model, "backbone"):
        model = model.clone(backbone=model.backbone.clone(dtype=jnp.bfloat16))
    return model.clone(dtype=jnp.bfloat16)


def test_bfloat16_computes_near_float32_and_gives_float32_logits(network, apply):
    model, variables = network
    images = random_images(1, 16, 24, 3)
    exact, rough = apply(variables, images), jax.jit(in_bfloat16(model).apply)(variables, images)
    assert rough.dtype == jnp.float32
    assert 0 < float(jnp.abs(exact - rough).max()) < 0.15 * float(jnp.abs(exact).max())


def test_networks_are_hashable_values(network):
    model, _ = network
    assert hash(model) == hash(model.clone())
    assert model == model.clone()
