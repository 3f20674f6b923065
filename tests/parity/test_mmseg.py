"""mmsegmentation's networks, narrow: weights converted, values, features and one training step compared.

CI skips this file, for mmsegmentation is not installed there; README says how to run it.
"""

import jax
import numpy as np
import pytest
from mmseg_references import build, count_of_config, fcn_head, logits, loss, require_mmseg, resnet, through
from references import apply, close, compare_step, converted, image, labels, reverse, segmentation_loss, to_torch, torch

from jaxseg import weights
from jaxseg.models import FCN, SETRMLA, SETRPUP, DeepLabV3, DeepLabV3Plus, PSPNet, SETRNaive, UNet, UPerNet
from jaxseg.models.backbones import ResNet, Swin, ViT

require_mmseg()

#: Channels of the narrow ResNet's third and last maps.
THIRD, LAST = 64, 128


def narrow():
    return resnet(base_channels=4, stem_channels=8), ResNet(50, 8, deep_stem=True, stem_features=(4, 4, 8), width=4)


def on_resnet(model, decode_head, **fields):
    theirs, ours = narrow()
    head = {"in_channels": LAST, "in_index": 3, "channels": LAST // 4, **decode_head}
    network = build(theirs, head, fcn_head(THIRD, THIRD // 4))
    return network, model(5, ours, auxiliary_weight=0.4, **fields)


def fcn():
    head = {"type": "FCNHead", "num_convs": 2, "concat_input": True}
    return on_resnet(FCN, head, convolutions=2, joins_input=True, dropped_channels=True)


def pspnet():
    return on_resnet(PSPNet, {"type": "PSPHead", "pool_scales": (1, 2, 3, 6)}, features=LAST // 4, align_corners=False)


DEEPLAB = {"features": LAST // 4, "projection_kernel_size": 3, "align_corners": False}


def deeplab_v3():
    return on_resnet(DeepLabV3, {"type": "ASPPHead", "dilations": (1, 12, 24, 36)}, **DEEPLAB)


def deeplab_v3_plus():
    head = {"type": "DepthwiseSeparableASPPHead", "dilations": (1, 12, 24, 36), "c1_in_channels": 16, "c1_channels": 48}
    return on_resnet(DeepLabV3Plus, head, **DEEPLAB)


def upernet_on_resnet():
    theirs, ours = resnet(50, base_channels=4, stem_channels=8, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)), narrow()[1]
    head = {"type": "UPerHead", "in_channels": [16, 32, 64, 128], "in_index": [0, 1, 2, 3], "channels": 16}
    network = build(theirs, {**head, "pool_scales": (1, 2, 3, 6)}, fcn_head(THIRD, 8))
    return network, UPerNet(5, ours.copy(output_stride=32), features=16, auxiliary_features=8)


def upernet():
    stages = {"depths": (1, 2, 1, 2), "num_heads": (1, 2, 3, 6)}
    theirs = {"type": "SwinTransformer", "embed_dims": 12, "window_size": 7, "drop_path_rate": 0.0, **stages}
    theirs |= {"norm_cfg": {"type": "LN", "requires_grad": True}}
    head = {"type": "UPerHead", "in_channels": [12, 24, 48, 96], "in_index": [0, 1, 2, 3], "channels": 16}
    network = build(theirs, {**head, "pool_scales": (1, 2, 3, 6)}, fcn_head(48, 8))
    return network, UPerNet(5, Swin(12, **stages, drop_path=0.0), features=16, auxiliary_features=8)


def unet():
    theirs = {"type": "UNet", "base_channels": 4, "norm_cfg": BATCH}
    head = {"type": "FCNHead", "in_channels": 4, "in_index": 4, "channels": 6, "num_convs": 1, "concat_input": False}
    model = UNet(5, 4, batch_norm=True, dropout=0.0, interpolate=True, head_features=6, auxiliary_weight=0.4)
    return build(theirs, head, fcn_head(8, 6, index=3)), model


BATCH = {"type": "BN", "requires_grad": True}
VIT = {"num_heads": 4, "patch_size": 16}


def vit(side, *depths, class_token=True):
    theirs = {"type": "VisionTransformer", "embed_dims": 32, "num_layers": 4, "mlp_ratio": 4, "img_size": (side, side)}
    theirs |= {"interpolate_mode": "bilinear", "norm_cfg": {"type": "LN", "eps": 1e-6}, "with_cls_token": class_token}
    options = {"class_token": class_token, "patch_bias": False, "image_size": (side, side), "feature_depths": depths}
    return {**theirs, **VIT, "out_indices": tuple(d - 1 for d in depths)}, ViT(width=32, hidden=128, depth=4, **VIT, **options)


def setr_head(index=3, **fields):
    return {"type": "SETRUPHead", "in_channels": 32, "channels": 8, "in_index": index, **fields}


def setr_naive(side=64, convolutions=1):
    theirs, ours = vit(side, 1, 2, 3, 4)
    form = {"up_scale": 4, "kernel_size": 1}
    auxiliary = [setr_head(i, num_convs=convolutions, **form) for i in range(3)]
    model = SETRNaive(5, ours, head_features=8, enlarge=4, auxiliary_convolutions=convolutions)
    return build(theirs, setr_head(num_convs=1, **form), auxiliary), model


def setr_pup(side=64):
    theirs, ours = vit(side, 1, 2, 3, 4)
    auxiliary = [setr_head(i, num_convs=2, up_scale=4, kernel_size=3) for i in range(3)]
    model = SETRPUP(5, ours, head_features=8, auxiliary_last=False, auxiliary_convolutions=2)
    return build(theirs, setr_head(num_convs=4, up_scale=2, kernel_size=3), auxiliary), model


def setr_mla(side=64):
    theirs, ours = vit(side, 1, 2, 3, 4, class_token=False)
    neck = {"type": "MLANeck", "in_channels": [32] * 4, "out_channels": 8, "norm_cfg": BATCH, "act_cfg": {"type": "ReLU"}}
    head = {"type": "SETRMLAHead", "in_channels": (8,) * 4, "channels": 24, "in_index": (0, 1, 2, 3), "mla_channels": 6}
    auxiliary = [fcn_head(8, 8, index=i, num_convs=0, kernel_size=1) for i in range(4)]
    fields = {"stream_align_corners": False, "classifier_kernel_size": 1, "auxiliary_bias": True}
    return build(theirs, head, auxiliary, neck), SETRMLA(5, ours, head_features=8, stream_features=6, **fields)


@pytest.mark.parametrize(
    ("make", "size", "title"),
    [
        (fcn, (57, 66), "FCN"),
        (pspnet, (57, 66), "PSPNet"),
        (deeplab_v3, (57, 66), "DeepLab v3"),
        (deeplab_v3, (64, 64), "DeepLab v3"),
        (deeplab_v3_plus, (57, 66), "DeepLab v3+"),
        (upernet_on_resnet, (75, 130), "UPerNet"),
        (upernet, (75, 130), "UPerNet"),
        (unet, (48, 80), "U-Net"),
        (setr_naive, (64, 64), "SETR-Naive or SETR-PUP"),
        (setr_naive, (48, 96), "SETR-Naive or SETR-PUP"),
        (setr_pup, (48, 96), "SETR-Naive or SETR-PUP"),
        (setr_mla, (48, 96), "SETR-MLA"),
    ],
)
def test_network(make, size, title, tmp_path):
    network, model = make()
    x = image(*size)
    unused = ("backbone.cls_token",) if make is setr_mla else ()
    loaded = converted(network, model, tmp_path, unused=unused)
    assert loaded.title == f"{title} of mmsegmentation"
    assert loaded.normalise is not None
    maps, out = logits(network, x)
    close(apply(model, loaded.variables, x), out)
    if hasattr(model, "backbone") and make is not setr_mla:  # its neck is a part of their features
        own = {name: tree["backbone"] for name, tree in loaded.variables.items() if "backbone" in tree}
        for got, want in zip(apply(model.backbone, own, x)[-4:], maps[-4:], strict=True):
            close(got, want)
    if make is setr_mla:
        with torch.no_grad():
            network.backbone.cls_token.zero_()
            network.backbone.pos_embed[:, 0] = 0
    reverse(loaded.variables, model, "mmsegmentation", network, tmp_path)


@pytest.mark.parametrize("make", [setr_naive, setr_pup, setr_mla])
def test_setr_at_an_odd_size(make, tmp_path):
    """theirs gives logits of whole patches, which it would stretch to the image; ours crops them."""
    network, model = make()
    x = image(75, 58)
    loaded = weights.load(model, saved(network, tmp_path))
    network.eval()
    with torch.no_grad():
        out = network.decode_head(network.extract_feat(to_torch(x)))
        out = torch.nn.functional.interpolate(out, size=(80, 64), mode="bilinear", align_corners=False)
    close(apply(model, loaded.variables, x), out.movedim(1, 3)[:, :75, :58])


def test_setr_for_another_grid(tmp_path):
    """The positions are resized once, as the reference does at run time: bilinearly."""
    network, _ = setr_pup(64)
    _, model = setr_pup(96)
    loaded = weights.load(model, saved(network, tmp_path))
    assert loaded.changed == ("params/backbone/position_embedding",)
    x = image(96, 96)
    close(apply(model, loaded.variables, x), logits(network, x)[1])


def test_backbones_alone(tmp_path):
    """A published ResNetV1c or Swin, and what is inside of a whole network's file."""
    network, model = deeplab_v3()
    torch.save({"meta": {"epoch": 3}, "state_dict": network.backbone.state_dict()}, tmp_path / "resnet50_v1c.pth")
    alone = weights.load(model.backbone, tmp_path / "resnet50_v1c.pth")
    inside = weights.load(model.backbone, saved(network, tmp_path))
    assert alone.title == "ResNet of mmsegmentation"
    assert alone.match.missing == inside.match.missing == alone.match.unused == ()
    jax.tree.map(np.testing.assert_array_equal, alone.variables, inside.variables)
    network, model = upernet()
    torch.save(network.backbone.state_dict(), tmp_path / "swin.pth")
    alone = weights.load(model.backbone, tmp_path / "swin.pth")
    assert (alone.title, alone.match.missing) == ("Swin of mmsegmentation", ())
    jax.tree.map(np.testing.assert_array_equal, alone.variables, weights.load(model.backbone, saved(network, tmp_path)).variables)


def saved(network, tmp_path):
    torch.save({"meta": {"CLASSES": ("road",)}, "state_dict": network.state_dict()}, tmp_path / "whole.pth")
    return tmp_path / "whole.pth"


@pytest.mark.parametrize(
    "make",
    [
        fcn,
        pspnet,
        deeplab_v3,
        deeplab_v3_plus,
        upernet,
        unet,
        setr_naive,
        lambda: setr_naive(convolutions=2),
        setr_pup,
        setr_mla,
    ],
)
def test_training_step(make, tmp_path):
    network, model = make()
    x, y = image(64, 96, batch=4), labels(64, 96, batch=4, classes=5)
    network = through(network)
    compare_step(network, loss(network, y, 0.4), model, segmentation_loss(y), x, tmp_path)


COUNTS = {
    "fcn_r50-d8": (FCN, {"convolutions": 2, "joins_input": True}, 49_499_274),
    "pspnet_r50-d8": (PSPNet, {}, 48_977_034),
    "deeplabv3_r50-d8": (DeepLabV3, {"features": 512, "projection_kernel_size": 3}, 68_114_570),
    "deeplabv3plus_r50-d8": (DeepLabV3Plus, {"features": 512, "projection_kernel_size": 3}, 43_591_418),
    "fcn_unet_s5-d16": (
        UNet,
        {"batch_norm": True, "interpolate": True, "head_features": 64, "auxiliary_weight": 0.4},
        29_063_146,
    ),
    "upernet_swin": (UPerNet, {}, 59_842_532),
    "setr_naive": (SETRNaive, {"enlarge": 4}, 306_537_556),
    "setr_pup": (SETRPUP, {"auxiliary_last": False}, 316_697_172),
    "setr_mla": (SETRMLA, {"classifier_kernel_size": 1, "auxiliary_bias": True}, 310_681_193),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_true_sizes(name):
    """Of the configs that mmsegmentation is installed with, by shapes alone; SETR-MLA has a class token and its position more."""
    kind, fields, want = COUNTS[name]
    assert count_of_config(name, classes=21) == want
    fields = dict(fields)
    if name.endswith("-d8"):
        fields["backbone"] = ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64))
        fields["auxiliary_weight"] = 0.4
    if name.startswith("setr"):
        fields["backbone"] = kind.backbone.copy(patch_bias=False)
    key = jax.random.key(0)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    model = kind(21, **fields)
    shapes = jax.eval_shape(lambda x: model.init({"params": key, "dropout": key}, x, train=True), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == want - 2 * 1024 * (name == "setr_mla")
