"""Hugging Face transformers' networks: ViT, Swin, and UPerNet on Swin.

Names are those of the files on the Hub, which ``from_pretrained`` of every version takes and ``save_pretrained`` writes; those of
``state_dict`` in version 5, which differ, are read as well. How images were prepared stands in the ``preprocessor_config.json``
beside the weights: ImageNet's mean and deviation for Swin and UPerNet, 0.5 each for Google's ViT.

Differences that no array shows:

- ViT's norms add 1e-12 to the variance there and 1e-6 here, as everywhere else.
- ViT's position embeddings at another image size: there bicubic at run time, without smoothing. So they are here, once, when the
  weights are loaded into a network of that ``image_size``; at run time ours are resized bilinearly.
- Swin for classification shifts nothing on a map of which one side is a window long; ours still shifts along the other side. So
  the two differ for some oblong images; and with a side below a window there is an error there.
- ``SwinModel`` keeps the unshifted windows that a small image made it take: compare with a new one for each size.
- ``swin.layernorm`` of ``SwinBackbone``, also inside UPerNet, is never used. It is not taken, and is written as ones and zeros.
- Swin's absolute position embeddings, a choice that the published networks do not take, are not in ours and listed as not taken.
"""

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from jaxseg.models.backbones.swin import Swin, SwinClassifier
from jaxseg.models.backbones.vit import ViT, ViTClassifier
from jaxseg.models.upernet import UPerNet
from jaxseg.ops.normalise import Normalise
from jaxseg.weights.formats import Format
from jaxseg.weights.layouts import STEM, Positions, RelativePositions
from jaxseg.weights.mmseg import pyramid_heads
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.table import Name, Row, within
from jaxseg.weights.torchvision import needs_class_token

Names = Collection[str]


