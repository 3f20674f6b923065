"""What is saved under a source's names is recognised as that source's and comes back as it was; and the sizes are the source's.

That the sources agree is what ``tests/parity`` is about, with their own code.
"""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxseg import weights
from jaxseg.models import FCN, SETRMLA, SETRPUP, DeepLabV3, DeepLabV3Plus, PSPNet, SETRNaive, UNet, UNetBackbone, UPerNet
from jaxseg.models.backbones import ResNet, Swin, SwinClassifier, ViT, ViTClassifier
from jaxseg.weights.matching import flat

V1C = ResNet(50, 8, deep_stem=True, stem_features=(4, 4, 8), width=4)
STRIDED = ResNet(18, width=4)
TOKENS = {"width": 16, "depth": 4, "num_heads": 2, "hidden": 32, "image_size": (48, 32), "feature_depths": (1, 2, 3, 4)}
WINDOWS = {"width": 4, "depths": (1, 2, 1, 2), "num_heads": (1, 2, 2, 4)}
AUXILIARY = {"auxiliary_weight": 0.4}
MMSEG = {"features": 8, "projection_kernel_size": 3, "align_corners": False, **AUXILIARY}
PLAIN = ViT(**TOKENS, class_token=True, patch_bias=False)
SMP_PLUS = {"depthwise_norm": False, "hidden_convolution": True, "decoder_convolutions": 1, "extend_image": False}
SMP_PSP = {"hidden_kernel_size": 1, "classifier_kernel_size": 3, "whole_norm": False, "auxiliary_weight": 0.0}

MODELS = [
    ("transformers", "ViT of transformers", ViTClassifier(3, ViT(**TOKENS, class_token=True))),
    ("transformers", "ViT of transformers", ViT(**TOKENS, class_token=True)),
    ("transformers", "Swin of transformers", SwinClassifier(3, Swin(**WINDOWS, output_norms=False))),
    ("transformers", "Swin of transformers", Swin(**WINDOWS)),
    ("transformers", "UPerNet-Swin of transformers", UPerNet(3, Swin(**WINDOWS), 8)),
    ("mmsegmentation", "FCN of mmsegmentation", FCN(3, V1C, convolutions=2, joins_input=True)),
    ("mmsegmentation", "PSPNet of mmsegmentation", PSPNet(3, V1C, features=8)),
    ("mmsegmentation", "DeepLab v3 of mmsegmentation", DeepLabV3(3, V1C, **MMSEG)),
    ("mmsegmentation", "DeepLab v3+ of mmsegmentation", DeepLabV3Plus(3, V1C, **MMSEG)),
    ("mmsegmentation", "UPerNet of mmsegmentation", UPerNet(3, Swin(**WINDOWS), 8)),
    ("mmsegmentation", "UPerNet of mmsegmentation", UPerNet(3, STRIDED, 8)),
    (
        "mmsegmentation",
        "U-Net of mmsegmentation",
        UNet(3, 4, batch_norm=True, interpolate=True, head_features=6, **AUXILIARY),
    ),
    ("mmsegmentation", "SETR-Naive or SETR-PUP of mmsegmentation", SETRNaive(3, PLAIN, 8, enlarge=4, auxiliary_convolutions=2)),
    ("mmsegmentation", "SETR-Naive or SETR-PUP of mmsegmentation", SETRPUP(3, PLAIN, 8, auxiliary_last=False)),
    (
        "mmsegmentation",
        "SETR-MLA of mmsegmentation",
        SETRMLA(3, ViT(**TOKENS, patch_bias=False), 8, stream_features=6, classifier_kernel_size=1, auxiliary_bias=True),
    ),
    ("mmsegmentation", "ResNet of mmsegmentation", V1C),
    ("mmsegmentation", "Swin of mmsegmentation", Swin(**WINDOWS)),
    ("mmsegmentation", "ViT of mmsegmentation", PLAIN),
    ("smp", "U-Net of segmentation_models.pytorch", UNetBackbone(3, STRIDED, (10, 8, 6, 4, 2))),
    ("smp", "PSPNet of segmentation_models.pytorch", PSPNet(3, ResNet(18, stages=2, width=4), level_features=2, **SMP_PSP)),
    ("smp", "DeepLab v3 of segmentation_models.pytorch", DeepLabV3(3, STRIDED, features=8, hidden_convolution=True)),
    ("smp", "DeepLab v3+ of segmentation_models.pytorch", DeepLabV3Plus(3, STRIDED, features=8, **SMP_PLUS)),
    ("smp", "UPerNet of segmentation_models.pytorch", UPerNet(3, STRIDED, 8, feature_norms=True, auxiliary_weight=0.0)),
]


