"""Pure array functions under every network: convolutions, pooling with indices, resizing, cropping, attention."""

from jaxseg.ops.adaptive import adaptive_avg_pool
from jaxseg.ops.attention import attention, attention_weights
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.crop import centre_crop
from jaxseg.ops.pooling import max_pool, max_pool_with_argmax, max_unpool
from jaxseg.ops.resize import resize, source_pixels
from jaxseg.ops.transposed import bilinear_kernel, conv_transpose2d

__all__ = [
    "adaptive_avg_pool",
    "attention",
    "attention_weights",
    "bilinear_kernel",
    "centre_crop",
    "conv2d",
    "conv_transpose2d",
    "max_pool",
    "max_pool_with_argmax",
    "max_unpool",
    "resize",
    "source_pixels",
]
