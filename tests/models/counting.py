"""How many parameters a network has, without making them."""

import jax
import jax.numpy as jnp

KEY = jax.random.key(0)


def initialised(model, shape=(1, 33, 33, 3), train=True):
    """Return the shapes of a network's variables."""
    return jax.eval_shape(lambda: model.init({"params": KEY, "dropout": KEY}, jnp.zeros(shape), train=train))


def count(model):
    """Return the number of a network's parameters, those of its auxiliary heads included."""
    return sum(x.size for x in jax.tree.leaves(initialised(model)["params"]))
