"""The operations against PyTorch: values to 1e-4 of their range, and every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import torch

from jaxseg import ops

F = torch.nn.functional


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, want, tolerance=1e-4):
    want = np.asarray(want)
    np.testing.assert_allclose(np.asarray(got) / np.abs(want).max(), want / np.abs(want).max(), atol=tolerance)


def image(x):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, 3, 1)), requires_grad=True)


def back(t):
    return np.moveaxis(t.detach().numpy(), 1, 3)


def compare(ours, theirs, x, kernel, kernel_axes, tolerance=1e-4):
    """Compare outputs and both gradients of a map of ``(x, kernel)``."""
    tx = image(x)
    tk = torch.tensor(np.ascontiguousarray(kernel.transpose(kernel_axes)), requires_grad=True)
    want = theirs(tx, tk)
    got, pull = jax.vjp(jax.jit(ours), jnp.asarray(x), jnp.asarray(kernel))
    close(got, back(want), tolerance)
    g = draw(*got.shape, seed=9)
    want.backward(torch.tensor(np.moveaxis(g, 3, 1)))
    dx, dk = pull(jnp.asarray(g))
    close(dx, back(tx.grad), tolerance)
    close(dk, tk.grad.numpy().transpose(np.argsort(kernel_axes)), tolerance)


@pytest.mark.parametrize(
    ("side", "c", "o", "k", "s", "p", "r", "groups"),
    [
        (16, 3, 8, 7, 2, 3, 1, 1),
        (32, 128, 128, 3, 1, 1, 1, 1),
        (18, 128, 160, 3, 1, 2, 2, 1),
        (33, 64, 64, 3, 1, 1, 1, 1),
        (15, 16, 16, 3, 2, 1, 1, 1),
        (12, 64, 16, 3, 1, 12, 12, 1),
        (12, 64, 16, 3, 1, 6, 6, 1),
        (12, 16, 64, 3, 1, 6, 6, 1),
        (9, 32, 64, 1, 2, 0, 1, 1),
        (14, 16, 16, 3, 1, 1, 1, 16),
        (14, 16, 32, 3, 2, 1, 1, 16),
        (14, 16, 16, 3, 1, 12, 12, 16),
        (10, 8, 12, 3, 1, 1, 1, 4),
        (8, 64, 96, 7, 1, 0, 1, 1),
    ],
)
def test_convolution(side, c, o, k, s, p, r, groups):
    compare(
        lambda x, w: ops.conv2d(x, w, strides=s, padding=p, atrous_rate=r, groups=groups),
        lambda x, w: F.conv2d(x, w, stride=s, padding=p, dilation=r, groups=groups),
        draw(2, side, side + 1, c),
        draw(k, k, c // groups, o, seed=1),
        (3, 2, 0, 1),
    )


@pytest.mark.parametrize(
    ("k", "s", "p", "extra"),
    [(2, 2, 0, 0), (4, 2, 1, 0), (3, 2, 1, 1), (3, 1, 1, 0), (16, 8, 4, 0), (64, 32, 16, 0), (5, 3, 0, 2)],
)
def test_transposed_convolution(k, s, p, extra):
    compare(
        lambda x, w: ops.conv_transpose2d(x, w, strides=s, padding=p, output_padding=extra),
        lambda x, w: F.conv_transpose2d(x, w, stride=s, padding=p, output_padding=extra),
        draw(2, 5, 4, 6),
        draw(k, k, 6, 4, seed=1),
        (2, 3, 0, 1),
    )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("k", "s", "p", "ceil_mode"), [(2, 2, 0, False), (2, 2, 0, True), (3, 2, 1, False), (3, 2, 0, True), (3, 1, 1, False)]
)
def test_max_pooling(k, s, p, ceil_mode, tied):
    x = np.round(draw(2, 11, 9, 3)) if tied else draw(2, 11, 9, 3)
    tx = image(x)
    want, places = F.max_pool2d(tx, k, s, p, ceil_mode=ceil_mode, return_indices=True)

    def pool(x):
        return ops.max_pool_with_argmax(x, window=k, strides=s, padding=p, ceil_mode=ceil_mode)

    (values, indices), pull = jax.vjp(pool, jnp.asarray(x))
    np.testing.assert_array_equal(values, back(want))
    np.testing.assert_array_equal(indices, back(places))
    g = draw(*values.shape, seed=1)
    want.backward(torch.tensor(np.moveaxis(g, 3, 1)))
    close(pull((jnp.asarray(g), np.zeros(indices.shape, jax.dtypes.float0)))[0], back(tx.grad))


@pytest.mark.parametrize("size", [(10, 8), (11, 9)])
@pytest.mark.parametrize("window", [2, None])
def test_unpooling(size, window):
    _, places = F.max_pool2d(image(draw(2, *size, 3)), 2, return_indices=True)
    v = draw(2, 5, 4, 3, seed=1)
    tv = image(v)
    want = F.max_unpool2d(tv, places, 2, output_size=size)

    def put(v):
        return ops.max_unpool(v, jnp.asarray(back(places), jnp.int32), output_size=size, window=window)

    got, pull = jax.vjp(put, jnp.asarray(v))
    np.testing.assert_array_equal(got, back(want))
    g = draw(*got.shape, seed=2)
    want.backward(torch.tensor(np.moveaxis(g, 3, 1)))
    np.testing.assert_array_equal(pull(jnp.asarray(g))[0], back(tv.grad))


@pytest.mark.parametrize("size", [(33, 20), (3, 5), (8, 7), (64, 56), (1, 1)])
@pytest.mark.parametrize("mode", [("bilinear", False), ("bilinear", True), ("nearest", None)])
def test_resizing(size, mode):
    x = draw(2, 8, 7, 3)
    tx = image(x)
    want = F.interpolate(tx, size, mode=mode[0], align_corners=mode[1])
    got, pull = jax.vjp(lambda x: ops.resize(x, size, method=mode[0], align_corners=bool(mode[1])), jnp.asarray(x))
    np.testing.assert_allclose(got, back(want), atol=1e-5)
    g = draw(*got.shape, seed=1)
    want.backward(torch.tensor(np.moveaxis(g, 3, 1)))
    close(pull(jnp.asarray(g))[0], back(tx.grad), 1e-5)


@pytest.mark.parametrize("old", [2, 5, 7])
def test_nearest_rounds_where_pytorch_does(old):
    x = draw(1, old, 1, 1)
    for new in range(1, 200, 3):
        want = F.interpolate(image(x), (new, 1), mode="nearest")
        np.testing.assert_array_equal(ops.resize(jnp.asarray(x), (new, 1), method="nearest"), back(want))


@pytest.mark.parametrize("size", [1, 2, 3, 6, (4, 9)])
def test_adaptive_pooling(size):
    x = draw(2, 11, 8, 3)
    tx = image(x)
    want = F.adaptive_avg_pool2d(tx, size)
    got, pull = jax.vjp(lambda x: ops.adaptive_avg_pool(x, size), jnp.asarray(x))
    close(got, back(want))
    g = draw(*got.shape, seed=1)
    want.backward(torch.tensor(np.moveaxis(g, 3, 1)))
    close(pull(jnp.asarray(g))[0], back(tx.grad))
