import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.layer_decay import depths
from jaxseg.models import SETRNaive, UPerNet
from jaxseg.models.backbones import Swin, ViT
from jaxseg.optimizers import adamw

KEY = jax.random.key(0)
VIT = SETRNaive(num_classes=2, backbone=ViT(patch_size=4, width=8, depth=12, num_heads=2, hidden=8, image_size=(8, 8)))
SWIN = UPerNet(num_classes=2, backbone=Swin(width=8, depths=(1, 2), num_heads=(2, 2), window=2, patch_size=2), features=4)


def by_name(model):
    params = jax.eval_shape(model.init, KEY, jnp.zeros((1, 8, 8, 3)))["params"]
    found = depths(params)
    inside = {name: set(jax.tree.leaves(tree)) for name, tree in found["backbone"].items()}
    outside = {name: set(jax.tree.leaves(tree)) for name, tree in found.items() if name != "backbone"}
    return inside, outside


def test_vits_depth_is_counted_from_the_top():
    inside, outside = by_name(VIT)
    assert {name: d for name, (d,) in inside.items() if name.startswith("block")} == {f"block{i}": 13 - i for i in range(1, 13)}
    assert (inside["patch_embedding"], inside["position_embedding"]) == ({13}, {13})
    assert set(map(tuple, outside.values())) == {(0,)}


def test_swins_norms_and_merging_belong_to_the_stage_before():
    inside, outside = by_name(SWIN)
    assert inside == {
        "patch_embedding": {4},
        "patch_norm": {4},
        "stage1_block1": {3},
        "norm1": {3},
        "merge1": {3},
        "stage2_block1": {2},
        "stage2_block2": {1},
        "norm2": {1},
    }
    assert set(map(tuple, outside.values())) == {(0,)}


def test_adamw_moves_deeper_layers_less():
    params = {"backbone": {f"block{i}": {"kernel": jnp.ones(2)} for i in (1, 2)}, "head": {"kernel": jnp.ones(2)}}
    gradients = jax.tree.map(jnp.ones_like, params)
    moves = []
    for decay in (1.0, 0.5):
        optimizer = adamw(0.1, weight_decay=0.3, layer_decay=decay)
        moves.append(optimizer.update(gradients, optimizer.init(params), params)[0])
    share = jax.tree.map(lambda a, b: float((b / a)[0]), *moves)
    expected = {"backbone": {"block1": {"kernel": 0.25}, "block2": {"kernel": 0.5}}, "head": {"kernel": 1.0}}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), share, expected)


def test_refuses_what_cannot_be():
    with pytest.raises(InputError, match=r"layer_decay=1.5 must lie in \(0, 1\]"):
        adamw(0.1, layer_decay=1.5)
    with pytest.raises(InputError, match="layer_decay needs a network with a `backbone` of blocks, such as ViT, Swin or ResNet"):
        depths({"encoder": {"kernel": jnp.ones(2)}})
