from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.backbones import ViT, ViTClassifier
from jaxseg.models.positions import resize_table

KEY = jax.random.key(0)
VIT = ViT(patch_size=4, width=8, depth=3, num_heads=2, hidden=16, image_size=(8, 12))


def shapes(model, size, **options):
    return jax.eval_shape(lambda: model.init_with_output(KEY, jnp.zeros((2, *size, 3)), **options))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(("size", "parameters"), [("Ti", 5_717_416), ("S", 22_050_664), ("B", 86_567_656), ("L", 304_326_632)])
def test_classifiers_have_the_published_parameters(size, parameters):
    """At 224 x 224, patches of 16, 1000 classes."""
    model = ViTClassifier(num_classes=1000, backbone=ViT.of_size(size, class_token=True))
    logits, variables = shapes(model, (224, 224))
    assert count(variables) == parameters
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize(("size", "patch_size", "parameters"), [("B", 32, 88_224_232), ("H", 14, 632_045_800)])
def test_classifiers_with_other_patches_have_the_published_parameters(size, patch_size, parameters):
    model = ViTClassifier(num_classes=1000, backbone=ViT.of_size(size, patch_size=patch_size, class_token=True))
    assert count(shapes(model, (224, 224))[1]) == parameters


@pytest.mark.parametrize("patch_size", [8, 14, 16, 32])
def test_backbones_have_the_parameters_of_their_layers(patch_size):
    side = 224 // patch_size
    _, variables = shapes(ViT.of_size("H", patch_size=patch_size), (224, 224))
    block = 4 * (1280 * 1280 + 1280) + 2 * 1280 * 5120 + 5120 + 1280 + 4 * 1280
    assert count(variables) == 32 * block + (patch_size**2 * 3 + 1) * 1280 + side**2 * 1280


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize(("size", "grid"), [((8, 12), (2, 3)), ((16, 16), (4, 4)), ((9, 13), (3, 4)), ((1, 1), (1, 1))])
def test_the_grid_follows_the_image(size, grid, class_token):
    model = VIT.clone(feature_depths=(1, 3), class_token=class_token)
    maps, _ = shapes(model, size)
    assert [m.shape for m in maps] == [(2, *grid, 8)] * 2
    assert model.strides == (4, 4)


def test_the_class_token_and_its_position_stand_apart():
    image = jax.random.normal(KEY, (1, 8, 12, 3))
    model = VIT.clone(class_token=True)
    variables = model.init(KEY, image)
    assert variables["params"]["class_position"].shape == (1, 1, 8)
    assert variables["params"]["position_embedding"].shape == (1, 2, 3, 8)
    (sequence,) = model.apply(variables, image, method="tokens")
    (grid,) = model.apply(variables, image)
    assert sequence.shape == (1, 7, 8)
    np.testing.assert_array_equal(sequence[:, 1:].reshape(grid.shape), grid)


def test_the_image_may_have_any_size_at_run_time():
    """The same parameters, other grids: positions are resized."""
    variables = VIT.init(KEY, jnp.zeros((1, 8, 12, 3)))
    (grid,) = VIT.apply(variables, jax.random.normal(KEY, (1, 21, 6, 3)))
    assert grid.shape == (1, 6, 2, 8)
    assert bool(jnp.isfinite(grid).all())


@pytest.mark.parametrize("class_token", [False, True])
def test_positions_are_as_learnt_at_their_own_grid_and_resized_at_another(class_token):
    """As if they had been learnt for the other grid, and were the resized table."""
    model = VIT.clone(class_token=class_token)
    variables = model.init(KEY, jnp.zeros((1, 8, 12, 3)))
    table = variables["params"]["position_embedding"]
    assert table.shape == (1, 2, 3, 8)
    image = jax.random.normal(KEY, (1, 20, 16, 3))
    resized = {"params": {**variables["params"], "position_embedding": resize_table(table, (5, 4))}}
    expected = model.clone(image_size=(20, 16)).apply(resized, image)[0]
    np.testing.assert_allclose(model.apply(variables, image)[0], expected, atol=1e-6)
    transposed = {"params": {**variables["params"], "position_embedding": jnp.swapaxes(resize_table(table, (4, 5)), 1, 2)}}
    assert not np.allclose(model.clone(image_size=(20, 16)).apply(transposed, image)[0], expected, atol=1e-3)


