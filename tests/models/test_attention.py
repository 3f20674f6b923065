from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models.attention import MultiHeadAttention

KEY = jax.random.key(0)


def tokens(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_without_positions_it_does_not_see_the_order():
    x = tokens(2, 7, 8)
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, x)
    order = np.random.default_rng(1).permutation(7)
    np.testing.assert_allclose(attention.apply(variables, x)[:, order], attention.apply(variables, x[:, order]), atol=1e-6)


def test_is_the_papers_formula():
    """softmax(Q K^T / sqrt(d)) V per head, in NumPy."""
    x = np.asarray(tokens(1, 5, 8))
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, jnp.asarray(x))
    p = jax.device_get(variables["params"])
    q, k, v = (np.einsum("bnd,dhe->bhne", x, p[n]["kernel"]) + p[n]["bias"][None, :, None] for n in ("query", "key", "value"))
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(4))
    heads = (scores / scores.sum(-1, keepdims=True)) @ v
    expected = np.einsum("bhne,hed->bnd", heads, p["out"]["kernel"]) + p["out"]["bias"]
    np.testing.assert_allclose(attention.apply(variables, jnp.asarray(x)), expected, atol=1e-5)


def test_attention_takes_a_context_and_masks():
    x, context = tokens(2, 5, 8), tokens(2, 7, 6)
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, x, context)
    mask = jnp.asarray(np.arange(7) < 4).reshape(1, 1, 1, 7)
    np.testing.assert_allclose(
        attention.apply(variables, x, context, mask=mask), attention.apply(variables, x, context[:, :4]), atol=1e-6
    )
    gradient = jax.grad(lambda c: (attention.apply(variables, x, c, mask=mask) ** 2).sum())(context)
    assert (np.asarray(gradient[:, 4:]) == 0).all()
    assert (np.asarray(gradient[:, :4]) != 0).all()


def test_weights_are_kept_only_when_asked_for():
    x = tokens(2, 5, 8)
    attention = MultiHeadAttention(num_heads=2)
    variables = attention.init(KEY, x)
    assert list(variables) == ["params"]
    _, kept = attention.apply(variables, x, mutable=["intermediates"])
    (weights,) = kept["intermediates"]["weights"]
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    exponentials = [
        str(jax.make_jaxpr(partial(attention.apply, mutable=m))(variables, x)).count("= exp") for m in (False, ["intermediates"])
    ]
    assert exponentials[0] == 1 < exponentials[1]


def test_refuses_heads_that_do_not_fit():
    with pytest.raises(InputError, match="width=8 must be a multiple of num_heads=3"):
        MultiHeadAttention(num_heads=3).init(KEY, tokens(1, 2, 8))
