from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import optimizers
from jaxseg.errors import InputError

PARAMS = {
    "backbone": {
        "conv": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full((2,), 2.0)},
        "position_embedding": jnp.full((1, 2), 2.0),
    },
    "head": {"norm": {"scale": jnp.full((2,), 2.0)}, "kernel": jnp.full((2, 2), 2.0)},
}
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def updates(optimizer, gradients):
    return optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("make", [partial(optimizers.sgd, momentum=0.0), optimizers.adamw])
def test_weight_decay_touches_kernels_alone(make):
    changed = updates(make(0.5, weight_decay=0.1), ZERO)
    expected = jax.tree.map(jnp.zeros_like, PARAMS)
    expected["backbone"]["conv"]["kernel"] = expected["head"]["kernel"] = jnp.full((2, 2), -0.5 * 0.1 * 2.0)
    chex.assert_trees_all_close(changed, expected, atol=1e-7)


def test_sgd_couples_weight_decay_with_momentum_as_caffe_does():
    optimizer = optimizers.sgd(0.1, momentum=0.9, weight_decay=0.5)
    state, params, velocity, weight = optimizer.init(PARAMS), PARAMS, 0.0, 2.0
    for _ in range(3):
        change, state = optimizer.update(ONES, state, params)
        params = jax.tree.map(jnp.add, params, change)
        velocity = 0.9 * velocity + 1.0 + 0.5 * weight
        weight -= 0.1 * velocity
    np.testing.assert_allclose(params["head"]["kernel"], np.full((2, 2), weight), rtol=1e-6)


@pytest.mark.parametrize("make", [optimizers.sgd, optimizers.adamw])
def test_head_multiplier_speeds_up_everything_outside_the_backbone(make):
    slow, fast = updates(make(0.1), ONES), updates(make(0.1, head_multiplier=10.0), ONES)
    chex.assert_trees_all_close(fast["backbone"], slow["backbone"])
    chex.assert_trees_all_close(fast["head"], jax.tree.map(lambda x: 10 * x, slow["head"]))


@pytest.mark.parametrize("make", [optimizers.sgd, optimizers.adamw])
def test_the_head_may_be_named_at_any_depth(make):
    slow, fast = updates(make(0.1), ONES), updates(make(0.1, head_multiplier=10.0, head=("conv", "norm")), ONES)
    expected = jax.tree.map(lambda x: x, slow)
    expected["backbone"]["conv"] = jax.tree.map(lambda x: 10 * x, slow["backbone"]["conv"])
    expected["head"]["norm"] = jax.tree.map(lambda x: 10 * x, slow["head"]["norm"])
    chex.assert_trees_all_close(fast, expected)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ((), "every parameter would count as the head"),
        (("clasifier",), "no parameter would count as the head; .* parts are conv"),
    ],
)
def test_head_multiplier_needs_a_head_and_a_rest(head, message):
    optimizer, params = optimizers.sgd(0.1, head_multiplier=10.0, head=head), {"conv": {"kernel": jnp.ones((1, 1))}}
    with pytest.raises(InputError, match=message):
        optimizer.update(params, optimizer.init(params), params)


def test_multipliers_multiply_as_caffes_do():
    """A bias of the head learns ten times as fast as the backbone's, and twice as fast again."""
    params = {name: {"kernel": jnp.ones((1, 1)), "bias": jnp.ones((1,))} for name in ("backbone", "head")}
    optimizer = optimizers.sgd(0.1, momentum=0.0, head_multiplier=10.0, bias_multiplier=2.0)
    changed = jax.tree.map(float, jax.tree.map(jnp.squeeze, optimizer.update(params, optimizer.init(params), params)[0]))
    assert changed["backbone"] == pytest.approx({"kernel": -0.1, "bias": -0.2})
    assert changed["head"] == pytest.approx({"kernel": -1.0, "bias": -2.0})


def test_bias_multiplier_speeds_up_the_biases_of_layers_with_kernels():
    params = {
        "conv": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones((2,))},
        "norm": {"scale": jnp.ones((2,)), "bias": jnp.ones((2,))},
    }
    optimizer = optimizers.sgd(0.1, momentum=0.0, bias_multiplier=2.0)
    changed = optimizer.update(params, optimizer.init(params), params)[0]
    expected = jax.tree.map(lambda x: -0.1 * x, params)
    expected["conv"]["bias"] = 2 * expected["conv"]["bias"]
    chex.assert_trees_all_close(changed, expected)


@pytest.mark.parametrize("make", [optimizers.sgd, optimizers.adamw])
def test_a_run_can_go_on_with_other_arguments(make):
    plain = make(0.1, weight_decay=0.0).init(PARAMS)
    other = make(0.2, weight_decay=0.1, clip_norm=1.0, head_multiplier=10.0, head=("head",)).init(PARAMS)
    chex.assert_trees_all_equal_structs(plain, other)


def test_clipping_bounds_the_global_norm():
    changed = updates(optimizers.sgd(1.0, clip_norm=0.5), jax.tree.map(lambda x: 100 * x, ONES))
    assert float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(changed)))) == pytest.approx(0.5, rel=1e-5)