@dataclasses.dataclass(frozen=True)
class CubicPositions(Positions):
    """Position embeddings that are interpolated as PyTorch's bicubic does: cubics of a = -0.75, no smoothing."""

    def resize(self, table: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return a table ``(1, h, w, width)`` on another grid."""
        rows, columns = (_cubic(n, m) for n, m in zip(table.shape[1:3], grid, strict=True))
        return np.einsum("yh,xw,bhwd->byxd", rows, columns, table.astype(np.float64)).astype(np.float32)


def _cubic(n: int, m: int, a: float = -0.75) -> np.ndarray:
    """Return the matrix that reads ``m`` values between ``n`` by cubic convolution (Keys, 1981), the border repeated."""
    place = (np.arange(m) + 0.5) * n / m - 0.5
    first = np.floor(place).astype(int) - 1
    matrix = np.zeros((m, n))
    for tap in range(4):
        x = np.abs(place - first - tap)
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, a * (((x - 5) * x + 8) * x - 4)
        np.add.at(matrix, (np.arange(m), np.clip(first + tap, 0, n - 1)), np.where(x <= 1, near, far))
    return matrix


def vit(model: ViT, names: Names) -> tuple[Row, ...]:
    """ViTModel, without its last norm and its pooler."""
    return _behind(("", "vit."), _vit(model, names))


def vit_classifier(model: ViTClassifier, names: Names) -> tuple[Row, ...]:
    """ViTForImageClassification."""
    inside = within("backbone/", "", _vit(model.backbone, names))
    return *_behind(("vit.", ""), (*inside, Row("norm", "layernorm"))), Row("classifier", "classifier")


def swin(model: Swin, names: Names) -> tuple[Row, ...]:
    """SwinBackbone, with the norms of its maps, or SwinModel without its last norm."""
    return *_behind(("", "swin."), _swin()), Row("norm{s}", "hidden_states_norms.stage{s}")


def swin_classifier(model: SwinClassifier, names: Names) -> tuple[Row, ...]:
    """SwinForImageClassification."""
    inside = within("backbone/", "", _swin())
    return *_behind(("swin.", ""), (*inside, Row("norm", "layernorm"))), Row("classifier", "classifier")


def upernet(model: UPerNet, names: Names) -> tuple[Row, ...]:
    """UperNetForSemanticSegmentation on a SwinBackbone."""
    backbone = backbone_of(model.backbone, names) if isinstance(model.backbone, Swin) else ()
    return *within("backbone/", "", backbone), *pyramid_heads(model, norm="batch_norm", classifier="classifier")


def backbone_of(model: Swin, names: Names) -> tuple[Row, ...]:
    """The Swin inside UPerNet's file."""
    return within("", "backbone.", swin(model, names))


def _vit(model: ViT, names: Names) -> tuple[Row, ...]:
    needs_class_token(model, names, "transformers")
    return (
        Row("class_token", "embeddings.cls_token"),
        Row("class_position", "embeddings.position_embeddings", CubicPositions(part=0, row=0)),
        Row("position_embedding", "embeddings.position_embeddings", CubicPositions(part=1)),
        Row("patch_embedding", "embeddings.patch_embeddings.projection", STEM),
        *_block("block{b}", "encoder.layer.{b0}", "layers.{b0}", "attention.attention"),
    )


def _swin() -> tuple[Row, ...]:
    block, theirs = "stage{s}_block{b}", "encoder.layers.{s0}.blocks.{b0}"
    table = "relative_position_bias_table"
    tables = (f"{theirs}.attention.self.{table}", f"{theirs}.attention.relative_position_bias.{table}")
    return (
        Row("patch_embedding", "embeddings.patch_embeddings.projection", STEM),
        Row("patch_norm", "embeddings.norm"),
        *_block(block, theirs, theirs, "attention.self"),
        Row(f"{block}/relative_positions", tables, RelativePositions()),
        Row("merge{n}/norm", "encoder.layers.{n0}.downsample.norm"),
        Row("merge{n}/reduction", "encoder.layers.{n0}.downsample.reduction"),
    )


def _block(ours: str, older: str, newer: str, attention: str) -> tuple[Row, ...]:
    """Return the rows of an encoder block: names in files, then in version 5."""
    layers = (
        *((f"attention/{part}", f"{attention}.{part}", f"attention.{part[0]}_proj") for part in ("query", "key", "value")),
        ("attention/out", "attention.output.dense", "attention.o_proj"),
        ("norm1", "layernorm_before", "layernorm_before"),
        ("norm2", "layernorm_after", "layernorm_after"),
        ("feed_forward/dense1", "intermediate.dense", "mlp.fc1"),
        ("feed_forward/dense2", "output.dense", "mlp.fc2"),
    )
    return tuple(Row(f"{ours}/{layer}", (f"{older}.{a}", f"{newer}.{b}")) for layer, a, b in layers)


def _behind(prefixes: tuple[str, ...], rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return rows whose names may have any of the prefixes before them; the first is written."""
    found = []
    for row in rows:
        spellings: tuple[Name, ...] = row.theirs if isinstance(row.theirs, tuple) else (row.theirs,)
        found.append(Row(row.ours, tuple(f"{prefix}{name}" for prefix in prefixes for name in spellings), row.layout))
    return tuple(found)


def _unused_norm(prefix: str) -> Any:
    def constants(model: Any) -> dict[str, np.ndarray]:
        backbone = getattr(model, "backbone", model)
        if not isinstance(backbone, Swin) or not backbone.output_norms:
            return {}
        width = backbone.width * 2 ** (len(backbone.depths) - 1)
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return {f"{prefix}swin.layernorm.weight": ones, f"{prefix}swin.layernorm.bias": zeros}

    return constants


IGNORED = (r".*num_batches_tracked", r".*relative_position_index")

FORMATS = (
    Format(
        "UPerNet-Swin of transformers",
        ("transformers",),
        (
            r"backbone\.(swin\.)?embeddings\.patch_embeddings\.projection\.weight",
            r"decode_head\.psp_modules\.0\.1\.conv\.weight",
            r"decode_head\.classifier\.weight",
        ),
        {UPerNet: upernet},
        {Swin: backbone_of},
        preprocessing=Preprocessing(Normalise(), crop_size=(512, 512)),
        ignored=(*IGNORED, r"backbone\.swin\.layernorm\..*"),
        constants=_unused_norm("backbone."),
    ),
    Format(
        "Swin of transformers",
        ("transformers",),
        (
            r"(swin\.)?embeddings\.patch_embeddings\.projection\.weight",
            r"(swin\.)?encoder\.layers\.0\.blocks\.0\.layernorm_before\.weight",
        ),
        {SwinClassifier: swin_classifier, Swin: swin},
        absent=(r".*logit_scale",),
        preprocessing=Preprocessing(Normalise(), crop_size=(224, 224)),
        ignored=IGNORED,
        constants=_unused_norm(""),
    ),
    Format(
        "ViT of transformers",
        ("transformers",),
        (
            r"(vit\.)?embeddings\.position_embeddings",
            r"(vit\.)?embeddings\.patch_embeddings\.projection\.weight",
            r"(vit\.)?(encoder\.layer|layers)\.0\.layernorm_before\.weight",
        ),
        {ViTClassifier: vit_classifier, ViT: vit},
        absent=(r".*lambda_1",),
    ),
)
