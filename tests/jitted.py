"""Linen modules under jit: compiling one program is several times faster than compiling each operation of it for itself."""

from functools import partial

import jax


def init(model, key, *inputs, **options):
    """Return ``model.init(key, *inputs, **options)``."""
    return jax.jit(partial(model.init, **options))(key, *inputs)


def apply(model, variables, *inputs, **options):
    """Return ``model.apply(variables, *inputs, **options)``."""
    return jax.jit(partial(model.apply, **options))(variables, *inputs)