def shapes(model, side=64):
    key = jax.random.key(0)
    x = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    found = jax.eval_shape(lambda x: model.init({"params": key, "dropout": key}, x, train=True), x)
    return {name: found[name] for name in ("params", "batch_stats") if name in found}


@pytest.mark.parametrize(("source", "title", "model"), MODELS, ids=lambda value: value if isinstance(value, str) else None)
def test_there_and_back(source, title, model, tmp_path):
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes(model))
    weights.save(variables, tmp_path / "theirs.safetensors", model=model, source=source)
    loaded = weights.load(model, tmp_path / "theirs.safetensors")
    assert loaded.title == title
    assert loaded.match.missing == loaded.match.other_shape == ()
    assert set(loaded.match.unused) <= {"backbone.cls_token", "swin.layernorm.weight", "swin.layernorm.bias"}
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    if hasattr(model, "backbone"):  # which also takes what is its own in the whole network's file
        inside = flat(weights.load(model.backbone, tmp_path / "theirs.safetensors").variables)
        assert inside
        for name, value in inside.items():
            collection, _, rest = name.partition("/")
            np.testing.assert_array_equal(value, flat(variables)[f"{collection}/backbone/{rest}"])


def test_counters_are_scalars(tmp_path):
    """As PyTorch's are; from_pretrained refuses them as arrays of one."""
    model = UNetBackbone(3, STRIDED, (10, 8, 6, 4, 2))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(model))
    weights.save(variables, tmp_path / "theirs.safetensors", model=model, source="smp")
    assert load_file(tmp_path / "theirs.safetensors")["encoder.bn1.num_batches_tracked"].shape == ()


D8 = ResNet(50, 8, deep_stem=True, stem_features=(32, 32, 64))
DILATED = ResNet(50, 8, first_block_keeps_rate=False)
WIDE = {"features": 512, "projection_kernel_size": 3, **AUXILIARY}
LARGE = ViT(image_size=(512, 512), feature_depths=(10, 15, 20, 24), class_token=True, patch_bias=False)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (FCN(21, D8, convolutions=2, joins_input=True), 49_499_274),
        (PSPNet(21, D8), 48_977_034),
        (DeepLabV3(21, D8, **WIDE), 68_114_570),
        (DeepLabV3Plus(21, D8, **WIDE), 43_591_418),
        (UNet(21, batch_norm=True, interpolate=True, head_features=64, **AUXILIARY), 29_063_146),
        (UPerNet(21), 59_842_532),
        (SETRNaive(21, LARGE, enlarge=4, auxiliary_convolutions=2), 305_424_980),
        (SETRPUP(21, LARGE, auxiliary_last=False, auxiliary_convolutions=2), 317_157_460),
        (SETRMLA(21, LARGE.copy(class_token=False), classifier_kernel_size=1, auxiliary_bias=True), 309_370_473 - 2 * 1024),
        (UNetBackbone(21), 24_439_269),
        (DeepLabV3(21, DILATED, hidden_convolution=True), 39_638_869),
        (DeepLabV3Plus(21, DILATED.copy(output_stride=16), **SMP_PLUS), 26_682_725),
        (UPerNet(21, ResNet(50), 256, auxiliary_weight=0.0, feature_norms=True), 37_289_813),
        (PSPNet(21, ResNet(50, stages=2), level_features=128, **SMP_PSP), 24_393_173 - 22_063_104),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else None,
)
def test_counts(model, count):
    """Those of mmsegmentation (SETR's for ADE20K) and segmentation_models.pytorch.

    What is not ours there: a class token and its position in SETR-MLA, two stages of PSPNet.
    """
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes(model)["params"])) == count
