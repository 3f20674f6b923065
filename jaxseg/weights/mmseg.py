"""mmsegmentation's networks: FCN, PSPNet, DeepLab v3 and v3+ on ResNetV1c, UPerNet on Swin or that ResNet, U-Net, SETR.

Names are those of mmsegmentation 1.2, and of older files. Its ResNetV1c has a stem of three convolutions: ours is ``ResNet(50, 8,
deep_stem=True, stem_features=(32, 32, 64))``. Images went in as RGB, with ImageNet's mean and deviation. What the networks here
must be given to be theirs stands in their docstrings.

Differences that no array shows:

- SETR and U-Net at sizes that are no multiples of 16: SETR there stretches logits of whole patches to the image, where they lie
  beside it; here they are cropped. U-Net refuses such images there; here they are extended.
- SETR-MLA there has a class token that no block sees. It is not taken, and is written as zeros.
- Its loss divides by all pixels, ours by those that are not void.
- Its U-Net with ``upsample_cfg=dict(type='DeconvModule')`` is not ours: what its deconvolutions hold is listed as not taken.
"""

from typing import Any

import numpy as np

from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.swin import Swin
from jaxseg.models.backbones.vit import ViT
from jaxseg.models.deeplab_v3 import DeepLabV3
from jaxseg.models.deeplab_v3_plus import DeepLabV3Plus
from jaxseg.models.fcn import FCN
from jaxseg.models.pspnet import PSPNet
from jaxseg.models.setr import SETRMLA, SETRPUP, SETRNaive
from jaxseg.models.unet import UNet
from jaxseg.models.upernet import UPerNet
from jaxseg.ops.normalise import Normalise
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import AS_IS
from jaxseg.weights.mmseg_parts import (
    BACKBONES,
    Blocks,
    Names,
    backbone_of,
    fcn_head,
    module,
    resnet,
    separable,
    swin,
    swin_indices,
    vit,
)
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Row, within


def _with_backbone(model: Any, names: Names, *rows: Row) -> tuple[Row, ...]:
    return *within("backbone/", "", backbone_of(model.backbone, names)), *rows


def fcn(model: FCN, names: Names) -> tuple[Row, ...]:
    """FCN."""
    heads = (*fcn_head("head", "decode_head"), *fcn_head("auxiliary_head", "auxiliary_head"))
    return _with_backbone(model, names, *heads)


def pspnet(model: PSPNet, names: Names) -> tuple[Row, ...]:
    """PSPNet."""
    return _with_backbone(
        model,
        names,
        *_pooling("pyramid", model.bins, "bn"),
        *module("hidden", "decode_head.bottleneck"),
        Row("classifier", "decode_head.conv_seg"),
        *fcn_head("auxiliary_head", "auxiliary_head"),
    )


def upernet(model: UPerNet, names: Names) -> tuple[Row, ...]:
    """UPerNet."""
    return _with_backbone(model, names, *pyramid_heads(model, norm="bn", classifier="conv_seg"))


def pyramid_heads(model: UPerNet, *, norm: str, classifier: str) -> tuple[Row, ...]:
    """Return the rows of UPerNet's heads; transformers' differ in the names of norms and classifiers."""
    return (
        *_pooling("pyramid_pooling", model.bins, norm),
        *module("pooled", "decode_head.bottleneck", norm=norm),
        *module("lateral{n}", "decode_head.lateral_convs.{n0}", norm=norm),
        *module("smooth{n}", "decode_head.fpn_convs.{n0}", norm=norm),
        *module("fuse", "decode_head.fpn_bottleneck", norm=norm),
        Row("classifier", f"decode_head.{classifier}"),
        *module("auxiliary_head/hidden", "auxiliary_head.convs.0", norm=norm),
        Row("auxiliary_head/classifier", f"auxiliary_head.{classifier}"),
    )


def _pooling(ours: str, bins: tuple[int, ...], norm: str) -> tuple[Row, ...]:
    levels = (module(f"{ours}/bin{side}", f"decode_head.psp_modules.{n}.1", norm=norm) for n, side in enumerate(bins))
    return tuple(row for rows in levels for row in rows)


def _aspp(model: DeepLabV3 | DeepLabV3Plus) -> tuple[Row, ...]:
    """Return the rows of the pyramid, whose pooled branch is the first there and the last here, and of the other ends."""
    branches = len(model.atrous_rates) + 2
    order = (*range(1, branches), 0) if model.image_pooling else ()
    return (
        *module("aspp/branch1x1", "decode_head.aspp_modules.0"),
        *module("aspp/image_pooling", "decode_head.image_pool.1"),
        *module("aspp/projection", "decode_head.bottleneck", Blocks(order=order) if order else AS_IS),
        Row("classifier", "decode_head.conv_seg"),
        *fcn_head("auxiliary_head", "auxiliary_head"),
    )


def deeplab_v3(model: DeepLabV3, names: Names) -> tuple[Row, ...]:
    """DeepLab v3."""
    return _with_backbone(model, names, *_aspp(model), *module("aspp/branch{n}", "decode_head.aspp_modules.{n}"))


def deeplab_v3_plus(model: DeepLabV3Plus, names: Names) -> tuple[Row, ...]:
    """DeepLab v3+, which is separable there on all backbones."""
    return _with_backbone(
        model,
        names,
        *_aspp(model),
        *separable("aspp/branch{n}", "decode_head.aspp_modules.{n}"),
        *module("low_level", "decode_head.c1_bottleneck"),
        *separable("decoder{n}", "decode_head.sep_bottleneck.{n0}"),
    )


