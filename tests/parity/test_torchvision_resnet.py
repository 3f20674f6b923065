"""ResNet, FCN and DeepLab v3 of torchvision: weights converted, values, features and one training step compared."""

import pytest
from references import (
    apply,
    close,
    compare_step,
    converted,
    from_torch,
    image,
    labels,
    outputs,
    randomise,
    require,
    reverse,
    segmentation_loss,
    their_segmentation_loss,
    torch,
    without_dropout,
)

from jaxseg.models import FCN, DeepLabV3
from jaxseg.models.backbones import ResNet

torchvision = require("torchvision")

STAGES = ("relu", "layer1", "layer2", "layer3", "layer4")


def their_resnet(depth):
    network = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    network.fc = torch.nn.Identity()
    return randomise(network)


@pytest.mark.parametrize(("depth", "size"), [(18, (64, 96)), (50, (65, 53)), pytest.param(101, (33, 70), marks=pytest.mark.slow)])
def test_resnet(depth, size, tmp_path):
    network, model, x = their_resnet(depth), ResNet(depth), image(*size)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "ResNet of torchvision or timm"
    maps, _ = outputs(network, STAGES, x)
    for got, want in zip(apply(model, loaded.variables, x), maps, strict=True):
        close(got, want)
    reverse(loaded.variables, model, "torchvision", network, tmp_path)


def small_deeplab():
    """DeepLab v3 of torchvision's parts on ResNet-18, whose stages it cannot dilate: at output stride 32."""
    parts = torchvision.models.segmentation
    backbone = torchvision.models._utils.IntermediateLayerGetter(
        torchvision.models.resnet18(weights=None), {"layer4": "out", "layer3": "aux"}
    )
    head, auxiliary = parts.deeplabv3.DeepLabHead(512, 5, (3, 6, 9)), parts.fcn.FCNHead(256, 5)
    model = DeepLabV3(5, ResNet(18), dropout=0.0, hidden_convolution=True, auxiliary_weight=0.5, align_corners=False)
    return randomise(parts.DeepLabV3(backbone, head, auxiliary)), model


def small_fcn():
    parts = torchvision.models.segmentation
    backbone = torchvision.models._utils.IntermediateLayerGetter(
        torchvision.models.resnet18(weights=None), {"layer4": "out", "layer3": "aux"}
    )
    return randomise(parts.FCN(backbone, parts.fcn.FCNHead(512, 5), parts.fcn.FCNHead(256, 5))), FCN(5, ResNet(18))


def whole(name):
    network = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, num_classes=5, aux_loss=True)
    depth = int(name[-2:]) if name[-2:] != "01" else 101
    backbone = ResNet(depth, output_stride=8)
    if name.startswith("fcn"):
        return randomise(network), FCN(5, backbone)
    return randomise(network), DeepLabV3(
        5, backbone, dropout=0.5, hidden_convolution=True, auxiliary_weight=0.5, align_corners=False
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fcn_resnet50", (57, 66)),
        ("deeplabv3_resnet50", (57, 66)),
        ("deeplabv3_resnet50", (64, 64)),
        pytest.param("deeplabv3_resnet101", (65, 81), marks=pytest.mark.slow),
        pytest.param("fcn_resnet101", (65, 81), marks=pytest.mark.slow),
    ],
)
def test_segmentation(name, size, tmp_path):
    network, model = whole(name)
    x = image(*size)
    loaded = converted(network, model, tmp_path, form="pth")
    (deep,), out = outputs(network, ["backbone.layer4"], x)
    close(apply(model.backbone, {k: v["backbone"] for k, v in loaded.variables.items()}, x)[-1], deep)
    close(apply(model, loaded.variables, x), from_torch(out["out"]))
    reverse(loaded.variables, model, "torchvision", network, tmp_path)


@pytest.mark.parametrize("make", [small_deeplab, small_fcn])
def test_training_step(make, tmp_path):
    network, model = make()
    x, y = image(64, 72, batch=4), labels(64, 72, batch=4, classes=5)
    compare_step(without_dropout(network), their_segmentation_loss(y, 0.5), model, segmentation_loss(y), x, tmp_path)
