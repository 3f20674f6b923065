"""Where a network's grid of features lies on the image, and how its logits get back to the image's pixels.

Convolutions and poolings with odd kernels, padded alike on both sides, put feature ``i`` of a map of stride ``s`` on pixel ``s
i`` exactly. So an image of sides ``s k + 1`` (321, 473, 513, 713, 769 in the papers) has features on its four corners, and
bilinear enlargement with aligned corners puts every logit where its feature lay. An image of another size is extended to the
next such one by zeros, the mean colour after normalisation, at the right and the bottom, and the logits are cropped. Averages
over the whole map see these zeros too, up to a stride less one of them.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.types import Image


def extend(image: Image, stride: int, *, align_corners: bool = True) -> Float[Array, "b h2 w2 c"]:
    """Extend an image by zeros, at the right and the bottom, to sides ``stride * k + 1``.

    Args:
        image: of any size.
        stride: of the network's last map.
        align_corners: ``False`` returns the image as it is, for networks that enlarge with half-pixel centres.
    """
    if not align_corners:
        return image
    rows, columns = ((1 - side) % stride for side in image.shape[1:3])
    return jnp.pad(image, ((0, 0), (0, rows), (0, columns), (0, 0)))


def enlarge(
    logits: Float[Array, "b gh gw k"],
    extended: Float[Array, "b h2 w2 c"],
    size: tuple[int, int],
    *,
    align_corners: bool = True,
) -> Float[Array, "b h w k"]:
    """Enlarge logits bilinearly to the extended image, and crop them to the image.

    Args:
        logits: of the network's grid, any float dtype.
        extended: what :func:`extend` returned.
        size: height and width of the image before.
        align_corners: as given to :func:`extend`.

    Returns:
        Float32 logits.
    """
    whole = (extended.shape[1], extended.shape[2])
    return ops.resize(logits.astype(jnp.float32), whole, align_corners=align_corners)[:, : size[0], : size[1]]


def rates_at(atrous_rates: tuple[int, ...], output_stride: int, *, given_at: int) -> tuple[int, ...]:
    """Return rates that are given for one output stride, for another: so the same pixels apart (DeepLab v3, section 3.3).

    Args:
        atrous_rates: each at least 1.
        output_stride: of the map that the taps are spread over.
        given_at: the output stride that the rates are given for; half of it doubles them.

    Raises:
        InputError: if a rate is below 1, or would not be whole.
    """
    if any(rate < 1 for rate in atrous_rates):
        raise InputError(f"atrous_rates={atrous_rates} must each be at least 1.")
    scaled = tuple(rate * given_at // output_stride for rate in atrous_rates)
    if any(rate * output_stride != given * given_at for rate, given in zip(scaled, atrous_rates, strict=True)):
        raise InputError(
            f"atrous_rates={atrous_rates} are those of output stride {given_at}, and scaled by {given_at}/{output_stride} they "
            f"are not whole: give multiples of {output_stride // math.gcd(given_at, output_stride)}."
        )
    return scaled
