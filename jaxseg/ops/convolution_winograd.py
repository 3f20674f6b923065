"""3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3): 36 products make 16 pixels, instead of 144.

``Y = A' [(G k G') * (B' x B)] A`` for every tile of 4x4 pixels, the element-wise product summed over channels: 36 independent
matrix products over all tiles. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4. The
gradient to the kernel is ``G' [(B' x B) * (A g A')] G``, summed over tiles.

The transforms of kernels and outputs are one product with the Kronecker square of their matrix. That of the input would then read
each pixel 2.25 times: it is two passes, one per axis, each a fused loop that writes a stack of six weighted sums of slices, over
axes merged to three: with more, XLA:CPU compiles and runs it several times as slowly.

In float32 the result is off by about 1e-5 of its range, a direct sum by about 1e-6.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxseg.ops.convolution_gemm import fit
from jaxseg.ops.convolution_native import Geometry

B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def tiles(geometry: Geometry) -> tuple[int, int]:
    """Return how many 4x4 tiles cover the output, down and across, of one phase of the rate."""
    rows, columns = (-(-n // (4 * r)) for n, r in zip(geometry.output_size, geometry.rate, strict=True))
    return rows, columns


def output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolve."""
    return _join(_filtered(x, _transformed(kernel, G), 1, geometry), geometry)


def input_gradient(g: Array, kernel: Array, geometry: Geometry) -> Array:
    """Return the gradient to the input: convolve with the flipped kernel."""
    geometry = geometry.adjoint()
    return _join(_filtered(g, _transformed(kernel, G[:, ::-1]), 2, geometry), geometry)


def kernel_gradient(x: Array, g: Array, geometry: Geometry) -> Array:
    """Return the gradient to the kernel.

    Either ``x`` or ``g`` is tiled and the other spread. This tiles ``g``, as :func:`input_gradient` does, so that XLA does it
    once; with ``x`` tiled as in :func:`output`, XLA would keep that, twice as large as ``x``, from the forward pass.
    """
    geometry = geometry.adjoint()
    down, across = tiles(geometry)
    tiled = _tile(_phases(fit(g, geometry), geometry, 2), down, across)
    spread = _spread(_phases(x, geometry, 0), down, across)
    c, o = spread.shape[2], tiled.shape[2]
    products = lax.dot_general(spread, tiled, (((1,), (1,)), ((0,), (0,))))
    matrix = np.kron(G[:, ::-1], G[:, ::-1]).astype(x.dtype)
    return jnp.dot(matrix.T, products.reshape(36, c * o)).reshape(3, 3, c, o)


def _transformed(kernel: Array, matrix: np.ndarray) -> Array:
    c, o = kernel.shape[2:]
    return jnp.dot(np.kron(matrix, matrix).astype(kernel.dtype), kernel.reshape(9, c * o)).reshape(36, c, o)


def _filtered(x: Array, weights: Array, contract: int, geometry: Geometry) -> Array:
    down, across = tiles(geometry)
    x = _phases(fit(x, geometry), geometry, 2)
    products = lax.dot_general(_tile(x, down, across), weights, (((2,), (contract,)), ((0,), (0,))))
    return _untile(products, x.shape[0], down, across)


def _phases(x: Array, geometry: Geometry, overlap: int) -> Array:
    """Pad to whole tiles and make each of the ``rate x rate`` interleaved planes, which are convolved plainly, an image."""
    (ri, rj), (down, across) = geometry.rate, tiles(geometry)
    h, w = 4 * down + overlap, 4 * across + overlap
    edges = [(0, 0, 0), (0, h * ri - x.shape[1], 0), (0, w * rj - x.shape[2], 0), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    if (ri, rj) == (1, 1):
        return x
    return x.reshape(-1, h, ri, w, rj, x.shape[3]).transpose(0, 2, 4, 1, 3, 5).reshape(-1, h, w, x.shape[3])


def _join(x: Array, geometry: Geometry) -> Array:
    """Undo :func:`_phases`."""
    (ri, rj), (rows, columns), (_, h, w, c) = geometry.rate, geometry.output_size, x.shape
    if (ri, rj) != (1, 1):
        x = x.reshape(-1, ri, rj, h, w, c).transpose(0, 3, 1, 4, 2, 5).reshape(-1, h * ri, w * rj, c)
    return x[:, :rows, :columns]


def _tile(x: Array, down: int, across: int) -> Array:
    """``B' x B``: ``(b, 4 down + 2, 4 across + 2, c)`` to ``(36, b down across, c)``."""
    b, h, _, c = x.shape
    x = _mix(B, [x[:, :, j : j + 4 * across - 3 : 4] for j in range(6)], 0).reshape(6 * b, h, across * c)
    return _mix(B, [x[:, i : i + 4 * down - 3 : 4] for i in range(6)], 0).reshape(36, b * down * across, c)


def _untile(products: Array, b: int, down: int, across: int) -> Array:
    """``A' m A``: ``(36, b down across, o)`` to ``(b, 4 down, 4 across, o)``."""
    o = products.shape[2]
    pixels = jnp.dot(np.kron(A, A).astype(products.dtype), products.reshape(36, -1))
    return pixels.reshape(4, 4, b * down, across, o).transpose(2, 0, 3, 1, 4).reshape(b, 4 * down, 4 * across, o)


def _spread(g: Array, down: int, across: int) -> Array:
    """``A g A'``: ``(b, 4 down, 4 across, o)`` to ``(36, b down across, o)``."""
    b, o = g.shape[0], g.shape[3]
    g = g.reshape(b * 4 * down * across, 4, o)
    g = _mix(A.T, [g[:, j] for j in range(4)], 0).reshape(6 * b * down, 4, across * o)
    return _mix(A.T, [g[:, i] for i in range(4)], 0).reshape(36, b * down * across, o)


def _mix(matrix: np.ndarray, parts: list[Array], axis: int) -> Array:
    """Stack the sums of ``parts`` weighted by each row of ``matrix``."""
    return jnp.stack([_weighted(row, parts) for row in matrix], axis)


def _weighted(row: np.ndarray, parts: list[Array]) -> Array:
    total = None
    for weight, part in zip(row, parts, strict=True):
        if weight:
            term = part if weight == 1 else part * part.dtype.type(weight)
            total = term if total is None else total + term
    assert total is not None
    return total
