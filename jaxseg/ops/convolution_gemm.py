"""Convolutions and their gradients as few, large matrix products."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxseg.ops.convolution_native import Geometry, native

#: Up to so many elements the columns of a kernel's gradient are built at once, above in bands of rows...
COLUMNS = 1 << 23
#: ... of about so many elements, which stay in the cache, ...
BAND = 1 << 20
#: ... and at least so many pixels: the sum of the bands passes over all of the kernel for each.
BAND_PIXELS = 1024

#: From so many output channels on, columns times gradients fill the machine in the order in which a kernel is stored.
MANY_CHANNELS = 512

#: Up to so many channels, an image's, columns are gathered channel by channel: pieces of three numbers are slow to copy.
FEW_CHANNELS = 4

#: Up to this many taps, strided windows are sliced tap by tap; above, strides become channels first.
FEW_TAPS = 16


def fit(x: Array, geometry: Geometry) -> Array:
    """Pad ``x``, or crop it where padding is negative or rows at the end are never read."""
    edges = []
    for n, m, k, s, (before, _), r in geometry.axes():
        edges.append((before, (m - 1) * s + r * (k - 1) + 1 - n - before, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def windows(x: Array, geometry: Geometry, first: int = 1) -> list[Array]:
    """Return the view of a fitted ``x`` under every tap of the kernel, row-major: strided slices of the output's size.

    The plane's axes are ``first`` and the next.
    """
    (rows, columns), (si, sj), (ri, rj) = geometry.output_size, geometry.strides, geometry.rate
    before = (slice(None),) * first
    return [
        x[(*before, np.s_[i * ri : i * ri + (rows - 1) * si + 1 : si], np.s_[j * rj : j * rj + (columns - 1) * sj + 1 : sj])]
        for i in range(geometry.window[0])
        for j in range(geometry.window[1])
    ]


def pointwise_output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """1x1: slice, then one product."""
    (view,) = windows(fit(x, geometry), geometry)
    return _dot(view, kernel[0, 0], geometry)


def pointwise_input_gradient(g: Array, kernel: Array, geometry: Geometry) -> Array:
    """1x1: one product, then spread over the strides."""
    spread = _dot(g, kernel[0, 0].T, geometry)
    edges = []
    for n, m, _, s, (before, _), _ in geometry.axes():
        edges.append((-before, n + before - (m - 1) * s - 1, s - 1))
    return lax.pad(spread, jnp.zeros((), g.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Gather the columns under the taps, then one product."""
    return _dot(_columns(x, geometry), kernel.reshape(-1, kernel.shape[3]), geometry)