def unet(model: UNet, names: Names) -> tuple[Row, ...]:
    """U-Net."""
    rows: list[Row] = []
    levels = [("contract{n}", lambda n: f"encoder.{n}.{min(n, 1)}"), ("bottom", f"encoder.{model.depth}.1")]
    for ours, theirs in (*levels, ("expand{n}", "decoder.{n}.conv_block")):
        for i in (1, 2):
            for layer, array in ((f"conv{i}", "conv"), (f"bn{i}/norm", "bn")):
                rows.append(Row(f"{ours}/{layer}", _then(theirs, f".convs.{i - 1}.{array}")))
    rows += module("up{n}", "decoder.{n}.upsample.interp_upsample.1")
    heads = (*fcn_head("head", "decode_head"), *fcn_head("auxiliary_head", "auxiliary_head"))
    return *within("", "backbone.", rows), *heads


def _then(name: Any, end: str) -> Any:
    return (lambda n: name(n) + end) if callable(name) else name + end


def setr(model: SETRNaive | SETRPUP, names: Names) -> tuple[Row, ...]:
    """SETR-Naive and SETR-PUP."""
    rows: list[Row] = []
    for ours, theirs in (("head", "decode_head"), ("auxiliary_head{k}", "auxiliary_head.{k0}")):
        rows += (Row(f"{ours}/norm", f"{theirs}.norm"), Row(f"{ours}/classifier", f"{theirs}.conv_seg"))
        rows += module(f"{ours}/hidden", f"{theirs}.up_convs.0.0")
        rows += module(f"{ours}/hidden{{n}}", f"{theirs}.up_convs.{{n0}}.0")
    return _with_backbone(model, names, *rows)


def setr_mla(model: SETRMLA, names: Names) -> tuple[Row, ...]:
    """SETR-MLA, whose streams are numbered from the deepest there and from the shallowest here."""
    rows: list[Row] = []
    count = len(model.backbone.feature_depths)
    for i in range(1, count + 1):
        last = count - i
        rows.append(Row(f"head/norm{i}", f"neck.norm.{i - 1}"))
        rows += module(f"head/reduce{i}", f"neck.mla.channel_proj.{i - 1}")
        rows += module(f"head/stream{i}", f"neck.mla.feat_extract.{last}")
        rows += module(f"head/hidden{i}_{{n}}", f"decode_head.up_convs.{last}.{{n0}}")
        rows.append(Row(f"auxiliary_head{i}/classifier", f"auxiliary_head.{last}.conv_seg"))
    rows.append(Row("head/classifier", "decode_head.conv_seg", Blocks(order=tuple(reversed(range(count))))))
    return _with_backbone(model, names, *rows)


def _class_token(model: Any) -> dict[str, np.ndarray]:
    """Return the one that SETR-MLA keeps and does not use."""
    return {} if model.backbone.class_token else {"backbone.cls_token": np.zeros((1, 1, model.backbone.width), np.float32)}


TITLE = "of mmsegmentation"
INSIDE: dict[type, Any] = dict.fromkeys(BACKBONES, backbone_of)
IGNORED = (r".*num_batches_tracked", r".*relative_position_index")
RGB = Preprocessing(Normalise(), value_range=(0.0, 255.0))


def _format(title: str, tables: dict[type, Any], *signature: str, **fields: Any) -> Format:
    defaults: dict[str, Any] = {"inside": INSIDE, "preprocessing": RGB, "ignored": IGNORED}
    return Format(f"{title} {TITLE}", ("mmsegmentation",), signature, tables, **{**defaults, **fields})


HEAD = r"decode_head\."

FORMATS = (
    _format(
        "UPerNet", {UPerNet: upernet}, HEAD + r"fpn_bottleneck\.conv", HEAD + r"conv_seg", constants=swin_indices("backbone.")
    ),
    _format("PSPNet", {PSPNet: pspnet}, HEAD + r"psp_modules\.0\.1\.conv", HEAD + r"conv_seg", absent=(HEAD + "fpn_bottleneck",)),
    _format("DeepLab v3+", {DeepLabV3Plus: deeplab_v3_plus}, HEAD + r"sep_bottleneck\.0", HEAD + r"c1_bottleneck\.conv"),
    _format("DeepLab v3", {DeepLabV3: deeplab_v3}, HEAD + r"aspp_modules\.1\.conv\.", HEAD + r"image_pool\.1\.conv"),
    _format("U-Net", {UNet: unet}, r"backbone\.encoder\.0\.0\.convs\.0\.conv", HEAD + r"convs\.0\.conv", inside={}),
    _format("SETR-MLA", {SETRMLA: setr_mla}, r"neck\.mla\.channel_proj\.0", HEAD + r"up_convs\.0\.0", constants=_class_token),
    _format(
        "SETR-Naive or SETR-PUP",
        {SETRNaive: setr, SETRPUP: setr},
        r"backbone\.layers\.0\.attn\.attn",
        HEAD + r"norm",
        HEAD + r"up_convs\.0\.0\.conv",
    ),
    _format("FCN", {FCN: fcn}, r"backbone\.(stem\.0|conv1)\.weight", HEAD + r"convs\.0\.conv"),
    _format("ResNet", {ResNet: resnet}, r"stem\.0\.weight", r"layer1\.0\.conv1\.weight", inside={}),
    _format(
        "Swin",
        {Swin: swin},
        r"patch_embed\.projection",
        r"stages\.0\.blocks\.0\.attn\.w_msa",
        inside={},
        constants=swin_indices(""),
    ),
    _format("ViT", {ViT: vit}, r"patch_embed\.projection", r"layers\.0\.attn\.attn\.in_proj_weight", inside={}),
)
