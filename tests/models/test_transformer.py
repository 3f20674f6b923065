from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg.models import Transformer
from jaxseg.models.attention import MultiHeadAttention
from jaxseg.models.transformer import DecoderBlock, EncoderBlock, FeedForward

KEY = jax.random.key(0)
START, DIGITS, LENGTH = 0, 8, 7
TINY = Transformer(num_tokens=DIGITS + 1, width=32, depth=1, num_heads=4, hidden=64, dropout=0.0)


def tokens(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def reverser():
    """The sequence backwards, learnt from random ones."""
    model = TINY
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 400))

    def example(key):
        source = jax.random.randint(key, (64, LENGTH), 1, DIGITS + 1)
        answer = source[:, ::-1]
        return source, jnp.pad(answer[:, :-1], ((0, 0), (1, 0)), constant_values=START), answer

    @jax.jit
    def step(params, state, key):
        source, target, answer = example(key)

        def loss(params):
            logits = model.apply({"params": params}, source, target, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, answer).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    source, target, _ = example(KEY)
    params = model.init(KEY, source, target)["params"]
    state = optimizer.init(params)
    for i in range(400):
        params, state, _ = step(params, state, jax.random.fold_in(KEY, i))
    return model, params


def test_learns_to_reverse_and_writes_it_token_by_token(reverser):
    model, params = reverser
    source = jax.random.randint(jax.random.key(9), (200, LENGTH), 1, DIGITS + 1)
    memory = model.apply({"params": params}, source, method="encode")
    decode = jax.jit(partial(model.apply, method="decode"))
    written = jnp.full((200, LENGTH + 1), START)
    for i in range(LENGTH):  # what stands behind place i is not seen: the mask is causal
        logits = decode({"params": params}, written[:, :LENGTH], memory)
        written = written.at[:, i + 1].set(logits[:, i].argmax(-1))
    assert (np.asarray(written[:, 1:]) == np.asarray(source[:, ::-1])).mean() > 0.99


@pytest.mark.parametrize("pre_norm", [False, True])
def test_logits_do_not_see_the_future_nor_padding(pre_norm):
    model = TINY.clone(pre_norm=pre_norm)
    source, target = jnp.asarray([[1, 2, 3, 4, 5]]), jnp.asarray([[0, 3, 2, 1]])
    mask = jnp.asarray([[True, True, True, False, False]])
    params = model.init(KEY, source, target)
    logits = model.apply(params, source, target, source_mask=mask)
    assert logits.shape == (1, 4, DIGITS + 1)
    later = model.apply(params, source, target.at[0, 2].set(7), source_mask=mask)
    np.testing.assert_array_equal(logits[:, :2], later[:, :2])
    assert not np.allclose(logits[:, 2:], later[:, 2:])
    other = model.apply(params, source.at[0, 3:].set(8), target, source_mask=mask)
    np.testing.assert_array_equal(logits, other)
    assert not np.allclose(logits, model.apply(params, source.at[0, 1].set(8), target, source_mask=mask))


def test_the_base_model_has_the_papers_size():
    """65 M with 37,000 tokens (Table 3), of which one table serves both ends."""
    shapes = jax.eval_shape(Transformer(num_tokens=37_000).init, KEY, jnp.zeros((1, 4), int), jnp.zeros((1, 5), int))
    count = sum(x.size for x in jax.tree.leaves(shapes))
    attention, forward, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 1024
    assert count == 37_000 * 512 + 6 * (attention + forward + 2 * norm) + 6 * (2 * attention + forward + 3 * norm)
    assert count == pytest.approx(65e6, rel=0.035)


def test_post_norm_is_the_papers_and_pre_norm_vits():
    x = tokens(1, 5, 8)
    for pre_norm in (False, True):
        block = EncoderBlock(num_heads=2, hidden=16, pre_norm=pre_norm)
        variables = block.init(KEY, x, train=False)
        p = variables["params"]
        norm = nn.LayerNorm(epsilon=1e-6)
        attend = lambda y, p=p: MultiHeadAttention(2).apply({"params": p["attention"]}, y)  # noqa: E731
        forward = lambda y, p=p: FeedForward(16).apply({"params": p["feed_forward"]}, y, train=False)  # noqa: E731
        n1, n2 = (partial(norm.apply, {"params": p[name]}) for name in ("norm1", "norm2"))
        if pre_norm:
            expected = x + attend(n1(x))
            expected = expected + forward(n2(expected))
        else:
            expected = n1(x + attend(x))
            expected = n2(expected + forward(expected))
        np.testing.assert_allclose(block.apply(variables, x, train=False), expected, atol=1e-6)


def test_the_decoder_looks_at_a_memory_of_any_width():
    x, memory = tokens(2, 5, 8), tokens(2, 3, 6)
    block = DecoderBlock(num_heads=2, hidden=16)
    y, variables = block.init_with_output(KEY, x, memory, train=False)
    assert y.shape == x.shape
    assert variables["params"]["cross_attention"]["key"]["kernel"].shape == (6, 2, 4)
    assert not np.allclose(y, block.apply(variables, x, memory + 1, train=False))


def test_dropout_is_random_in_training_alone():
    model = TINY.clone(dropout=0.3, attention_dropout=0.2)
    source, target = jnp.ones((1, 4), int), jnp.ones((1, 3), int)
    params = model.init(KEY, source, target)
    one, two = (model.apply(params, source, target, train=True, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(model.apply(params, source, target), TINY.apply(params, source, target))


def test_rematerialisation_changes_memory_and_not_gradients():
    model = TINY.clone(depth=3, dropout=0.3)
    source = jnp.asarray(np.random.default_rng(0).integers(1, 9, (2, 128)))
    params = model.init(KEY, source, source)

    def gradient(remat):
        def loss(params):
            return (model.clone(remat=remat).apply(params, source, source, train=True, rngs={"dropout": KEY}) ** 2).mean()

        return (
            jax.jit(jax.grad(loss))
            .lower(params)
            .compile(
                # The order that keeps least at a time, which XLA takes by itself on a GPU, and on a CPU when told to.
                compiler_options={"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
            )
        )

    kept, again = gradient(False), gradient(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), kept(params), again(params))
    memory = [c.memory_analysis().temp_size_in_bytes for c in (kept, again)]
    assert memory[1] < 0.8 * memory[0]
