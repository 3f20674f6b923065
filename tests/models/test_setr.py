from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.config import load
from jaxseg.errors import InputError
from jaxseg.models import SETRMLA, SETRPUP, SETRNaive
from jaxseg.models.backbones import ViT
from jaxseg.models.setr_decoders import Aggregation, UpsamplingHead
from jaxseg.optimizers import in_head

KEY = jax.random.key(0)
VIT = ViT(patch_size=4, width=8, depth=3, num_heads=2, hidden=16, image_size=(8, 12), feature_depths=(1, 2, 3))

#: In the authors' code and not here: in each head a classifier from 512 channels to 150 that nothing reads, and MLA's class token
#: and its position, which are dropped before the first block. Biases of convolutions before a batch norm are counted apart.
UNUSED_CLASSIFIER = 513 * 150


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def parameters(model, size):
    image = jnp.zeros((1, *size, 3))
    return jax.eval_shape(lambda: model.init({"params": KEY, "dropout": KEY}, image, train=True))["params"]


@pytest.mark.parametrize(
    ("network", "heads", "biases", "ours", "papers"),
    [
        (SETRNaive, 4, 4, 305_360_472, 305.67),
        (SETRPUP, 5, 8, 317_920_494, 318.31),
        (SETRMLA, 5, 0, 310_182_038, 310.57),
    ],
)
def test_counts_are_the_papers(network, heads, biases, ours, papers):
    """Table 1 of the paper: ViT-L/16, 150 classes, 512 x 512, auxiliary heads counted."""
    default = network(num_classes=150)
    params = parameters(default.clone(backbone=default.backbone.clone(image_size=(512, 512))), (512, 512))
    found = count(params)
    assert found == ours
    theirs = found + heads * UNUSED_CLASSIFIER + biases * 256 + (2 * 1024 if network is SETRMLA else 0)
    assert round(theirs / 1e6, 2) == papers


@pytest.mark.parametrize(("network", "papers"), [(SETRNaive, 87.69), (SETRPUP, 97.64), (SETRMLA, 92.59)])
def test_counts_on_vit_base_are_the_papers(network, papers):
    depths = (3, 6, 9, 12)
    backbone = ViT.of_size("B", image_size=(512, 512), feature_depths=depths, class_token=network is not SETRMLA)
    found = count(parameters(network(num_classes=150, backbone=backbone), (512, 512)))
    heads, biases = {SETRNaive: (4, 4), SETRPUP: (5, 8), SETRMLA: (5, 0)}[network]
    token = 2 * 768 if network is SETRMLA else 0
    assert round((found + heads * UNUSED_CLASSIFIER + biases * 256 + token) / 1e6, 2) == papers


@pytest.mark.parametrize(
    ("network", "depths", "auxiliary"),
    [(SETRNaive, (10, 15, 20, 24), 3), (SETRPUP, (10, 15, 20, 24), 4), (SETRMLA, (6, 12, 18, 24), 4)],
)
def test_defaults_are_the_papers(network, depths, auxiliary):
    model = network(num_classes=19)
    assert (model.backbone.width, model.backbone.depth, model.backbone.image_size) == (1024, 24, (768, 768))
    assert (model.backbone.feature_depths, model.auxiliary_weight) == (depths, 0.4)
    assert model.backbone.class_token == (network is not SETRMLA)
    heads = [f"auxiliary_head{i + 1}" for i in range(auxiliary)]
    assert sorted(parameters(model, (768, 768))) == [*heads, "backbone", "head"]


@pytest.mark.parametrize("network", [SETRNaive, SETRPUP, SETRMLA])
def test_auxiliary_logits_have_the_images_size_and_cost_nothing_in_evaluation(network):
    model = network(num_classes=2, backbone=VIT, head_features=4)
    image = jnp.zeros((2, 9, 13, 3))
    variables = model.init({"params": KEY, "dropout": KEY}, image, train=True)
    variables.pop("auxiliary")
    logits, changed = model.apply(variables, image, train=True, mutable=["auxiliary", "batch_stats"])
    for ((weight, auxiliary),) in changed["auxiliary"].values():
        assert auxiliary.shape == logits.shape == (2, 9, 13, 2)
        assert weight == np.float32(0.4)
    _, changed = model.apply(variables, image, mutable=["auxiliary"])
    assert not changed


