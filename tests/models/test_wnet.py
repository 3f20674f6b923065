import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.wnet import WNet

KEY = jax.random.key(0)
SMALL = WNet(num_classes=4, width=4, depth=2)
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 24, 3)), jnp.float32)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(lambda: SMALL.init({"params": KEY, "dropout": KEY}, IMAGE, train=True))()


def parameters(model, channels=3):
    image = jax.ShapeDtypeStruct((1, 224, 224, channels), jnp.float32)
    return jax.eval_shape(lambda x: model.init({"params": KEY, "dropout": KEY}, x, train=True), image)["params"]


def counted_by_hand(inputs, outputs):
    """One U-Net of the paper, layer by layer: weights and biases; batch normalisation has a scale and a shift per channel."""

    def module(c, f, separable):
        first, second = (9 * c + c * f + f, 9 * f + f * f + f) if separable else (9 * c * f + f, 9 * f * f + f)
        return first + second + 2 * 2 * f

    contracting = [module(inputs, 64, False), module(64, 128, True), module(128, 256, True), module(256, 512, True)]
    bottom = module(512, 1024, True)
    up = [4 * 2 * f * f + f for f in (512, 256, 128, 64)]
    expanding = [module(1024, 512, True), module(512, 256, True), module(256, 128, True), module(128, 64, False)]
    return sum(contracting) + bottom + sum(up) + sum(expanding) + 64 * outputs + outputs


def test_has_the_papers_parameters():
    found = {name: sum(x.size for x in jax.tree.leaves(half)) for name, half in parameters(WNet(num_classes=64)).items()}
    assert found == {"encoder": counted_by_hand(3, 64), "decoder": counted_by_hand(64, 3)}
    assert sum(found.values()) == 12_288_195


def test_has_the_papers_46_convolutions_in_18_modules():
    """A depthwise convolution and its 1x1 mix are one; those of the first and last module of each half are full."""
    tree = parameters(WNet(num_classes=64))
    names = [(half, *(k.key for k in path)) for half in tree for path, _ in jax.tree_util.tree_leaves_with_path(tree[half])]
    kernels = [name for name in names if name[-1] == "kernel" and "depthwise" not in name[-2]]
    assert len(kernels) == 46
    modules = {name[:2] for name in kernels if name[1].startswith(("contract", "expand", "bottom"))}
    assert len(modules) == 18
    full = {name[:2] for name in kernels if name[2] == "conv1"}
    assert full == {(half, level) for half in ("encoder", "decoder") for level in ("contract0", "expand0")}


def test_evaluation_runs_the_encoder_alone(variables):
    only = {kind: {"encoder": tree["encoder"]} for kind, tree in variables.items()}
    np.testing.assert_array_equal(SMALL.apply(only, IMAGE), SMALL.apply(variables, IMAGE))


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (3, 5)])
def test_the_reconstruction_has_the_images_shape(variables, size):
    q = jax.ShapeDtypeStruct((2, *size, 4), jnp.float32)
    made = jax.eval_shape(lambda q: SMALL.apply(variables, q, 3, method="reconstruct"), q)
    assert made.shape == (2, *size, 3)
    assert made.dtype == jnp.float32


def test_the_decoder_sees_the_probabilities_alone(variables):
    q = jax.nn.softmax(SMALL.apply(variables, IMAGE))
    made = SMALL.apply(variables, q, 3, method="reconstruct")
    other = SMALL.apply(variables, q[..., ::-1], 3, method="reconstruct")
    assert not np.allclose(made, other)
    equal = SMALL.apply(variables, jnp.full_like(q, 0.25), 3, method="reconstruct")
    np.testing.assert_allclose(equal[0], equal[1], atol=1e-6)


def test_relu_comes_before_batch_normalisation(variables):
    """In training every module's output has then the mean 0 in every channel, which no output of ReLU has."""
    _, seen = SMALL.apply(
        variables, IMAGE, train=True, rngs={"dropout": KEY}, mutable=["batch_stats", "intermediates"], capture_intermediates=True
    )
    out = seen["intermediates"]["encoder"]["contract1"]["__call__"][0]
    np.testing.assert_allclose(out.mean((0, 1, 2)), np.zeros(8), atol=1e-5)
    assert (out < 0).any()


def test_dropout_works_in_training_alone(variables):
    np.testing.assert_array_equal(SMALL.apply(variables, IMAGE), SMALL.apply(variables, IMAGE))
    q = jax.nn.softmax(SMALL.apply(variables, IMAGE))
    for run in (
        lambda key: SMALL.apply(variables, IMAGE, train=True, rngs={"dropout": key}, mutable=["batch_stats"])[0],
        lambda key: SMALL.apply(
            variables, q, 3, train=True, rngs={"dropout": key}, mutable=["batch_stats"], method="reconstruct"
        )[0],
    ):
        assert not np.allclose(run(jax.random.key(1)), run(jax.random.key(2)))
