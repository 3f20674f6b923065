"""What mmsegmentation's networks are made of: its backbones, its modules, and layouts that are its own."""

import dataclasses
from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.swin import Swin
from jaxseg.models.backbones.vit import ViT
from jaxseg.models.positions import resize_table
from jaxseg.weights import torchvision
from jaxseg.weights.layouts import AS_IS, STEM, Layout, Positions, RelativePositions
from jaxseg.weights.table import Row, attention, conv_bn, within

Names = Collection[str]


@dataclasses.dataclass(frozen=True)
class Blocks(Layout):
    """A convolution over maps side by side, which the file has in another order.

    Attributes:
        order: the file's number of each of ours.
    """

    order: tuple[int, ...] = ()

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the kernel with its inputs in our order; a bias as it is."""
        return self._move(super().load(given, shape, name), self.order)

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the kernel with its inputs in the file's order."""
        back = tuple(self.order.index(n) for n in range(len(self.order)))
        return super().save(self._move(own, back), name)

    def _move(self, kernel: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
        if kernel.ndim != 4 or kernel.shape[2] % len(order):
            return kernel
        parts = np.split(kernel, len(order), axis=2)
        return np.concatenate([parts[n] for n in order], axis=2)


@dataclasses.dataclass(frozen=True)
class Unfolded(Layout):
    """Swin's merging: four neighbours of a channel lie together in the file, rows first; here those of a place, columns first."""

    def load(self, given: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Return the norm's or the linear layer's array in our order."""
        own = super().load(given, shape, name)
        if own.shape[0] % 4:
            return own
        return own.reshape(-1, 2, 2, *own.shape[1:]).transpose(2, 1, 0, *range(3, own.ndim + 2)).reshape(own.shape)

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return the array in the file's order."""
        apart = own.reshape(2, 2, -1, *own.shape[1:])
        return super().save(apart.transpose(2, 1, 0, *range(3, apart.ndim)).reshape(own.shape), name)


@dataclasses.dataclass(frozen=True)
class LinearPositions(Positions):
    """Position embeddings that are interpolated bilinearly.

    Attributes:
        empty_row: written before the grid's, for a class token that is not ours.
    """

    empty_row: bool = False

    def resize(self, table: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return a table ``(1, h, w, width)`` on another grid."""
        return np.asarray(resize_table(jnp.asarray(table, jnp.float32), grid, method="bilinear"))

    def save(self, own: np.ndarray, name: str) -> np.ndarray:
        """Return rows of tokens."""
        rows = super().save(own, name)
        return np.concatenate([np.zeros_like(rows[:, :1]), rows], axis=1) if self.empty_row else rows


def resnet(model: ResNet, names: Names) -> tuple[Row, ...]:
    """ResNetV1c; without a deep stem ResNet, whose names are torchvision's."""
    rows = torchvision.resnet(model, names)
    if not model.deep_stem:
        return rows
    stem = [row for n in (1, 2, 3) for row in conv_bn(f"stem{n}", f"stem.{3 * n - 3}", f"stem.{3 * n - 2}", STEM)]
    return *stem, *(row for row in rows if not row.ours.startswith("stem"))


def swin(model: Swin, names: Names) -> tuple[Row, ...]:
    """SwinTransformer."""
    block, theirs = "stage{s}_block{b}", "stages.{s0}.blocks.{b0}"
    return (
        Row("patch_embedding", "patch_embed.projection", STEM),
        Row("patch_norm", "patch_embed.norm"),
        Row(f"{block}/norm1", f"{theirs}.norm1"),
        *attention(f"{block}/attention", f"{theirs}.attn.w_msa.qkv", f"{theirs}.attn.w_msa.proj"),
        Row(f"{block}/relative_positions", f"{theirs}.attn.w_msa.relative_position_bias_table", RelativePositions()),
        Row(f"{block}/norm2", f"{theirs}.norm2"),
        Row(f"{block}/feed_forward/dense1", f"{theirs}.ffn.layers.0.0"),
        Row(f"{block}/feed_forward/dense2", f"{theirs}.ffn.layers.1"),
        Row("merge{n}/norm", "stages.{n0}.downsample.norm", Unfolded()),
        Row("merge{n}/reduction", "stages.{n0}.downsample.reduction", Unfolded()),
        Row("norm{s}", "norm{s0}"),
    )


def vit(model: ViT, names: Names) -> tuple[Row, ...]:
    """VisionTransformer."""
    block, theirs = "block{b}", "layers.{b0}"
    return (
        Row("class_token", "cls_token"),
        Row("class_position", "pos_embed", LinearPositions(part=0, row=0)),
        Row("position_embedding", "pos_embed", LinearPositions(part=1, empty_row=not model.class_token)),
        Row("patch_embedding", "patch_embed.projection", STEM),
        Row(f"{block}/norm1", f"{theirs}.ln1"),
        *attention(f"{block}/attention", f"{theirs}.attn.attn.in_proj_{{array}}", f"{theirs}.attn.attn.out_proj"),
        Row(f"{block}/norm2", f"{theirs}.ln2"),
        Row(f"{block}/feed_forward/dense1", f"{theirs}.ffn.layers.0.0"),
        Row(f"{block}/feed_forward/dense2", f"{theirs}.ffn.layers.1"),
    )


def backbone_of(model: Any, names: Names) -> tuple[Row, ...]:
    """The backbone inside a whole network's file; without rows for one that mmsegmentation has not."""
    table = BACKBONES.get(type(model))
    return () if table is None else within("", "backbone.", table(model, names))


#: Ours, by class.
BACKBONES: dict[type, Any] = {ResNet: resnet, Swin: swin, ViT: vit}


def module(ours: str, theirs: str, layout: Layout = AS_IS, norm: str = "bn") -> tuple[Row, ...]:
    """Return the rows of a ``ConvModule``: convolution and norm."""
    return conv_bn(ours, f"{theirs}.conv", f"{theirs}.{norm}", layout)


def separable(ours: str, theirs: str) -> tuple[Row, ...]:
    """Return the rows of a ``DepthwiseSeparableConvModule``."""
    parts = (module(f"{ours}/{part}", f"{theirs}.{part}_conv") for part in ("depthwise", "pointwise"))
    return tuple(row for rows in parts for row in rows)


def fcn_head(ours: str, theirs: str) -> tuple[Row, ...]:
    """Return the rows of an ``FCNHead``."""
    return (
        *module(f"{ours}/hidden", f"{theirs}.convs.0"),
        *module(f"{ours}/hidden{{n}}", f"{theirs}.convs.{{n0}}"),
        *module(f"{ours}/joined", f"{theirs}.conv_cat"),
        Row(f"{ours}/classifier", f"{theirs}.conv_seg"),
    )


def swin_indices(prefix: str) -> Any:
    """Return what finds the arrays that say which row of its table each query and key of a window have."""

    def find(model: Any) -> dict[str, np.ndarray]:
        backbone = getattr(model, "backbone", model)
        if not isinstance(backbone, Swin):
            return {}
        index = next(iter(torchvision.swin_indices(backbone).values())).reshape(backbone.window**2, -1)
        blocks = [(s, b) for s, depth in enumerate(backbone.depths) for b in range(depth)]
        return {f"{prefix}stages.{s}.blocks.{b}.attn.w_msa.relative_position_index": index for s, b in blocks}

    return find