def test_pup_doubles_between_its_convolutions():
    x = jnp.zeros((1, 3, 5, 8))
    head = UpsamplingHead(num_classes=2, features=4, kernel_size=3, convs=4, enlarge=2)
    y, variables = head.init_with_output(KEY, x, train=False)
    assert y.shape == (1, 24, 40, 2)  # the fourth doubling is that of the logits
    assert sorted(variables["params"]) == ["classifier", "hidden1", "hidden2", "hidden3", "hidden4", "norm"]
    auxiliary = UpsamplingHead(num_classes=2, features=4, kernel_size=3, enlarge=4)
    assert auxiliary.init_with_output(KEY, x, train=False)[0].shape == (1, 12, 20, 2)


def test_pup_takes_the_corners_as_asked():
    x = jax.random.normal(KEY, (1, 3, 5, 8))
    head = UpsamplingHead(num_classes=2, features=4, kernel_size=3, convs=2, enlarge=2)
    variables = head.init(KEY, x, train=False)
    assert not np.allclose(head.apply(variables, x, train=False), head.clone(align_corners=True).apply(variables, x, train=False))


def test_mla_sums_from_the_deepest_up():
    """Only the shallowest stream sees all maps, and the deepest itself alone."""
    maps = tuple(jax.random.normal(jax.random.key(i), (1, 3, 4, 8)) for i in range(3))
    decoder = Aggregation(num_classes=2, features=6, stream_features=4)
    variables = decoder.init(KEY, maps, train=False)
    (logits, streams) = decoder.apply(variables, maps, train=False)
    assert logits.shape == (1, 12, 16, 2)
    for changed in range(3):
        others = tuple(-m if i == changed else m for i, m in enumerate(maps))
        _, moved = decoder.apply(variables, others, train=False)
        assert [not np.allclose(a, b) for a, b in zip(streams, moved)] == [i <= changed for i in range(3)]


def test_mla_aligns_corners_inside_as_the_authors_do():
    model = SETRMLA(num_classes=2, backbone=VIT, head_features=4, stream_features=4)
    image = jax.random.normal(KEY, (1, 8, 12, 3))
    variables = model.init(KEY, image)
    assert (model.stream_align_corners, model.align_corners) == (True, False)
    assert not np.allclose(model.apply(variables, image), model.clone(stream_align_corners=False).apply(variables, image))


def test_naive_logits_are_enlarged_from_the_grid_with_half_pixel_centres():
    model = SETRNaive(num_classes=2, backbone=VIT, head_features=4)
    image = jax.random.normal(KEY, (1, 8, 12, 3))
    variables = model.init(KEY, image)
    head = UpsamplingHead(num_classes=2, features=4)
    small = head.apply(
        {k: v["head"] for k, v in variables.items()},
        VIT.bind({"params": variables["params"]["backbone"]})(image)[-1],
        train=False,
    )
    np.testing.assert_allclose(model.apply(variables, image), ops.resize(small, (8, 12)), atol=1e-6)


def test_the_head_that_learns_ten_times_as_fast_in_mlas_recipes_is_the_authors():
    """Norms, reductions and streams are part of the backbone in their code."""
    config = load(str(Path(__file__).parents[2] / "configs/setr.py:cityscapes-mla"))
    vit = VIT.clone(depth=4, feature_depths=(1, 2, 3, 4))
    faster = in_head(
        parameters(SETRMLA(num_classes=2, backbone=vit, head_features=4), (8, 12)), config.optimizer.keywords["head"]
    )
    parts = {name: set(jax.tree.leaves(part)) for name, part in faster["head"].items()}
    fast = {"classifier", *(f"hidden{i}_{j}" for i in range(1, 5) for j in (1, 2))}
    assert {name for name, found in parts.items() if found == {True}} == fast
    assert {name for name, found in parts.items() if found == {False}} == {
        f"{kind}{i}" for kind in ("norm", "reduce", "stream") for i in range(1, 5)
    }
    assert not any(jax.tree.leaves(faster["backbone"]))
    assert all(jax.tree.leaves(faster["auxiliary_head1"]))


def test_mla_needs_several_depths():
    with pytest.raises(InputError, match=r"SETRMLA sums the maps of several depths, and the backbone has feature_depths=\(\)"):
        parameters(SETRMLA(num_classes=2, backbone=VIT.clone(feature_depths=())), (8, 12))
