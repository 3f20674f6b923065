"""VGG16, ViT and Swin of torchvision: weights converted, values, features and one training step compared."""

import numpy as np
import pytest
from references import (
    apply,
    close,
    compare_step,
    converted,
    image,
    image_loss,
    outputs,
    projection_loss,
    randomise,
    require,
    reverse,
    their_image_loss,
    their_projection_loss,
    torch,
    without_dropout,
)

from jaxseg import weights
from jaxseg.models import FCN32s
from jaxseg.models.backbones import VGG16, Swin, SwinClassifier, ViT, ViTClassifier
from jaxseg.models.backbones.vgg import ConvolutionalFC

torchvision = require("torchvision")

THIN = (4, 4, 6, 8, 8)


def thin_vgg(batch_norm):
    """VGG16 of torchvision's parts with few channels."""
    plan = [width for width, count in zip(THIN, (2, 2, 3, 3, 3)) for width in (*[width] * count, "M")]
    network = torchvision.models.VGG(torchvision.models.vgg.make_layers(plan, batch_norm), num_classes=7)
    network.classifier = torch.nn.Sequential(
        torch.nn.Linear(8 * 49, 16), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(16, 16), torch.nn.ReLU()
    )
    return randomise(network)


def without_classifier(network):
    network.avgpool, network.classifier = torch.nn.Identity(), torch.nn.Identity()
    return network


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg(batch_norm, tmp_path):
    network = without_classifier(thin_vgg(batch_norm))
    model, x = VGG16(batch_norm, THIN, ceil_mode=False), image(97, 70)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "VGG16 of torchvision"
    poolings = [f"features.{i}" for i, layer in enumerate(network.features) if isinstance(layer, torch.nn.MaxPool2d)]
    maps, _ = outputs(network, poolings, x)
    for got, want in zip(apply(model, loaded.variables, x), maps, strict=True):
        close(got, want)
    reverse(loaded.variables, model, "torchvision", network, tmp_path)


@pytest.mark.slow
def test_vgg_of_its_true_size(tmp_path):
    network, model, x = randomise(torchvision.models.vgg16(weights=None)), VGG16(ceil_mode=False), image(48, 65, batch=1)
    loaded = converted(network, model, tmp_path, unused=[f"classifier.{n}.{a}" for n in (0, 3, 6) for a in ("weight", "bias")])
    (want,), _ = outputs(network, ["features"], x)
    close(apply(model, loaded.variables, x)[-1], want)


def test_vgg_classifier_as_convolutions(tmp_path):
    """On an image of 224 x 224, fc6 without padding sees what VGG's fully connected layer sees."""
    network, x = thin_vgg(False), image(224, 224, batch=1)
    torch.save(network.state_dict(), tmp_path / "vgg.pth")
    model = FCN32s(3, VGG16(widths=THIN, ceil_mode=False), fc_features=16)
    loaded = weights.load(model, tmp_path / "vgg.pth")
    assert {name.split("/")[1] for name in loaded.match.missing} == {"score_fr", "upscore_final"}
    params = loaded.variables["params"]
    pooled = apply(model.backbone, {"params": params["backbone"]}, x)[-1]
    got = ConvolutionalFC(16, padding=0).apply({"params": params["fc"]}, pooled, train=False)
    close(np.asarray(got)[:, 0, 0], outputs(network, [], x)[1])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_training_step(batch_norm, tmp_path):
    network, model = without_classifier(thin_vgg(batch_norm)), VGG16(batch_norm, THIN, ceil_mode=False)
    compare_step(network, their_projection_loss, model, projection_loss, image(64, 65, batch=4), tmp_path)


def small_vit(side):
    network = torchvision.models.VisionTransformer(
        image_size=side, patch_size=16, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=80, num_classes=7
    )
    options = {"width": 32, "depth": 3, "num_heads": 4, "hidden": 80, "image_size": (side, side), "class_token": True}
    return randomise(network), ViTClassifier(7, ViT(**options)), ViT(**options, feature_depths=(1, 2, 3))


def test_vit(tmp_path):
    network, model, backbone = small_vit(64)
    x = image(64, 64)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "ViT of torchvision"
    tokens, out = outputs(network, [f"encoder.layers.encoder_layer_{n}" for n in range(3)], x)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(backbone, inside, x, method=ViT.tokens), tokens, strict=True):
        close(got, want)
    close(apply(model, loaded.variables, x), out)
    reverse(loaded.variables, model, "torchvision", network, tmp_path)


@pytest.mark.slow
def test_vit_of_its_true_size(tmp_path):
    network, model, x = randomise(torchvision.models.vit_b_16(weights=None)), ViTClassifier(1000), image(224, 224, batch=1)
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])


def test_vit_training_step(tmp_path):
    network, model, _ = small_vit(32)
    x, y = image(32, 32, batch=4), np.array([1, 6, 0, 3])
    compare_step(without_dropout(network), their_image_loss(y), model, image_loss(y), x, tmp_path)


def small_swin():
    sizes = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 4], "window_size": [7, 7], "stochastic_depth_prob": 0.0}
    network = torchvision.models.SwinTransformer(patch_size=[4, 4], num_classes=7, **sizes)
    backbone = Swin(12, (2, 2), (2, 4), output_norms=False, shift_small=False, drop_path=0.0)
    return randomise(network), SwinClassifier(7, backbone)


@pytest.mark.parametrize("size", [(75, 130), (28, 60)])
def test_swin(size, tmp_path):
    """At the second size a side of the first map is as long as a window, and the second map is smaller than one."""
    network, model = small_swin()
    x = image(*size)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "Swin of torchvision"
    # Its patches leave out what does not fill one; ours are extended.
    whole = x[:, : size[0] // 4 * 4, : size[1] // 4 * 4]
    stages, out = outputs(network, ["features.1", "features.3"], whole, channels_last=True)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(model.backbone, inside, whole), stages, strict=True):
        close(got, want)
    close(apply(model, loaded.variables, whole), out)
    reverse(loaded.variables, model, "torchvision", network, tmp_path)


@pytest.mark.slow
def test_swin_of_its_true_size(tmp_path):
    network = randomise(torchvision.models.swin_t(weights=None))
    model, x = SwinClassifier(1000, Swin(output_norms=False, shift_small=False)), image(256, 320, batch=1)
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])


def test_swin_training_step(tmp_path):
    network, model = small_swin()
    x, y = image(60, 64, batch=4), np.array([1, 6, 0, 3])
    compare_step(network, their_image_loss(y), model, image_loss(y), x, tmp_path)
