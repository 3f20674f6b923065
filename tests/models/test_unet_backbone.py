import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.backbones import VGG16, ResNet, ViT
from jaxseg.models.unet_backbone import UNetBackbone

KEY = jax.random.key(0)
SMALL = UNetBackbone(num_classes=3, backbone=ResNet(depth=18, width=2), decoder_features=(8, 6, 4, 4, 2))
SMALL_VGG = VGG16(widths=(2, 3, 4), convolutions=(1, 1, 1))


def count(model):
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 64, 64, 3))))
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def decoder_parameters(first, skips, features, classes):
    """Two 3x3 convolutions without bias, each with scale and shift, per step; a 3x3 classifier with bias."""
    total, channels = 0, first
    for skip, width in zip(skips, features, strict=True):
        total += 9 * (channels + skip) * width + 9 * width * width + 4 * width
        channels = width
    return total + 9 * channels * classes + classes


def test_has_the_parameters_of_segmentation_models():
    """U-Net on ResNet-34 with one class: 24,436,369, of which the backbone's are 21,284,672."""
    model = UNetBackbone(num_classes=1)
    assert count(model) == 24_436_369
    assert decoder_parameters(512, (256, 128, 64, 64, 0), (256, 128, 64, 32, 16), 1) == 24_436_369 - 21_284_672


def test_has_the_parameters_of_segmentation_models_on_resnet50():
    assert count(UNetBackbone(num_classes=1, backbone=ResNet(depth=50))) == 32_521_105


@pytest.mark.parametrize(
    "model",
    [
        SMALL,
        SMALL.clone(backbone=ResNet(depth=18, width=2, output_stride=16), decoder_features=(8, 6, 4, 4)),
        UNetBackbone(3, SMALL_VGG, (6, 4, 2)),
        UNetBackbone(3, ViT(patch_size=4, width=8, depth=1, num_heads=2, hidden=8, image_size=(32, 32)), (6, 4)),
    ],
    ids=["resnet", "atrous", "vgg", "vit"],
)
@pytest.mark.parametrize("size", [(64, 32), (33, 47), (5, 3)])
def test_logits_have_the_images_size(model, size):
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], image)
    assert logits.shape == (2, *size, 3)
    assert logits.dtype == jnp.float32


def test_features_of_every_stride_are_joined():
    model = UNetBackbone(2, SMALL_VGG, (6, 4, 2))
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), jnp.float32)
    variables = model.init(KEY, image)
    apply = jax.jit(model.apply)
    logits = apply(variables, image)
    # The last convolution of each stage leads to the next one too: closing a skip alone must change the logits.
    for step, inputs in ((1, 4), (2, 6)):
        changed = jax.tree.map(lambda x: x, variables)
        conv = changed["params"][f"decoder{step}_conv1"]["conv"]
        conv["kernel"] = conv["kernel"].at[:, :, inputs:].set(0)
        assert not np.allclose(apply(changed, image), logits)
    shapes = [variables["params"][f"decoder{step}_conv1"]["conv"]["kernel"].shape for step in (1, 2, 3)]
    assert shapes == [(3, 3, 4 + 3, 6), (3, 3, 6 + 2, 4), (3, 3, 4, 2)]


def test_steps_must_fit_the_strides():
    with pytest.raises(
        InputError, match=r"decoder_features=\(8, 4\) doubles the resolution 2 times, .* last stride is 32: give 5"
    ):
        jax.eval_shape(lambda: UNetBackbone(2, ResNet(depth=18), (8, 4)).init(KEY, jnp.zeros((1, 32, 32, 3))))
    vit = ViT(patch_size=6, width=8, depth=1, num_heads=2, hidden=8, image_size=(12, 12))
    with pytest.raises(InputError, match="last stride is 6: take a backbone whose stride is a power of 2"):
        jax.eval_shape(lambda: UNetBackbone(2, vit, (8, 4)).init(KEY, jnp.zeros((1, 12, 12, 3))))