def output_by_shifts(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """One product with all taps side by side, then the sum of all, shifted: for more channels in than out. Stride 1."""
    taps, o = geometry.window[0] * geometry.window[1], kernel.shape[3]
    products = _dot(x, kernel.reshape(taps, -1, o).swapaxes(0, 1).reshape(-1, taps * o), geometry)
    parts = [shifted(products[..., t * o : (t + 1) * o], geometry, t) for t in range(taps)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def kernel_gradient(x: Array, g: Array, geometry: Geometry) -> Array:
    """Gather the columns under the taps, then one product over batch and plane; for a large plane band by band."""
    (kh, kw), c, o = geometry.window, x.shape[3], g.shape[3]
    if geometry.strides == (1, 1) and o < min(c, MANY_CHANNELS):
        # The same form with the roles of x and g exchanged: the columns are then of g, which has fewer channels.
        return lax.rev(kernel_gradient(g, x, geometry.adjoint()), (0, 1)).swapaxes(2, 3)
    if geometry.strides != (1, 1) and geometry.rate == (1, 1) and kh * kw > FEW_TAPS:
        return _strides_to_channels(x, g, geometry)
    rows, columns = geometry.output_size
    row = x.shape[0] * columns
    if row * rows * kh * kw * c > COLUMNS:
        flat = _banded(x, g, geometry, max(BAND // (row * kh * kw * c), -(-BAND_PIXELS // row)))
    elif c <= FEW_CHANNELS:
        planes = jnp.concatenate(windows(fit(x, geometry).transpose(3, 0, 1, 2), geometry, first=2)).reshape(kh * kw * c, -1)
        return lax.dot(planes, g.reshape(-1, o), precision=geometry.precision).reshape(kh, kw, c, o)
    elif o >= MANY_CHANNELS:
        return _contract(_columns(x, geometry), g, geometry).reshape(kh, kw, c, o)
    else:
        # The output's channels come first: the other way round takes 1.5 times as long where they are few.
        flat = _contract(g, _columns(x, geometry), geometry)
    return flat.reshape(o, kh, kw, c).transpose(1, 2, 3, 0)


def shifted(x: Array, geometry: Geometry, tap: int) -> Array:
    """Return what lies under a tap, zeros outside of ``x``. Stride 1."""
    edges = []
    for (n, m, _, _, (before, _), r), i in zip(geometry.axes(), divmod(tap, geometry.window[1]), strict=True):
        edges.append((before - i * r, m + i * r - before - n, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _columns(x: Array, geometry: Geometry) -> Array:
    if geometry.strides == (1, 1) and geometry.rate != (1, 1):
        # Padding for a large rate would make x many times larger.
        views = [shifted(x, geometry, t) for t in range(geometry.window[0] * geometry.window[1])]
    else:
        views = windows(fit(x, geometry), geometry)
    return views[0] if len(views) == 1 else jnp.concatenate(views, axis=3)


def _dot(x: Array, matrix: Array, geometry: Geometry) -> Array:
    return lax.dot_general(x, matrix, (((3,), (0,)), ((), ())), precision=geometry.precision)


def _contract(a: Array, b: Array, geometry: Geometry) -> Array:
    # Merged to two axes first: XLA transposes an operand with several axes to contract.
    a, b = a.reshape(-1, a.shape[3]), b.reshape(-1, b.shape[3])
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=geometry.precision)


def _banded(x: Array, g: Array, geometry: Geometry, band: int) -> Array:
    """Sum over bands of rows, so that the columns of one stay in the cache and cost little memory."""
    rows, step = geometry.output_size[0], geometry.strides[0]
    bands = -(-rows // band)
    band = -(-rows // bands)
    tall = (band - 1) * step + geometry.rate[0] * (geometry.window[0] - 1) + 1
    x = fit(x, geometry)
    x = jnp.pad(x, ((0, 0), (0, (bands - 1) * band * step + tall - x.shape[1]), (0, 0), (0, 0)))
    g = jnp.pad(g, ((0, 0), (0, bands * band - rows), (0, 0), (0, 0)))
    part = replace(geometry, size=(tall, x.shape[2]), sides=((0, 0), (0, 0)))

    def add(total: Array, n: Array) -> tuple[Array, None]:
        some = lax.dynamic_slice_in_dim(x, n * band * step, tall, 1)
        return total + _contract(lax.dynamic_slice_in_dim(g, n * band, band, 1), _columns(some, part), part), None

    shape = (g.shape[3], geometry.window[0] * geometry.window[1] * x.shape[3])
    return lax.scan(add, jnp.zeros(shape, x.dtype), jnp.arange(bands))[0]


def _folded(geometry: Geometry) -> Geometry:
    """Return the stride-1 convolution that a strided one is, once every ``stride x stride`` block of pixels is one pixel."""
    window = tuple(-(-k // s) for k, s in zip(geometry.window, geometry.strides, strict=True))
    size = tuple(m + q - 1 for m, q in zip(geometry.output_size, window, strict=True))
    return Geometry(size=(size[0], size[1]), window=(window[0], window[1]), precision=geometry.precision)


def _strides_to_channels(x: Array, g: Array, geometry: Geometry) -> Array:
    """Make every block of ``stride x stride`` pixels one pixel: few taps with more channels."""
    (si, sj), (kh, kw), folded = geometry.strides, geometry.window, _folded(geometry)
    b, c = x.shape[0], x.shape[3]
    (h, w), (qh, qw) = folded.size, folded.window
    edges = [
        (before, m * n - size - before, 0) for (size, _, _, n, (before, _), _), m in zip(geometry.axes(), (h, w), strict=True)
    ]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    x = x.reshape(b, h, si, w, sj, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, si * sj * c)
    blocks = kernel_gradient(x, g, folded).reshape(qh, qw, si, sj, c, -1).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(qh * si, qw * sj, c, -1)[:kh, :kw]


def subpixel(g: Array, kernel: Array, geometry: Geometry) -> Array:
    """Return the input's gradient of a strided convolution, a transposed convolution, as a dense one.

    Pixel ``s m + r`` of the padded input is reached by the taps ``s q + r`` from output ``m - q``: a stride-1 convolution of
    ``g`` with ``ceil(k / s)`` taps makes the ``s x s`` pixels of a block as channels. Shi et al., Real-Time Single Image and
    Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, CVPR 2016.
    """
    (si, sj), folded = geometry.strides, _folded(geometry)
    (h, w), (qh, qw) = folded.size, folded.window
    kh, kw, c, o = kernel.shape
    kernel = jnp.pad(kernel, ((0, qh * si - kh), (0, qw * sj - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(qh, si, qw, sj, c, o).transpose(0, 2, 5, 1, 3, 4).reshape(qh, qw, o, si * sj * c)
    if (qh, qw) == (1, 1):
        blocks = _dot(g, kernel[0, 0], geometry)
    else:
        full = Geometry(
            size=geometry.output_size,
            window=(qh, qw),
            sides=((qh - 1, qh - 1), (qw - 1, qw - 1)),
            precision=geometry.precision,
        )
        blocks = native(g, lax.rev(kernel, (0, 1)), face="output", geometry=full)
    x = blocks.reshape(-1, h, w, si, sj, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, h * si, w * sj, c)
    edges = [(-p, n + p - m * s, 0) for (p, _), n, m, s in zip(geometry.sides, geometry.size, (h, w), (si, sj), strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def grouped_kernel_gradient(x: Array, g: Array, geometry: Geometry) -> Array:
    """One product per tap, with the groups as its batch."""
    n = geometry.groups
    x = fit(x, geometry)
    split = g.reshape(*g.shape[:3], n, -1)
    taps = [
        lax.dot_general(
            view.reshape(*view.shape[:3], n, -1), split, (((0, 1, 2), (0, 1, 2)), ((3,), (3,))), precision=geometry.precision
        )
        for view in windows(x, geometry)
    ]
    kernel = jnp.stack(taps).transpose(0, 2, 1, 3)
    return kernel.reshape(*geometry.window, kernel.shape[1], -1)
