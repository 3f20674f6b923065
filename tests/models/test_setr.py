import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models import SETRNaive
from jaxseg.models.backbones import ViT
from jaxseg.models.transformer import DropPath, MultiHeadAttention

KEY = jax.random.key(0)
VIT = ViT(patch_size=4, width=8, depth=3, num_heads=2, hidden=16, image_size=(8, 12))


def shapes(model, size):
    return jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, *size, 3))))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_blocks_have_the_papers_parameters():
    """ViT-B/16 without class token, final norm and classifier: 12 blocks, patches and 196 positions."""
    variables = jax.eval_shape(lambda: ViT.of_size("B").init(KEY, jnp.zeros((1, 224, 224, 3))))["params"]
    assert count(variables["block1"]) == 7_087_872
    assert count(variables) == 12 * 7_087_872 + (16 * 16 * 3 + 1) * 768 + 196 * 768
    # The published 86,567,656 also counts the class token and its position, the final norm and 1000 classes.
    assert count(variables) + 2 * 768 + 2 * 768 + 769 * 1000 == 86_567_656


@pytest.mark.parametrize(("size", "grid"), [((8, 12), (2, 3)), ((16, 16), (4, 4)), ((9, 13), (3, 4))])
def test_the_grid_follows_the_image(size, grid):
    maps, _ = shapes(VIT.clone(feature_depths=(1, 3)), size)
    assert [m.shape for m in maps] == [(2, *grid, 8)] * 2
    assert VIT.clone(feature_depths=(1, 3)).strides == (4, 4)


def test_positions_are_as_learnt_at_their_own_grid_and_resized_at_another():
    image = jnp.ones((1, 8, 12, 3))
    variables = VIT.init(KEY, image)
    table = variables["params"]["position_embedding"]
    assert table.shape == (1, 2, 3, 8)
    flat = jax.tree.map(lambda x: x, variables)
    flat["params"]["position_embedding"] = jnp.broadcast_to(table.mean((1, 2), keepdims=True), table.shape)
    assert not np.allclose(VIT.apply(variables, image)[0], VIT.apply(flat, image)[0])
    # A table that is the same everywhere stays so at any grid: all tokens of a constant image are alike.
    big = VIT.apply(flat, jnp.ones((1, 20, 16, 3)))[0]
    np.testing.assert_allclose(big, np.broadcast_to(big[:, :1, :1], big.shape), atol=1e-5)


def test_attention_without_positions_does_not_see_the_order():
    tokens = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8)), jnp.float32)
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, tokens)
    order = np.random.default_rng(1).permutation(7)
    np.testing.assert_allclose(
        attention.apply(variables, tokens)[:, order], attention.apply(variables, tokens[:, order]), atol=1e-6
    )


def test_attention_is_the_papers_formula():
    """softmax(Q K^T / sqrt(d)) V per head, in NumPy."""
    tokens = np.random.default_rng(0).normal(size=(1, 5, 8)).astype(np.float32)
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, jnp.asarray(tokens))
    p = jax.device_get(variables["params"])
    q, k, v = (
        np.einsum("bnd,dhe->bhne", tokens, p[n]["kernel"]) + p[n]["bias"][None, :, None] for n in ("query", "key", "value")
    )
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(4))
    heads = (scores / scores.sum(-1, keepdims=True)) @ v
    expected = np.einsum("bhne,hed->bnd", heads, p["out"]["kernel"]) + p["out"]["bias"]
    np.testing.assert_allclose(attention.apply(variables, jnp.asarray(tokens)), expected, atol=1e-5)


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    x = jnp.ones((4000, 3))
    y = np.asarray(DropPath(0.25).apply({}, x, train=True, rngs={"dropout": KEY}))
    assert set(np.unique(y.round(5))) == {0.0, np.float32(1.33333)}
    assert (y == y[:, :1]).all()
    assert y.mean() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(DropPath(0.25).apply({}, x, train=False), x)


def test_refuses_what_cannot_be():
    with pytest.raises(InputError, match=r"width=8 must be a multiple of num_heads=3"):
        shapes(VIT.clone(num_heads=3), (8, 12))
    with pytest.raises(InputError, match=r"feature_depths=\(2, 1\) must rise and lie between 1 and depth=3"):
        shapes(VIT.clone(feature_depths=(2, 1)), (8, 12))
    with pytest.raises(InputError, match=r"feature_depths=\(4,\) must rise"):
        shapes(VIT.clone(feature_depths=(4,)), (8, 12))
    with pytest.raises(InputError, match=r"ViT size 'XL': one of Ti, S, B, L, H"):
        ViT.of_size("XL")


def test_the_default_is_the_papers_setr():
    model = SETRNaive(num_classes=19)
    assert (model.backbone.width, model.backbone.depth, model.backbone.feature_depths) == (1024, 24, (10, 15, 20, 24))
    params = jax.eval_shape(lambda: model.init({"params": KEY, "dropout": KEY}, jnp.zeros((1, 768, 768, 3)), train=True))[
        "params"
    ]
    assert sorted(params) == ["auxiliary_head1", "auxiliary_head2", "auxiliary_head3", "backbone", "head"]
    # The paper's 305.67 M, with one head; the three auxiliary heads of 0.27 M each are extra.
    assert count(params["backbone"]) + count(params["head"]) == pytest.approx(305.67e6, rel=2e-4)


def test_the_head_upsamples_by_the_patch():
    """Constant tokens give constant logits, of the size that is asked for."""
    model = SETRNaive(num_classes=2, backbone=VIT, head_features=4)
    logits = model.init_with_output(KEY, jnp.zeros((1, 9, 13, 3)))[0]
    assert logits.shape == (1, 9, 13, 2)
