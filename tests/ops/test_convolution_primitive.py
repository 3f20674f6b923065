import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg import ops
from jaxseg.ops.convolution_primitive import native_convolutions

SHAPES = jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32), jax.ShapeDtypeStruct((3, 3, 8, 8), jnp.float32)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def all_faces(x, kernel):
    """One convolution of each face: forwards, and both gradients."""
    return jax.vjp(lambda x, k: ops.conv2d(x, k, padding=1), x, kernel)[1](ops.conv2d(x, kernel, padding=1))


def count(text):
    return text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_xlas_convolution(platform):
    exported = jax.export.export(jax.jit(all_faces), platforms=[platform])(*SHAPES)
    assert count(exported.mlir_module()) == (3, 0)


def test_the_cpu_gets_products_and_several_platforms_get_each_their_own():
    on_cpu = jax.export.export(jax.jit(all_faces), platforms=["cpu"])(*SHAPES).mlir_module()
    assert count(on_cpu) == (2, 1)
    both = jax.export.export(jax.jit(all_faces), platforms=["cpu", "tpu"])(*SHAPES)
    assert count(both.mlir_module()) == (5, 1)
    x, kernel = draw(2, 16, 16, 8), draw(3, 3, 8, 8, seed=1)
    chex.assert_trees_all_close(both.call(x, kernel), all_faces(x, kernel), atol=1e-3)


def test_native_convolutions_are_plain_jax():
    with native_convolutions():
        jaxpr = str(jax.make_jaxpr(lambda x, k: all_faces(x, k))(*SHAPES))
    assert "jaxseg_conv" not in jaxpr
    assert "conv_general_dilated" in jaxpr
    assert "jaxseg_conv" in str(jax.make_jaxpr(all_faces)(*SHAPES))


def test_symbolic_sizes_export_and_run():
    b, h, w = jax.export.symbolic_shape("b, h, w")

    def run(x, k):
        return ops.resize(ops.conv2d(x, k, padding=1), x.shape[1:3])

    exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((b, h, w, 8), jnp.float32), SHAPES[1])
    x, kernel = draw(3, 7, 10, 8), draw(3, 3, 8, 8, seed=1)
    np.testing.assert_allclose(exported.call(x, kernel), run(x, kernel), atol=1e-4)


def test_checkpointing_recomputes_the_same_gradient():
    x, kernel = draw(1, 8, 8, 4), draw(3, 3, 4, 4, seed=1)

    def block(x, k):
        return jax.nn.relu(ops.conv2d(ops.max_pool(ops.conv2d(x, k, padding=1), window=2), k, padding=1))

    def loss(f):
        return jax.jit(jax.grad(lambda k: (f(x, k) ** 2).sum()))(kernel)

    np.testing.assert_allclose(loss(jax.checkpoint(block)), loss(block), rtol=1e-4, atol=1e-4)


def network(params, x):
    """Every kind of operation once, at shapes that take each formulation."""
    x = jax.nn.relu(ops.conv2d(x, params[0], padding=1))
    pooled, indices = ops.max_pool_with_argmax(x, window=2)
    y = ops.conv2d(pooled, params[1], padding=1)
    y = ops.conv2d(y, params[2], padding=2, atrous_rate=2, groups=64)
    y = ops.conv_transpose2d(ops.conv2d(y, params[3], strides=2), params[4], strides=2)
    y = ops.max_unpool(y, indices, output_size=x.shape[1:3], window=2) + ops.max_unpool(y, indices, output_size=x.shape[1:3])
    y = y + ops.resize(ops.adaptive_avg_pool(y, 3), x.shape[1:3])
    return (y**2).mean()


def parameters():
    shapes = (3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 1, 64), (1, 1, 64, 64), (2, 2, 64, 64)
    return [draw(*shape, seed=n) / 8 for n, shape in enumerate(shapes)]


def test_a_batch_split_over_devices_needs_no_gathering():
    mesh = Mesh(np.array(jax.devices()[:4]), ("batch",))
    x, params = draw(4, 24, 24, 3), parameters()
    want = jax.jit(jax.grad(network))(params, x)
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    step = jax.jit(jax.grad(network)).lower(params, split).compile()
    text = step.as_text()
    assert "all-reduce" in text
    for gathering in ("all-gather", "all-to-all", "collective-permute"):
        assert gathering not in text
    chex.assert_trees_all_close(step(params, split), want, rtol=1e-3, atol=1e-5)


def test_shard_map_and_pmap():
    mesh = Mesh(np.array(jax.devices()[:2]), ("batch",))
    x, kernel = draw(2, 6, 6, 3), draw(3, 3, 3, 2, seed=1)

    def mean(x, k):
        return lax.pmean((ops.conv2d(x, k, padding=1) ** 2).mean(), "batch")

    mapped = jax.shard_map(mean, mesh=mesh, in_specs=(PartitionSpec("batch"), PartitionSpec()), out_specs=PartitionSpec())
    want = jax.grad(lambda k: (ops.conv2d(x, k, padding=1) ** 2).mean())(kernel)
    np.testing.assert_allclose(jax.grad(lambda k: mapped(x, k))(kernel), want, rtol=1e-3, atol=1e-5)
    parallel = jax.pmap(lambda x: ops.conv2d(x, kernel, padding=1))(x.reshape(2, 1, 6, 6, 3))
    np.testing.assert_allclose(parallel[:, 0], ops.conv2d(x, kernel, padding=1), atol=1e-5)
