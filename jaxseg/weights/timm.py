"""timm's networks: ViT and DeiT, Swin, Xception-65. Its ResNet has torchvision's names (:mod:`jaxseg.weights.torchvision`).

Names are those of timm 1.0; older files, and the authors' of DeiT and Swin, differ in a few, which are read as well. What images
went through differs from file to file and is taken from the ``config.json`` that timm puts beside it.

DeiT's distilled networks have a second token with a head of its own, which ours have not: what belongs to it is listed as not
taken, and the logits of such a network are not the reference's. Relatives of ViT that compute something else under ViT's names
are not recognised: those with layer scale (DeiT III, DINOv2), norms of queries and keys, registers, or a norm before the blocks
(CLIP).
"""

from collections.abc import Collection

from jaxseg.models.backbones.swin import Swin, SwinClassifier
from jaxseg.models.backbones.vit import ViT, ViTClassifier
from jaxseg.models.backbones.xception import Xception65
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import STEM, Positions, RelativePositions
from jaxseg.weights.table import Row, attention, conv_bn, within

Names = Collection[str]


def vit(model: ViT, names: Names) -> tuple[Row, ...]:
    """ViT and DeiT."""
    block, theirs = "block{b}", "blocks.{b0}"
    tokens = sum(name in names for name in ("cls_token", "dist_token")) if names else int(model.class_token)
    return (
        Row("class_token", "cls_token"),
        Row("class_position", "pos_embed", Positions(part=0, row=0, class_tokens=tokens)),
        Row("position_embedding", "pos_embed", Positions(part=1, class_tokens=tokens)),
        Row("patch_embedding", "patch_embed.proj", STEM),
        Row(f"{block}/norm1", f"{theirs}.norm1"),
        *attention(f"{block}/attention", f"{theirs}.attn.qkv", f"{theirs}.attn.proj"),
        Row(f"{block}/norm2", f"{theirs}.norm2"),
        Row(f"{block}/feed_forward/dense1", f"{theirs}.mlp.fc1"),
        Row(f"{block}/feed_forward/dense2", f"{theirs}.mlp.fc2"),
    )


def vit_classifier(model: ViTClassifier, names: Names) -> tuple[Row, ...]:
    """ViT with its last norm and its classifier. ``fc_norm``, behind the mean of the tokens, is another and left out."""
    return *within("backbone/", "", vit(model.backbone, names)), Row("norm", "norm"), Row("classifier", "head")


def swin(model: Swin, names: Names) -> tuple[Row, ...]:
    """Swin; a merging opens the stage behind it here, and closed the one before in the authors' files and older ones."""
    block, theirs = "stage{s}_block{b}", "layers.{s0}.blocks.{b0}"
    merge = "layers.{n0}.downsample" if "layers.0.downsample.norm.weight" in names else "layers.{n}.downsample"
    return (
        Row("patch_embedding", "patch_embed.proj", STEM),
        Row("patch_norm", "patch_embed.norm"),
        Row(f"{block}/norm1", f"{theirs}.norm1"),
        *attention(f"{block}/attention", f"{theirs}.attn.qkv", f"{theirs}.attn.proj"),
        Row(f"{block}/relative_positions", f"{theirs}.attn.relative_position_bias_table", RelativePositions()),
        Row(f"{block}/norm2", f"{theirs}.norm2"),
        Row(f"{block}/feed_forward/dense1", f"{theirs}.mlp.fc1"),
        Row(f"{block}/feed_forward/dense2", f"{theirs}.mlp.fc2"),
        Row("merge{n}/norm", f"{merge}.norm"),
        Row("merge{n}/reduction", f"{merge}.reduction"),
    )


def swin_classifier(model: SwinClassifier, names: Names) -> tuple[Row, ...]:
    """Swin with its last norm and its classifier."""
    head = Row("classifier", ("head.fc", "head"))
    return *within("backbone/", "", swin(model.backbone, names)), Row("norm", "norm"), head


def xception(model: Xception65, names: Names) -> tuple[Row, ...]:
    """xception65, whose blocks are numbered through entry, middle and exit flow."""
    rows = [*conv_bn("stem{n}", "stem.{n0}.conv", "stem.{n0}.bn")]
    blocks = [f"entry{n}" for n in (1, 2, 3)] + [f"middle{n + 1}" for n in range(model.middle_blocks)] + ["exit1", "exit2"]
    for number, block in enumerate(blocks):
        theirs = f"blocks.{number}"
        for part, short in (("depthwise", "dw"), ("pointwise", "pw")):
            conv, norm = f"{theirs}.stack.conv{{n}}.conv_{short}", f"{theirs}.stack.conv{{n}}.bn_{short}"
            rows += conv_bn(f"{block}/conv{{n}}/{part}", conv, norm)
        rows += conv_bn(f"{block}/shortcut", f"{theirs}.shortcut.conv", f"{theirs}.shortcut.bn")
    return (Row("stem1/conv", "stem.0.conv", STEM), *rows)


FORMATS = (
    Format(
        "ViT of timm",
        ("timm",),
        (r"patch_embed\.proj\.weight", r"pos_embed", r"blocks\.0\.attn\.qkv\.weight"),
        {ViTClassifier: vit_classifier, ViT: vit},
        absent=(r"blocks\.0\.ls1\.gamma", r"blocks\.0\.attn\.[qk]_norm\.", r"reg_token", r"norm_pre\."),
    ),
    Format(
        "Swin of timm",
        ("timm",),
        (r"patch_embed\.proj\.weight", r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table"),
        {SwinClassifier: swin_classifier, Swin: swin},
        ignored=(r".*relative_position_index", r".*attn_mask"),
    ),
    Format(
        "Xception-65 of timm",
        ("timm",),
        (r"stem\.0\.conv\.weight", r"blocks\.0\.stack\.conv1\.conv_dw\.weight"),
        {Xception65: xception},
    ),
)
