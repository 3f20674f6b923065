import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.errors import InputError

#: The module, which the function of the same name hides.
ROOM = sys.modules["jaxseg.ops.attention"]
KEY = jax.random.key(0)


def inputs(n=5, m=7, heads=2, width=4, batch=(3,), dtype=jnp.float32):
    keys = jax.random.split(KEY, 3)
    shapes = [(*batch, length, heads, width) for length in (n, m, m)]
    return [jax.random.normal(k, shape).astype(dtype) for k, shape in zip(keys, shapes)]


def attend(*qkv, **options):
    """Return ``ops.attention`` in one program."""
    return jax.jit(lambda *qkv: ops.attention(*qkv, **options))(*qkv)


def formula(query, key, value, scores_of=lambda s: s):
    """Head by head, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros(query.shape)
    for place in np.ndindex(query.shape[0], query.shape[2]):
        b, h = place
        scores = scores_of(query[b, :, h] @ key[b, :, h].T / np.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[b, :, h] = weights / weights.sum(-1, keepdims=True) @ value[b, :, h]
    return out


@pytest.mark.parametrize(("n", "m"), [(5, 7), (1, 1), (129, 3)])
def test_is_the_formula(n, m):
    qkv = inputs(n, m)
    np.testing.assert_allclose(attend(*qkv), formula(*qkv), atol=1e-5)


def test_mask_bias_and_several_batch_axes():
    query, key, value = inputs(batch=(2, 3))
    bias = jax.random.normal(KEY, (1, 1, 2, 5, 7))
    mask = jax.random.bernoulli(KEY, 0.6, (1, 3, 1, 5, 7)).at[..., 0].set(True)
    got = attend(query, key, value, mask=mask, bias=bias)
    for window in range(3):
        for head in range(2):
            one = [x[:, window, :, head : head + 1] for x in (query, key, value)]
            seen, added = np.asarray(mask[0, window, 0]), np.asarray(bias[0, 0, head])
            expected = formula(*one, scores_of=lambda s, seen=seen, added=added: np.where(seen, s + added, -1e30))
            np.testing.assert_allclose(got[:, window, :, head : head + 1], expected, atol=1e-5)


def test_causal_sees_itself_and_the_past():
    query, key, value = inputs(6, 6)
    got = attend(query, key, value, causal=True)
    np.testing.assert_allclose(got[:, 0], value[:, 0], atol=1e-6)
    lower = np.tril(np.ones((6, 6), bool))
    np.testing.assert_allclose(got, formula(query, key, value, lambda s: np.where(lower, s, -1e30)), atol=1e-5)
    only_first = jnp.asarray(np.arange(6) == 0).reshape(1, 1, 1, 6)
    both = attend(query, key, value, causal=True, mask=only_first)
    np.testing.assert_allclose(both, jnp.broadcast_to(value[:, :1], both.shape), atol=1e-6)


def test_a_masked_position_has_no_influence_at_all():
    query, key, value = inputs()
    mask = jnp.asarray(np.arange(7) != 3).reshape(1, 1, 1, 7)
    gradients = jax.jit(jax.grad(lambda k, v: (ops.attention(query, k, v, mask=mask) ** 2).sum(), argnums=(0, 1)))(key, value)
    for gradient in gradients:
        assert (np.asarray(gradient)[:, 3] == 0).all()
        assert (np.abs(np.asarray(gradient)[:, [0, 1, 2, 4, 5, 6]]) > 0).all()


def test_a_query_that_sees_nothing_gives_zeros_and_finite_gradients():
    query, key, value = inputs()
    mask = jnp.ones((1, 1, 5, 7), bool).at[:, :, 2].set(False)
    out, gradients = jax.jit(jax.value_and_grad(lambda qkv: ops.attention(*qkv, mask=mask).sum()))((query, key, value))
    assert np.isfinite(out)
    assert (np.asarray(attend(query, key, value, mask=mask))[:, 2] == 0).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_large_scores_do_not_overflow():
    query, key, value = inputs()
    assert np.isfinite(attend(1e4 * query, key, value)).all()


def test_bfloat16_keeps_a_float32_softmax():
    qkv = inputs(64, 64, width=32)
    low = attend(*(x.astype(jnp.bfloat16) for x in qkv))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), formula(*qkv), atol=0.03)
    text = str(jax.make_jaxpr(ops.attention)(*(x.astype(jnp.bfloat16) for x in qkv)))
    assert "f32[3,2,64,64] = exp" in text
    assert "bf16[3,2,64,64] = exp" not in text


def test_weights_are_what_attention_mixes_by():
    query, key, value = inputs()
    weights = ops.attention_weights(query, key)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(jnp.einsum("bhnm,bmhd->bnhd", weights, value), ops.attention(query, key, value), atol=1e-6)


def test_drop_gets_the_weights_before_they_mix():
    query, key, value = inputs()
    np.testing.assert_allclose(
        ops.attention(query, key, value, drop=lambda w: 2 * w), 2 * ops.attention(query, key, value), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("platform", "capability", "dtype", "width", "expected"),
    [
        ("gpu", "9.0", jnp.bfloat16, 64, True),
        ("gpu", "8.0", jnp.float16, 128, True),
        ("gpu", "9.0", jnp.float32, 64, False),
        ("gpu", "7.5", jnp.bfloat16, 64, False),
        ("gpu", "gfx90a", jnp.bfloat16, 64, False),
        ("gpu", "9.0", jnp.bfloat16, 20, False),
        ("gpu", "9.0", jnp.bfloat16, 136, False),
        ("cpu", None, jnp.bfloat16, 64, False),
    ],
)
def test_flash_is_chosen_where_cudnn_takes_it(monkeypatch, platform, capability, dtype, width, expected):
    device = SimpleNamespace(platform=platform, **({} if capability is None else {"compute_capability": capability}))
    monkeypatch.setattr(ROOM.jax, "devices", lambda *_: [device])
    assert ROOM.flash_applies(jnp.zeros((2, 197, 3, width), dtype)) is expected


def test_flash_is_asked_for_half_precision_without_extras(monkeypatch):
    calls = []

    def flash(query, key, value, **options):
        calls.append(options)
        return query

    monkeypatch.setattr(ROOM, "flash_applies", lambda _: True)
    monkeypatch.setattr(ROOM.jax.nn, "dot_product_attention", flash)
    query, key, value = inputs(6, 6, batch=(2, 3))
    assert ops.attention(query, key, value, causal=True).shape == query.shape
    assert calls == [{"is_causal": True, "implementation": "cudnn"}]
    ops.attention(query, key, value, implementation="xla")
    ops.attention(query, key, value, bias=jnp.zeros((1, 1, 1, 6, 6)))
    assert len(calls) == 1


def test_refuses_what_cannot_be():
    query, key, value = inputs()
    with pytest.raises(InputError, match="implementation='flash' is not known: give 'xla', 'cudnn' or None"):
        ops.attention(query, key, value, implementation="flash")
    with pytest.raises(InputError, match="causal=True compares places in one sequence, and there are 5 queries and 7 keys"):
        ops.attention(query, key, value, causal=True)
    with pytest.raises(InputError, match="implementation='cudnn' takes no mask, no bias and no dropout here"):
        ops.attention(query, key, value, bias=jnp.zeros((1, 1, 5, 7)), implementation="cudnn")
