import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxseg import crf
from jaxseg.config import load
from jaxseg.errors import InputError
from jaxseg.models import CRFRNN, FCN8s
from jaxseg.ops.normalise import Normalise
from jaxseg.warm_start import match

NORMALISE = Normalise()
RAW = np.random.default_rng(0).integers(0, 256, (2, 9, 12, 3)).astype(np.uint8)
GIVEN = crf.Parameters(w1=2.0, sigma_alpha=8.0, sigma_beta=30.0, w2=1.0, sigma_gamma=1.0, iterations=4)


class Scores(nn.Module):
    """A network of one layer, whose logits are easy to know."""

    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="scores")(image)


MODEL = CRFRNN(3, Scores(3), NORMALISE, GIVEN, train_iterations=2, filter=crf.Permutohedral(capacity=600))


@pytest.fixture(scope="module")
def variables():
    return MODEL.init(jax.random.key(1), NORMALISE(jnp.asarray(RAW)))


@pytest.mark.parametrize(("train", "iterations"), [(False, 4), (True, 2)])
def test_it_is_mean_field_behind_the_network(variables, train, iterations):
    image = NORMALISE(jnp.asarray(RAW))
    logits = jax.jit(lambda v, x: MODEL.apply(v, x, train=train))(variables, image)
    plain = Scores(3).apply({"params": variables["params"]["network"]}, image)
    arguments = {**GIVEN.arguments(), "iterations": iterations}
    want = [crf.mean_field(-x, raw, **arguments) for x, raw in zip(plain, RAW)]
    np.testing.assert_allclose(jax.nn.softmax(logits), jnp.stack(want), atol=1e-3)


def test_training_moves_weights_and_compatibility(variables):
    image = NORMALISE(jnp.asarray(RAW))
    label = jax.nn.one_hot(jnp.asarray(RAW[..., 0] // 86), 3)

    def loss(params):
        return -jnp.mean(label * jax.nn.log_softmax(MODEL.apply({"params": params}, image, train=True)))

    value_and_grad = jax.jit(jax.value_and_grad(loss))
    params = variables["params"]
    first, gradient = value_and_grad(params)
    assert set(gradient["mean_field"]) == {"bilateral_weights", "spatial_weights", "compatibility"}
    for name, g in gradient["mean_field"].items():
        step = jax.tree.map(jnp.zeros_like, params)
        step["mean_field"][name] = g / jnp.linalg.norm(g)
        moved = [value_and_grad(jax.tree.map(lambda p, s, e=e: p + e * s, params, step))[0] for e in (1e-2, -1e-2)]
        np.testing.assert_allclose((moved[0] - moved[1]) / 2e-2, jnp.linalg.norm(g), rtol=0.05)
    for _ in range(5):
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, value_and_grad(params)[1])
    assert value_and_grad(params)[0] < first


def test_starts_from_the_paper_and_fcn8s():
    model = CRFRNN(num_classes=21)
    assert model.parameters == crf.SETS["crf-rnn"]
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)["params"]
    own = jax.eval_shape(lambda x: FCN8s(21).init(jax.random.key(0), x), image)["params"]
    assert jax.tree.map(lambda x: x.shape, params["network"]) == jax.tree.map(lambda x: x.shape, own)
    assert {name: x.shape for name, x in params["mean_field"].items()} == dict.fromkeys(
        ("bilateral_weights", "spatial_weights", "compatibility"), (21, 21)
    )


def test_takes_the_parameters_of_its_network_alone(variables):
    given = {"params": jax.tree.map(lambda x: np.asarray(x) + 1, variables["params"]["network"])}
    found = match(variables, given)
    assert found.taken == ("params/network/scores/bias", "params/network/scores/kernel")
    assert found.unused == ()
    np.testing.assert_array_equal(found.variables["params"]["network"]["scores"]["bias"], given["params"]["scores"]["bias"])
    assert match(variables, variables).missing == ()


def test_refuses():
    image = jnp.zeros((1, 4, 4, 3))
    with pytest.raises(InputError, match=r"num_classes=4, but network.num_classes=3. Set both alike"):
        CRFRNN(4, Scores(3)).init(jax.random.key(0), image)
    with pytest.raises(InputError, match=r"num_classes=1: the CRF compares labels"):
        CRFRNN(1, Scores(1)).init(jax.random.key(0), image)
    with pytest.raises(InputError, match=r"model.normalise is Normalise\(.* Set both alike"):
        load("configs/crf_rnn.py", ["normalise.std=(0.1,)"])
