"""segmentation_models.pytorch's networks: weights converted, values, features and one training step compared.

CI skips this file, for that library is not installed there; README says how to run it.
"""

import jax
import numpy as np
import pytest
from references import (
    apply,
    close,
    compare_step,
    converted,
    from_torch,
    image,
    labels,
    randomise,
    require,
    reverse,
    segmentation_loss,
    to_torch,
    torch,
    without_dropout,
)

from jaxseg import weights
from jaxseg.models import DeepLabV3, DeepLabV3Plus, PSPNet, UNetBackbone, UPerNet
from jaxseg.models.backbones import ResNet

require("torchvision")
smp = require("segmentation_models_pytorch")

PSP = {"hidden_kernel_size": 1, "classifier_kernel_size": 3, "whole_norm": False, "auxiliary_weight": 0.0, "extend_image": False}
PLUS = {"depthwise_norm": False, "hidden_convolution": True, "decoder_convolutions": 1, "extend_image": False}


def theirs(kind, classes=5, **fields):
    return randomise(getattr(smp, kind)(encoder_weights=None, classes=classes, **fields))


def unet(depth=18, features=(32, 24, 16, 12, 8)):
    network = theirs("Unet", encoder_name=f"resnet{depth}", decoder_channels=features)
    return network, UNetBackbone(5, ResNet(depth), decoder_features=features, extend_image=False)


def pspnet(depth=18, features=16):
    network = theirs("PSPNet", encoder_name=f"resnet{depth}", psp_out_channels=features)
    levels = (512 if depth >= 50 else 128) // 4
    return network, PSPNet(5, ResNet(depth, stages=2), features=features, level_features=levels, **PSP)


def deeplab_v3(depth=18, features=16, stride=8):
    network = theirs("DeepLabV3", encoder_name=f"resnet{depth}", decoder_channels=features, encoder_output_stride=stride)
    backbone = ResNet(depth, stride, first_block_keeps_rate=False)
    rates = tuple(rate * stride // 16 for rate in (12, 24, 36))
    return network, DeepLabV3(
        5, backbone, atrous_rates=rates, features=features, dropout=0.5, hidden_convolution=True, extend_image=False
    )


def deeplab_v3_plus(depth=18, features=16):
    network = theirs("DeepLabV3Plus", encoder_name=f"resnet{depth}", decoder_channels=features)
    backbone = ResNet(depth, 16, first_block_keeps_rate=False)
    return network, DeepLabV3Plus(5, backbone, atrous_rates=(12, 24, 36), features=features, **PLUS)


def upernet(depth=18, features=16):
    network = theirs("UPerNet", encoder_name=f"resnet{depth}", decoder_channels=features)
    fields = {"dropout": 0.0, "auxiliary_weight": 0.0, "feature_norms": True, "align_corners": True}
    return network, UPerNet(5, ResNet(depth), features=features, **fields)


@pytest.mark.parametrize(
    ("make", "size", "title"),
    [
        (unet, (75, 130), "U-Net"),
        (unet, (64, 96), "U-Net"),
        (lambda: unet(34), (75, 130), "U-Net"),
        (pspnet, (64, 72), "PSPNet"),
        (deeplab_v3, (64, 72), "DeepLab v3"),
        (lambda: deeplab_v3(50, stride=16), (64, 80), "DeepLab v3"),
        (deeplab_v3_plus, (64, 80), "DeepLab v3+"),
        (upernet, (64, 96), "UPerNet"),
    ],
)
def test_network(make, size, title, tmp_path):
    network, model = make()
    x = image(*size)
    path = tmp_path / "reference.pth"
    torch.save(network.state_dict(), path)
    loaded = weights.load(model, path)
    assert loaded.title == f"{title} of segmentation_models.pytorch"
    assert loaded.match.missing == loaded.match.other_shape == ()
    with torch.no_grad():
        maps = [from_torch(t) for t in network.eval().encoder(to_torch(x))[1:]]
        want = from_torch(network(to_torch(x)))
    own = {name: tree["backbone"] for name, tree in loaded.variables.items()}
    for got, reference in zip(apply(model.backbone, own, x), maps, strict=True):
        close(got, reference)
    close(apply(model, loaded.variables, x), want)
    if title == "PSPNet":  # its last two stages read nothing and are not ours
        assert {name.split(".")[1] for name in loaded.match.unused} == {"layer3", "layer4"}
        network.encoder.layer3, network.encoder.layer4 = torch.nn.Identity(), torch.nn.Identity()
    else:
        assert loaded.match.unused == ()
    reverse(loaded.variables, model, "smp", network, tmp_path)


def test_older_names_of_deeplab_v3(tmp_path):
    """theirs still takes them too."""
    network, model = deeplab_v3()
    older = {"decoder.aspp.": "decoder.0.", "decoder.conv.": "decoder.1.", "decoder.bn.": "decoder.2."}
    state = {}
    for name, value in network.state_dict().items():
        start = next((s for s in older if name.startswith(s)), "")
        state[older.get(start, "") + name.removeprefix(start)] = value
    assert "decoder.1.weight" in state
    torch.save(state, tmp_path / "older.pth")
    loaded = weights.load(model, tmp_path / "older.pth")
    assert loaded.match.missing == loaded.match.unused == ()
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, converted(network, model, tmp_path).variables)


@pytest.mark.parametrize("make", [unet, pspnet, deeplab_v3, deeplab_v3_plus, upernet])
def test_training_step(make, tmp_path):
    network, model = make()
    x, y = image(64, 96, batch=4), labels(64, 96, batch=4, classes=5)
    one = torch.nn.CrossEntropyLoss(ignore_index=255)
    network = without_dropout(network)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout2d):
            layer.p = 0.0
    compare_step(network, lambda out: one(out, torch.tensor(y)), model, segmentation_loss(y), x, tmp_path)


@pytest.mark.parametrize(
    ("kind", "make", "want"),
    [
        ("Unet", UNetBackbone, 24_439_269),
        ("PSPNet", lambda k: PSPNet(k, ResNet(50, stages=2), level_features=128, **PSP), 24_393_173 - 22_063_104),
        (
            "DeepLabV3",
            lambda k: DeepLabV3(k, ResNet(50, 8, first_block_keeps_rate=False), hidden_convolution=True, extend_image=False),
            39_638_869,
        ),
        ("DeepLabV3Plus", lambda k: DeepLabV3Plus(k, ResNet(50, 16, first_block_keeps_rate=False), **PLUS), 26_682_725),
        ("UPerNet", lambda k: UPerNet(k, ResNet(50), 256, auxiliary_weight=0.0, feature_norms=True), 37_289_813),
    ],
)
def test_counts_of_the_true_sizes(kind, make, want):
    """By shapes alone; PSPNet has two stages more, which read nothing."""
    with torch.device("meta"):
        encoder = "resnet34" if kind == "Unet" else "resnet50"
        network = getattr(smp, kind)(encoder, encoder_weights=None, classes=21)
    unused = sum(p.numel() for n, p in network.named_parameters() if kind == "PSPNet" and n.split(".")[1] in ("layer3", "layer4"))
    assert sum(p.numel() for p in network.parameters()) - unused == want
    x, key = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32), jax.random.key(0)
    shapes = jax.eval_shape(lambda x: make(21).init({"params": key, "dropout": key}, x, train=True), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == want
