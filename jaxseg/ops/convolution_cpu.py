"""How a convolution and its gradients are written on the CPU: by shape, as the products that are fastest there.

XLA's CPU convolution is good forwards and slow backwards: the gradient to a 3x3 kernel takes 3 to 12 times as long as as many
products in a matrix multiplication, that of a strided or depthwise one up to 100 times as long. Large matrix products run at the
machine's speed, so every face is written as few of them.
"""

import jax.numpy as jnp
from jax import Array, lax

from jaxseg.ops import convolution_depthwise as depthwise
from jaxseg.ops import convolution_gemm as gemm
from jaxseg.ops import convolution_winograd as winograd
from jaxseg.ops.convolution_native import Geometry, native

#: Dtypes that the CPU multiplies only by way of float32.
NARROW = (jnp.bfloat16, jnp.float16)

# Where the formulations cross, measured in float32 on two cores with AVX-512 and large caches (`python -m jaxseg.benchmark ops`).
#: Winograd pays from so many channels on either side, for the output and for the gradient to the kernel.
WINOGRAD_CHANNELS, WINOGRAD_KERNEL_CHANNELS = 128, 64
#: And from so many tiles: with fewer, transforming the kernel takes most of the time.
WINOGRAD_TILES = 64
#: Gathering columns costs one pass over ``kh * kw * c`` numbers per pixel: it pays from so many output channels...
COLUMNS_CHANNELS = 768
#: ... on planes of up to so many pixels in all, where XLA's own convolution does not fill its blocks.
COLUMNS_PIXELS = 1024
#: Products first and shifts after pay from so many times more channels in than out.
SHIFTS_RATIO = 4


def face(lhs: Array, rhs: Array, *, face: str, geometry: Geometry) -> Array:
    """Return one face of the trilinear form; see :mod:`jaxseg.ops.convolution_primitive`."""
    dtype, window = lhs.dtype, geometry.window
    if dtype in NARROW:
        lhs, rhs = lhs.astype(jnp.float32), rhs.astype(jnp.float32)
    geometry, (rows, columns) = geometry.live()
    if face == "kernel":
        kernel = _kernel(lhs, rhs, geometry)
        edges = [(n.start, k - n.stop) for n, k in zip((rows, columns), window, strict=True)]
        return jnp.pad(kernel, (*edges, (0, 0), (0, 0))).astype(dtype)
    rule = {"output": _output, "input": _input}[face]
    return rule(lhs, rhs[rows, columns], geometry).astype(dtype)


def _output(x: Array, kernel: Array, geometry: Geometry) -> Array:
    c, o = x.shape[3], kernel.shape[3]
    if _is_depthwise(kernel, geometry):
        return depthwise.output(x, kernel, geometry)
    if _is_pointwise(geometry):
        return gemm.pointwise_output(x, kernel, geometry)
    if min(c, o) >= WINOGRAD_CHANNELS and _winograd_fits(x, geometry):
        return winograd.output(x, kernel, geometry)
    rows, columns = geometry.output_size
    if geometry.groups == 1 and geometry.strides == (1, 1):
        few_pixels = o >= COLUMNS_CHANNELS and x.shape[0] * rows * columns <= COLUMNS_PIXELS
        if few_pixels or (geometry.rate != (1, 1) and c <= o):
            return gemm.output(x, kernel, geometry)
        if geometry.rate != (1, 1) or c >= SHIFTS_RATIO * o:
            return gemm.output_by_shifts(x, kernel, geometry)
    return native(x, kernel, face="output", geometry=geometry)


def _input(g: Array, kernel: Array, geometry: Geometry) -> Array:
    if _is_depthwise(kernel, geometry):
        return depthwise.input_gradient(g, kernel, geometry)
    if _is_pointwise(geometry):
        return gemm.pointwise_input_gradient(g, kernel, geometry)
    if geometry.groups > 1:
        return native(g, kernel, face="input", geometry=geometry)
    if geometry.strides == (1, 1):
        if min(g.shape[3], kernel.shape[2]) >= WINOGRAD_CHANNELS and _winograd_fits(g, geometry.adjoint()):
            return winograd.input_gradient(g, kernel, geometry)
        return _output(g, lax.rev(kernel, (0, 1)).swapaxes(2, 3), geometry.adjoint())
    if geometry.rate == (1, 1):
        return gemm.subpixel(g, kernel, geometry)
    return native(g, kernel, face="input", geometry=geometry)


def _kernel(x: Array, g: Array, geometry: Geometry) -> Array:
    c, o = x.shape[3], g.shape[3]
    if geometry.groups > 1:
        if geometry.groups == c:
            return depthwise.kernel_gradient(x, g, geometry)
        return gemm.grouped_kernel_gradient(x, g, geometry)
    if min(c, o) >= WINOGRAD_KERNEL_CHANNELS and geometry.strides == (1, 1) and _winograd_fits(g, geometry.adjoint()):
        return winograd.kernel_gradient(x, g, geometry)
    return gemm.kernel_gradient(x, g, geometry)


def _winograd_fits(x: Array, geometry: Geometry) -> bool:
    if geometry.groups > 1 or geometry.window != (3, 3) or geometry.strides != (1, 1):
        return False
    (down, across), (ri, rj), (rows, columns) = winograd.tiles(geometry), geometry.rate, geometry.output_size
    used = rows * columns / (16 * down * across * ri * rj)
    return used > 0.6 and x.shape[0] * ri * rj * down * across >= WINOGRAD_TILES


def _is_depthwise(kernel: Array, geometry: Geometry) -> bool:
    return geometry.groups > 1 and kernel.shape[2] == 1


def _is_pointwise(geometry: Geometry) -> bool:
    return geometry.groups == 1 and geometry.window == (1, 1)
