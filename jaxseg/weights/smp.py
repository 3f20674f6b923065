"""segmentation_models.pytorch's networks on ResNets: U-Net, PSPNet, DeepLab v3 and v3+, UPerNet.

Names are those of version 0.6; older ones of DeepLab v3's decoder are read as well. Images went in as RGB, with ImageNet's mean
and deviation, where the encoder came from ImageNet. What the networks here must be given to be its stands in their docstrings.

Differences that no array shows:

- It takes images only in multiples of the stride, but for U-Net; ours take all, and extend or enlarge as they do anyway.
- PSPNet reads two of ResNet's four stages. The other two lie in the file, never used and never trained: they are not taken and
  not written, so that its ``load_state_dict`` needs ``strict=False``.
- Not in ours, and listed as not taken: attention (``scse``) and the centre block of U-Net, a separable pyramid in DeepLab v3 and
  one that is not in DeepLab v3+, biases of decoders without batch normalisation, a classification head beside.
"""

from collections.abc import Collection, Iterable
from typing import Any

from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.deeplab_v3 import DeepLabV3
from jaxseg.models.deeplab_v3_plus import DeepLabV3Plus
from jaxseg.models.pspnet import PSPNet
from jaxseg.models.unet_backbone import UNetBackbone
from jaxseg.models.upernet import UPerNet
from jaxseg.ops.normalise import Normalise
from jaxseg.weights import torchvision
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import AS_IS, Layout, SwappedHalves
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Row, conv_bn, within

Names = Collection[str]


def encoder_of(model: Any, names: Names) -> tuple[Row, ...]:
    """The ResNet inside, whose names are torchvision's; without rows for another backbone."""
    return within("", "encoder.", torchvision.resnet(model, names)) if isinstance(model, ResNet) else ()


def layer(ours: str, theirs: str, layout: Layout = AS_IS) -> tuple[Row, ...]:
    """Return the rows of a ``Conv2dReLU``: convolution and norm."""
    return conv_bn(ours, f"{theirs}.0", f"{theirs}.1", layout)


def separable(ours: str, conv: str, norm: str) -> tuple[Row, ...]:
    """Return the rows of a ``SeparableConv2d`` and of the norm behind it."""
    return Row(f"{ours}/depthwise", f"{conv}.0"), *conv_bn(f"{ours}/pointwise", f"{conv}.1", norm)


def _network(model: Any, names: Names, rows: Iterable[Row]) -> tuple[Row, ...]:
    return *within("backbone/", "", encoder_of(model.backbone, names)), *rows, Row("classifier", "segmentation_head.0")


def unet(model: UNetBackbone, names: Names) -> tuple[Row, ...]:
    """Unet."""
    return _network(model, names, layer("decoder{n}_conv{i}", "decoder.blocks.{n0}.conv{i}"))


def pspnet(model: PSPNet, names: Names) -> tuple[Row, ...]:
    """PSPNet, whose map lies behind its averages and not before."""
    rows: list[Row] = list(layer("hidden", "decoder.conv", SwappedHalves()))
    for n, side in enumerate(model.bins):
        rows += layer(f"pyramid/bin{side}", f"decoder.psp.blocks.{n}.pool.1")
        if side == 1 and not model.whole_norm:
            rows.append(Row("pyramid/bin1", f"decoder.psp.blocks.{n}.pool.1.0"))
    return _network(model, names, rows)


def _aspp(theirs: str, branches: tuple[Row, ...]) -> tuple[Row, ...]:
    return (
        *layer("aspp/branch1x1", f"{theirs}.convs.0"),
        *branches,
        *conv_bn("aspp/image_pooling", f"{theirs}.convs.4.1", f"{theirs}.convs.4.2"),
        *layer("aspp/projection", f"{theirs}.project"),
    )


def deeplab_v3(model: DeepLabV3, names: Names) -> tuple[Row, ...]:
    """DeepLabV3."""
    older = "decoder.0.convs.0.0.weight" in names
    aspp, conv, norm = (f"decoder.{name}" for name in (("0", "1", "2") if older else ("aspp", "conv", "bn")))
    rows = _aspp(aspp, layer("aspp/branch{n}", f"{aspp}.convs.{{n}}"))
    return _network(model, names, (*rows, *conv_bn("hidden", conv, norm)))


def deeplab_v3_plus(model: DeepLabV3Plus, names: Names) -> tuple[Row, ...]:
    """DeepLabV3Plus."""
    aspp = "decoder.aspp.0"
    rows = (
        *_aspp(aspp, separable("aspp/branch{n}", f"{aspp}.convs.{{n}}.0", f"{aspp}.convs.{{n}}.1")),
        *separable("hidden", "decoder.aspp.1", "decoder.aspp.2"),
        *layer("low_level", "decoder.block1"),
        *separable("decoder1", "decoder.block2.0", "decoder.block2.1"),
    )
    return _network(model, names, rows)


def upernet(model: UPerNet, names: Names) -> tuple[Row, ...]:
    """UPerNet, whose laterals are numbered from the coarsest there and from the finest here."""
    rows: list[Row] = [Row("norm{n}", "decoder.feature_norms.{n0}")]
    for n, side in enumerate(model.bins):
        rows += layer(f"pyramid_pooling/bin{side}", f"decoder.psp.blocks.{n}.1")
    laterals = min(4, len(model.backbone.strides)) - 1
    for i in range(1, laterals + 1):
        rows += layer(f"lateral{i}", f"decoder.fpn_lateral_blocks.{laterals - i}.conv_norm_relu")
        rows += layer(f"smooth{i}", f"decoder.fpn_conv_blocks.{laterals - i}")
    return _network(model, names, (*rows, *layer("pooled", "decoder.psp.out_conv"), *layer("fuse", "decoder.fusion_block")))


def _format(title: str, model: type, table: Any, *signature: str) -> Format:
    return Format(
        f"{title} of segmentation_models.pytorch",
        ("segmentation_models_pytorch", "smp"),
        (r"encoder\.layer1\.0\.conv1\.weight", *signature),
        {model: table},
        {ResNet: encoder_of},
        preprocessing=Preprocessing(Normalise()),
    )


FORMATS = (
    _format("U-Net", UNetBackbone, unet, r"decoder\.blocks\.0\.conv1\.0\.weight"),
    _format("PSPNet", PSPNet, pspnet, r"decoder\.psp\.blocks\.0\.pool\.1\.0\.weight"),
    _format("DeepLab v3", DeepLabV3, deeplab_v3, r"decoder\.(aspp|0)\.convs\.1\.0\.weight"),
    _format("DeepLab v3+", DeepLabV3Plus, deeplab_v3_plus, r"decoder\.aspp\.0\.convs\.1\.0\.0\.weight"),
    _format("UPerNet", UPerNet, upernet, r"decoder\.fusion_block\.0\.weight"),
)
