from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import apply, init

from jaxseg.errors import InputError
from jaxseg.models.attention import MultiHeadAttention
from jaxseg.models.backbones import Swin, SwinClassifier
from jaxseg.models.backbones.swin import PatchMerging, SwinBlock
from jaxseg.models.transformer import FeedForward

KEY = jax.random.key(0)
SMALL = Swin(width=8, depths=(2, 2), num_heads=(2, 4), window=3, patch_size=2, drop_path=0.0)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def initialise(model, image):
    """Return variables at random without compiling their initialisation."""
    shapes = jax.eval_shape(model.init, KEY, image)
    return jax.tree_util.tree_map_with_path(lambda path, x: 0.3 * random(*x.shape) + (path[-1].key == "scale"), shapes)


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("size", "parameters"), [("T", 28_288_354), ("S", 49_606_258), ("B", 87_768_224), ("L", 196_532_476)])
def test_classifiers_have_the_published_parameters(size, parameters):
    """1000 classes; T, S and B as timm and torchvision have them."""
    model = SwinClassifier(num_classes=1000, backbone=Swin.of_size(size, output_norms=False, shrink_window=True))
    logits, variables = jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, 224, 224, 3))))
    assert logits.shape == (2, 1000)
    assert count(variables) == parameters


@pytest.mark.parametrize("size", [(224, 224), (225, 97), (1, 1)])
def test_maps_have_the_strides(size):
    maps, _ = jax.eval_shape(lambda: Swin().init_with_output(KEY, jnp.zeros((2, *size, 3))))
    assert Swin().strides == (4, 8, 16, 32)
    assert [m.shape for m in maps] == [
        (2, -(-size[0] // s), -(-size[1] // s), c) for s, c in zip((4, 8, 16, 32), (96, 192, 384, 768))
    ]


def brute_force(block, variables, x):
    """One attention over all pixels, masked to those of the same window, where windows are found by arithmetic."""
    p, side = variables["params"], block.window
    y = nn.LayerNorm(epsilon=1e-5).apply({"params": p["norm1"]}, x)
    b, h, w, c = x.shape
    y = jnp.pad(y, ((0, 0), (0, -h % side), (0, -w % side), (0, 0)))
    size = y.shape[1:3]
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.floor_divide(places - (side // 2 if block.shifted else 0), side)
    mask = (cell[:, None] == cell[None]).all(-1)
    offset = np.clip(places[:, None] - places[None] + side - 1, 0, 2 * side - 2)
    bias = p["relative_positions"][offset[..., 0] * (2 * side - 1) + offset[..., 1]].transpose(2, 0, 1)
    attention = MultiHeadAttention(block.num_heads)
    tokens = y.reshape(b, -1, c)
    seen = {"mask": jnp.asarray(mask)[None, None], "bias": bias[None]}
    y = attention.apply({"params": p["attention"]}, tokens, **seen).reshape(y.shape)
    x = x + y[:, :h, :w]
    y = nn.LayerNorm(epsilon=1e-5).apply({"params": p["norm2"]}, x)
    return x + FeedForward(block.hidden).apply({"params": p["feed_forward"]}, y, train=False)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("size", "window"), [((8, 12), 4), ((9, 13), 4), ((3, 14), 7), ((7, 7), 7), ((10, 5), 3), ((1, 1), 3)])
def test_windows_are_brute_force_attention_to_the_right_pixels(size, window, shifted):
    block = SwinBlock(num_heads=2, hidden=16, window=window, shifted=shifted)
    x = random(2, *size, 8)
    variables = init(block, KEY, x, train=False)
    variables["params"]["relative_positions"] = random((2 * window - 1) ** 2, 2, seed=1)
    want = jax.jit(partial(brute_force, block))(variables, x)
    np.testing.assert_allclose(apply(block, variables, x, train=False), want, atol=1e-5)


def test_what_a_window_does_not_see_has_no_influence():
    block = SwinBlock(num_heads=2, hidden=16, window=4, shifted=True)
    x = random(1, 8, 8, 8)
    variables = init(block, KEY, x, train=False)
    # The corner (0, 0) shares a shifted window with the first two rows and columns alone.
    gradient = jax.jit(jax.grad(lambda x: (block.apply(variables, x, train=False)[0, 0, 0] ** 2).sum()))(x)[0]
    seen = np.zeros((8, 8), bool)
    seen[:2, :2] = True
    np.testing.assert_array_equal((np.asarray(gradient) != 0).any(-1), seen)


def test_a_map_no_larger_than_the_window_is_shrunk_or_padded():
    x = random(1, 5, 5, 8)
    pads = SwinBlock(num_heads=2, hidden=16, window=7, shifted=True)
    shrinks = pads.clone(shrink_window=True)
    variables = jax.tree.map(
        lambda leaf: np.asarray(leaf) + 0.3 * np.asarray(random(*leaf.shape)), init(pads, KEY, x, train=False)
    )
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, jax.eval_shape(partial(shrinks.init, train=False), KEY, x)
    )
    own = SwinBlock(num_heads=2, hidden=16, window=5)
    table = variables["params"]["relative_positions"].reshape(13, 13, 2)[2:11, 2:11].reshape(81, 2)
    same = {"params": {**variables["params"], "relative_positions": table}}
    np.testing.assert_allclose(apply(shrinks, variables, x, train=False), apply(own, same, x, train=False), atol=1e-6)
    assert not np.allclose(apply(pads, variables, x, train=False), apply(shrinks, variables, x, train=False), atol=1e-3)
    large = random(1, 8, 9, 8)
    np.testing.assert_array_equal(apply(pads, variables, large, train=False), apply(shrinks, variables, large, train=False))


def test_a_window_shrinks_side_by_side():
    """On 5 x 12 with windows of 7, windows are 5 x 7, shifted along the 12 alone: the corner sees three columns, whole."""
    block = SwinBlock(num_heads=2, hidden=16, window=7, shifted=True, shrink_window=True)
    x = random(1, 5, 12, 8)
    variables = init(block, KEY, x, train=False)
    gradient = jax.jit(jax.grad(lambda x: (block.apply(variables, x, train=False)[0, 0, 0] ** 2).sum()))(x)[0]
    seen = np.zeros((5, 12), bool)
    seen[:, :3] = True
    np.testing.assert_array_equal((np.asarray(gradient) != 0).any(-1), seen)


def test_paths_are_dropped_in_training():
    image = random(8, 12, 12, 3)
    model = SMALL.clone(drop_path=0.9)
    variables = initialise(model, image)

    def run(key, train=True):
        return apply(model, variables, image, train=train, rngs={"dropout": jax.random.key(key)})[-1]

    assert not np.allclose(run(1), run(2))
    np.testing.assert_array_equal(run(1, train=False), apply(SMALL.clone(drop_path=0.0), variables, image)[-1])


def test_merging_takes_the_neighbours_column_by_column():
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    merging = PatchMerging()
    variables = init(merging, KEY, x)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "norm": {"bias": (4,), "scale": (4,)},
        "reduction": {"kernel": (4, 2)},
    }
    kernel = random(4, 2)
    variables["params"]["reduction"]["kernel"] = kernel
    four = np.asarray([[[0, 4, 1, 5], [2, 6, 3, 7]], [[8, 0, 9, 0], [10, 0, 11, 0]]], np.float32)
    normed = (four - four.mean(-1, keepdims=True)) / np.sqrt(four.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(apply(merging, variables, x)[0], normed @ kernel, atol=1e-5)


def test_norms_are_as_the_fields_say():
    image = jnp.zeros((1, 12, 12, 3))
    names = set(jax.eval_shape(lambda: SMALL.init(KEY, image))["params"])
    assert {"patch_norm", "norm1", "norm2", "merge1"} <= names
    plain = SMALL.clone(patch_norm=False, output_norms=False)
    assert names - set(jax.eval_shape(lambda: plain.init(KEY, image))["params"]) == {"patch_norm", "norm1", "norm2"}


def test_cost_grows_with_the_pixels():
    model = SMALL.clone(window=4)
    variables = initialise(model, jnp.zeros((1, 32, 32, 3)))

    def flops(side):
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return jax.jit(partial(model.apply, variables)).lower(image).cost_analysis()["flops"]

    small, middle, large = (flops(side) for side in (64, 128, 256))
    assert middle / small == pytest.approx(4, rel=0.02)
    assert large / middle == pytest.approx(4, rel=0.02)


def test_rematerialisation_changes_no_gradient():
    image = random(2, 12, 12, 3)
    model = SMALL.clone(depths=(2,), num_heads=(2,), drop_path=0.3, dropout=0.1, attention_dropout=0.1)
    variables = initialise(model, image)

    def loss(variables, remat):
        maps = model.clone(remat=remat).apply(variables, image, train=True, rngs={"dropout": KEY})
        return sum((m**2).mean() for m in maps)

    kept, again = (jax.jit(jax.grad(partial(loss, remat=remat)))(variables) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), kept, again)


def test_refuses_what_cannot_be():
    with pytest.raises(InputError, match="Swin size 'XL': one of T, S, B, L"):
        Swin.of_size("XL")
    with pytest.raises(InputError, match=r"depths=\(2, 2\) and num_heads=\(2,\) must name as many stages, at least one"):
        SMALL.clone(num_heads=(2,)).init(KEY, jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(InputError, match=r"SwinClassifier normalises by itself: give it Swin\(output_norms=False\)"):
        SwinClassifier(num_classes=2, backbone=SMALL).init(KEY, jnp.zeros((1, 8, 8, 3)))
