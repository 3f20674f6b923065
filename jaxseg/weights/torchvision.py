"""torchvision's networks: VGG16, ResNet, FCN and DeepLab v3 on ResNet, ViT, Swin.

Names are those of torchvision 0.28. Older files of ViT call the feed-forward's layers ``linear_1`` and ``linear_2``.
"""

from collections.abc import Collection

from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.deeplab_v3 import DeepLabV3
from jaxseg.models.fcn import FCN
from jaxseg.ops.normalise import Normalise
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import STEM
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Row, conv_bn, within

Names = Collection[str]

#: Of all its classifiers; the segmentation networks were trained on crops of 480 and evaluated at 520.
CLASSIFIER = Preprocessing(Normalise(), crop_size=(224, 224))
SEGMENTATION = Preprocessing(Normalise(), crop_size=(480, 480))


def resnet(model: ResNet, names: Names) -> tuple[Row, ...]:
    """ResNet, as timm calls its layers too; a deep stem is timm's."""
    rows: list[Row] = []
    if model.deep_stem:
        for n in (1, 2, 3):
            norm = "bn1" if n == 3 else f"conv1.{3 * n - 2}"
            rows += conv_bn(f"stem{n}", f"conv1.{3 * n - 3}", norm, STEM)
    else:
        rows += conv_bn("stem", "conv1", "bn1", STEM)
    block, theirs = "stage{s}_block{b}", "layer{s}.{b0}"
    rows += conv_bn(f"{block}/conv{{n}}", f"{theirs}.conv{{n}}", f"{theirs}.bn{{n}}")
    rows += conv_bn(f"{block}/shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1")
    return tuple(rows)


def fcn_head(ours: str, theirs: str) -> tuple[Row, ...]:
    """FCN's head: convolution, norm, ReLU, dropout, classifier."""
    return *conv_bn(f"{ours}/hidden", f"{theirs}.0", f"{theirs}.1"), Row(f"{ours}/classifier", f"{theirs}.4")


def fcn(model: FCN, names: Names) -> tuple[Row, ...]:
    """fcn_resnet50 and fcn_resnet101."""
    backbone = resnet(model.backbone, names) if isinstance(model.backbone, ResNet) else ()
    return (
        *within("backbone/", "backbone.", backbone),
        *fcn_head("head", "classifier"),
        *fcn_head("auxiliary_head", "aux_classifier"),
    )


def deeplab_v3(model: DeepLabV3, names: Names) -> tuple[Row, ...]:
    """deeplabv3_resnet50 and deeplabv3_resnet101."""
    backbone = resnet(model.backbone, names) if isinstance(model.backbone, ResNet) else ()
    pooling = len(model.atrous_rates) + 1
    return (
        *within("backbone/", "backbone.", backbone),
        *conv_bn("aspp/branch1x1", "classifier.0.convs.0.0", "classifier.0.convs.0.1"),
        *conv_bn("aspp/branch{n}", "classifier.0.convs.{n}.0", "classifier.0.convs.{n}.1"),
        *conv_bn("aspp/image_pooling", f"classifier.0.convs.{pooling}.1", f"classifier.0.convs.{pooling}.2"),
        *conv_bn("aspp/projection", "classifier.0.project.0", "classifier.0.project.1"),
        *conv_bn("hidden", "classifier.1", "classifier.2"),
        Row("classifier", "classifier.4"),
        *fcn_head("auxiliary_head", "aux_classifier"),
    )


def backbone_of(model: ResNet, names: Names) -> tuple[Row, ...]:
    """The ResNet inside a segmentation network's file."""
    return within("", "backbone.", resnet(model, names))


FORMATS = (
    Format(
        "DeepLab v3 of torchvision",
        ("torchvision",),
        (r"backbone\.layer1\.0\.conv1\.weight", r"classifier\.0\.convs\.0\.0\.weight"),
        {DeepLabV3: deeplab_v3},
        {ResNet: backbone_of},
        preprocessing=SEGMENTATION,
    ),
    Format(
        "FCN of torchvision",
        ("torchvision",),
        (r"backbone\.layer1\.0\.conv1\.weight", r"classifier\.0\.weight"),
        {FCN: fcn},
        {ResNet: backbone_of},
        preprocessing=SEGMENTATION,
    ),
    Format(
        "ResNet of torchvision or timm",
        ("torchvision", "timm"),
        (r"layer1\.0\.conv1\.weight", r"conv1\.(0\.)?weight"),
        {ResNet: resnet},
        preprocessing=CLASSIFIER,
    ),
)
