"""torchvision's networks: VGG16, ResNet, FCN and DeepLab v3 on ResNet, ViT, Swin.

Names are those of torchvision 0.28. Older files of ViT call the feed-forward's layers ``linear_1`` and ``linear_2``.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from jaxseg.errors import InputError
from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.swin import Swin, SwinClassifier
from jaxseg.models.backbones.vgg import VGG16
from jaxseg.models.backbones.vit import ViT, ViTClassifier
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.deeplab_v1 import DeepLabV1
from jaxseg.models.deeplab_v3 import DeepLabV3
from jaxseg.models.fcn import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.ops.normalise import Normalise
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import AS_IS, STEM, Linear, Positions, RelativePositions
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Name, Row, attention, conv_bn, within

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


def vgg(model: VGG16, names: Names) -> tuple[Row, ...]:
    """vgg16 and vgg16_bn, whose layers are numbered; which of them it is, the file says."""
    norm = "features.1.weight" in names if names else model.batch_norm
    rows, number = [], 0
    for stage, count in enumerate(model.convolutions, start=1):
        for n in range(1, count + 1):
            rows.append(Row(f"conv{stage}_{n}", f"features.{number}", AS_IS if number else STEM))
            if norm:
                rows.append(Row(f"bn{stage}_{n}/norm", f"features.{number + 1}"))
            number += 3 if norm else 2
        number += 1
    return tuple(rows)


def on_vgg(model: Any, names: Names) -> tuple[Row, ...]:
    """A network that makes fc6 and fc7 of ImageNet's classifier convolutions."""
    backbone = vgg(model.backbone, names) if isinstance(model.backbone, VGG16) else ()
    rows = (Row(f"fc/fc{n}", f"classifier.{first}", Linear()) for n, first in ((6, 0), (7, 3)))
    return *within("backbone/", "", backbone), *rows


def needs_class_token(model: ViT, names: Names, source: str) -> None:
    """Refuse to save, where there are no names of a file, a ViT without class token for a source whose ViT cannot be without."""
    if not names and not model.class_token:
        raise InputError(
            f"class_token=False: {source}'s ViT has a class token and this ViT has none. Give it class_token=True, or save it "
            "with source='jaxseg'."
        )


def vit(model: ViT, names: Names) -> tuple[Row, ...]:
    """vit_b_16 and the others."""
    needs_class_token(model, names, "torchvision")
    block, theirs = "block{b}", "encoder.layers.encoder_layer_{b0}"
    return (
        Row("class_token", "class_token"),
        Row("class_position", "encoder.pos_embedding", Positions(part=0, row=0)),
        Row("position_embedding", "encoder.pos_embedding", Positions(part=1)),
        Row("patch_embedding", "conv_proj", STEM),
        Row(f"{block}/norm1", f"{theirs}.ln_1"),
        *attention(f"{block}/attention", f"{theirs}.self_attention.in_proj_{{array}}", f"{theirs}.self_attention.out_proj"),
        Row(f"{block}/norm2", f"{theirs}.ln_2"),
        Row(f"{block}/feed_forward/dense1", (f"{theirs}.mlp.0", f"{theirs}.mlp.linear_1")),
        Row(f"{block}/feed_forward/dense2", (f"{theirs}.mlp.3", f"{theirs}.mlp.linear_2")),
    )


def vit_classifier(model: ViTClassifier, names: Names) -> tuple[Row, ...]:
    """ViT with its last norm and its classifier."""
    return *within("backbone/", "", vit(model.backbone, names)), Row("norm", "encoder.ln"), Row("classifier", "heads.head")


def swin(model: Swin, names: Names) -> tuple[Row, ...]:
    """swin_t and the others of the first version; embedding, stages and mergings are numbered in turn."""
    block = "stage{s}_block{b}"

    def theirs(layer: str) -> Name:
        return lambda s, b: f"features.{2 * s - 1}.{b - 1}.{layer}"

    return (
        Row("patch_embedding", "features.0.0", STEM),
        Row("patch_norm", "features.0.2"),
        Row(f"{block}/norm1", theirs("norm1")),
        *attention(f"{block}/attention", theirs("attn.qkv"), theirs("attn.proj")),
        Row(f"{block}/relative_positions", theirs("attn.relative_position_bias_table"), RelativePositions()),
        Row(f"{block}/norm2", theirs("norm2")),
        Row(f"{block}/feed_forward/dense1", theirs("mlp.0")),
        Row(f"{block}/feed_forward/dense2", theirs("mlp.3")),
        Row("merge{n}/norm", lambda n: f"features.{2 * n}.norm"),
        Row("merge{n}/reduction", lambda n: f"features.{2 * n}.reduction"),
    )


def swin_classifier(model: SwinClassifier, names: Names) -> tuple[Row, ...]:
    """Swin with its last norm and its classifier."""
    return *within("backbone/", "", swin(model.backbone, names)), Row("norm", "norm"), Row("classifier", "head")


def swin_indices(model: Any) -> dict[str, np.ndarray]:
    """What torchvision keeps beside every table: which of its rows each query and key of a window have."""
    backbone = getattr(model, "backbone", model)
    row, column = np.divmod(np.arange(backbone.window**2), backbone.window)
    span = 2 * backbone.window - 1
    down, right = row[:, None] - row + backbone.window - 1, column[:, None] - column + backbone.window - 1
    blocks = [(s, b) for s, depth in enumerate(backbone.depths) for b in range(depth)]
    index = (down * span + right).reshape(-1)
    return {f"features.{2 * s + 1}.{b}.attn.relative_position_index": index for s, b in blocks}


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
    Format(
        "VGG16 of torchvision",
        ("torchvision",),
        (r"features\.0\.weight", r"features\.28\.weight"),
        {VGG16: vgg, **dict.fromkeys((FCN32s, FCN16s, FCN8s, DeconvNet, DeepLabV1), on_vgg)},
        absent=(r"features\.(32|49)\.weight",),
        preprocessing=CLASSIFIER,
    ),
    Format(
        "ViT of torchvision",
        ("torchvision",),
        (r"conv_proj\.weight", r"encoder\.pos_embedding"),
        {ViTClassifier: vit_classifier, ViT: vit},
        preprocessing=CLASSIFIER,
    ),
    Format(
        "Swin of torchvision",
        ("torchvision",),
        (r"features\.0\.0\.weight", r"features\.1\.0\.attn\.relative_position_bias_table"),
        {SwinClassifier: swin_classifier, Swin: swin},
        absent=(r"features\.1\.0\.attn\.logit_scale",),
        preprocessing=CLASSIFIER,
        ignored=(r".*relative_position_index",),
        constants=swin_indices,
    ),
)