def test_paths_are_dropped_in_training_alone_and_never_in_the_first_block():
    image = jax.random.normal(KEY, (8, 8, 12, 3))

    def run(key, train=True, **fields):
        model = VIT.clone(**fields)
        variables = model.init(KEY, image)
        return model.apply(variables, image, train=train, rngs={"dropout": jax.random.key(key)})

    dropped = [run(key, drop_path=0.9, feature_depths=(1, 2, 3)) for key in (1, 2)]
    np.testing.assert_array_equal(dropped[0][0], dropped[1][0])
    assert not np.allclose(dropped[0][1], dropped[1][1])
    assert not np.allclose(dropped[0][2], dropped[1][2])
    np.testing.assert_array_equal(run(1, train=False, drop_path=0.9)[0], run(1, train=False)[0])
    np.testing.assert_array_equal(run(1)[0], run(2)[0])


def test_the_mean_is_over_the_patches_alone():
    image = jax.random.normal(KEY, (1, 8, 12, 3))
    model = ViTClassifier(num_classes=4, backbone=VIT.clone(class_token=True), pooling="mean")
    variables = model.init(KEY, image)
    variables["params"]["classifier"]["kernel"] = jax.random.normal(KEY, (8, 4))
    tokens = VIT.clone(class_token=True).apply({"params": variables["params"]["backbone"]}, image, method="tokens")[-1]
    x = (tokens - tokens.mean(-1, keepdims=True)) / jnp.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    expected = x[:, 1:].mean(1) @ variables["params"]["classifier"]["kernel"]
    np.testing.assert_allclose(model.apply(variables, image), expected, atol=1e-5)
    by_token = model.clone(pooling="class").apply(variables, image)
    np.testing.assert_allclose(by_token, x[:, 0] @ variables["params"]["classifier"]["kernel"], atol=1e-5)


def test_rematerialisation_changes_memory_and_not_gradients():
    image = jax.random.normal(KEY, (2, 64, 64, 3))
    model = VIT.clone(depth=5, dropout=0.1, drop_path=0.2)
    variables = model.init(KEY, image)

    def gradient(remat):
        def loss(variables):
            (x,) = model.clone(remat=remat).apply(variables, image, train=True, rngs={"dropout": KEY})
            return (x**2).mean()

        return (
            jax.jit(jax.grad(loss))
            .lower(variables)
            .compile(
                # The order that keeps least at a time, which XLA takes by itself on a GPU, and on a CPU when told to.
                compiler_options={"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
            )
        )

    kept, again = gradient(False), gradient(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), kept(variables), again(variables))
    memory = [c.memory_analysis().temp_size_in_bytes for c in (kept, again)]
    assert memory[1] < 0.8 * memory[0]


def test_cost_grows_with_the_square_of_the_pixels():
    """From the attention's share: tokens^2, so that the cost per token grows by a constant with every token."""
    model = VIT.clone(width=16, depth=1, hidden=16)
    variables = model.init(KEY, jnp.zeros((1, 8, 12, 3)))

    def flops(side):
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return jax.jit(partial(model.apply, variables)).lower(image).cost_analysis()["flops"]

    small, middle, large = (flops(side) for side in (64, 128, 256))  # 256, 1024, 4096 tokens
    assert middle / small > 9
    assert large / middle == pytest.approx(16, rel=0.1)


def test_refuses_what_cannot_be():
    with pytest.raises(InputError, match="patch_size=0 must be at least 1"):
        shapes(VIT.clone(patch_size=0), (8, 12))
    with pytest.raises(InputError, match=r"drop_path=1.0 must lie in \[0, 1\)"):
        shapes(VIT.clone(drop_path=1.0), (8, 12))
    with pytest.raises(InputError, match=r"width=8 must be a multiple of num_heads=3"):
        shapes(VIT.clone(num_heads=3), (8, 12))
    with pytest.raises(InputError, match=r"feature_depths=\(2, 1\) must rise and lie between 1 and depth=3"):
        shapes(VIT.clone(feature_depths=(2, 1)), (8, 12))
    with pytest.raises(InputError, match=r"feature_depths=\(4,\) must rise"):
        shapes(VIT.clone(feature_depths=(4,)), (8, 12))
    with pytest.raises(InputError, match=r"ViT size 'XL': one of Ti, S, B, L, H"):
        ViT.of_size("XL")
    with pytest.raises(InputError, match="pooling='max': ViTClassifier knows"):
        shapes(ViTClassifier(num_classes=2, backbone=VIT, pooling="max"), (8, 12))
    with pytest.raises(InputError, match=r"pooling='class' needs ViT\(class_token=True\)"):
        shapes(ViTClassifier(num_classes=2, backbone=VIT), (8, 12))
