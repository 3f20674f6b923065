r"""Losses without labels: the cut that a segmentation makes through its own image, and the error of an image made from it.

Xia and Kulis, W-Net: A Deep Model for Fully Unsupervised Image Segmentation, 2017, https://arxiv.org/abs/1711.08506
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxseg.errors import InputError


def soft_normalised_cut(
    logits: Float[Array, "b h w k"],
    image: Float[Array, "b h w c"],
    *,
    radius: float = 5.0,
    sigma_intensity: float = 10.0,
    sigma_position: float = 4.0,
) -> Float[Array, ""]:
    r"""Soft normalised cut: how much of each segment's similarity to the image leaves the segment; the mean over the batch.

    .. math:: J = K - \sum_k \frac{\sum_{ij} w_{ij} q_{ik} q_{jk}}{\sum_{ij} w_{ij} q_{ik}}, \qquad
              w_{ij} = e^{-\|F_i - F_j\|^2 / \sigma_I^2} \, e^{-\|X_i - X_j\|^2 / \sigma_X^2} \ \text{if}\ \|X_i - X_j\| < r,
              \ \text{else}\ 0

    with the probabilities ``q = softmax(logits)``, the colours ``F`` and the positions ``X`` of pixels (the hard cut
    is Shi and Malik's, Normalized cuts and image segmentation, 2000). Between 0, segments that share no neighbours,
    and ``K``; segments that say nothing (equal probabilities, or one segment for all) have ``K - 1``. The order of the segments
    does not matter, so there is nothing to tell which is which.

    There are pairs of pixels inside the image alone: its border cuts nothing. The image is data: it gets no gradient. Memory
    is a few arrays of the logits' size whatever the radius. It has reverse-mode derivatives (``jax.grad``) alone.

    Args:
        logits: unnormalised scores of ``k >= 2`` segments.
        image: colours in 8-bit units, 0 to 255, which ``sigma_intensity`` is measured in; of all channels together.
        radius: of the neighbourhood, in pixels; the paper's 5 has 69 pixels.
        sigma_intensity: scale of colour differences.
        sigma_position: scale of distances, in pixels.

    Raises:
        InputError: sizes that differ, a single segment, or an argument that is not positive.

    >>> import jax.numpy as jnp
    >>> image = jnp.array([0.0, 0.0, 255.0, 255.0]).reshape(1, 1, 4, 1)
    >>> logits = jnp.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]]).reshape(1, 1, 4, 2)
    >>> f"{soft_normalised_cut(logits, image):.2f}", f"{soft_normalised_cut(logits[:, :, jnp.array([0, 2, 1, 3])], image):.2f}"
    ('0.00', '0.97')
    """
    if logits.shape[:3] != image.shape[:3] or logits.shape[-1] < 2:
        raise InputError(
            f"Logits of shape {logits.shape} and an image of shape {image.shape}: a cut needs both at one size, and two segments "
            "or more."
        )
    for name, value in (("radius", radius), ("sigma_intensity", sigma_intensity), ("sigma_position", sigma_position)):
        if value <= 0:
            raise InputError(f"{name}={value} must be positive.")
    # Segments first, pixels last: the inner loops of a CPU are then rows of the image, not a handful of segments.
    colours = jnp.moveaxis(lax.stop_gradient(image).astype(jnp.float32), -1, 0) / sigma_intensity
    segments = jnp.moveaxis(jax.nn.softmax(logits.astype(jnp.float32)), -1, 0)
    within, degree = _associations(segments, colours, jnp.asarray(_position_weights(radius, sigma_position)))
    volume = jnp.einsum("kbhw,bhw->kb", segments, degree, precision=lax.Precision.HIGHEST)
    # A segment of no pixels has the share 0, which it also approaches: its association is of second order.
    shares = within / jnp.maximum(volume, 1e-6)
    return jnp.mean(logits.shape[-1] - jnp.sum(shares, axis=0))


def reconstruction_error(reconstruction: Float[Array, "b h w c"], image: Float[Array, "b h w c"]) -> Float[Array, ""]:
    r"""Mean squared error of an image that was made from its segmentation.

    .. math:: J = \frac{1}{n} \sum_n (y_n - x_n)^2

    over all values of the batch. The paper's is the sum over an image, which grows with its size.

    Args:
        reconstruction: the image that was made.
        image: the image that went in, of any scale; normalised ones give an error of about 1 for the mean colour.

    Raises:
        InputError: shapes that differ.

    >>> import jax.numpy as jnp
    >>> f"{reconstruction_error(jnp.zeros((1, 1, 2, 1)), jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)):.1f}"
    '2.5'
    """
    if reconstruction.shape != image.shape:
        raise InputError(
            f"A reconstruction of shape {reconstruction.shape} of an image of shape {image.shape}: they must be equal."
        )
    return jnp.mean(jnp.square(reconstruction.astype(jnp.float32) - image.astype(jnp.float32)))


def _position_weights(radius: float, sigma: float) -> Float[np.ndarray, "side side"]:
    """Return the weights of the offsets around a pixel, 0 where they are ``radius`` away or more."""
    reach = int(np.ceil(radius)) - 1
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    squares = steps[:, None] ** 2 + steps[None] ** 2
    return np.where(squares < radius**2, np.exp(-squares / sigma**2), 0.0).astype(np.float32)


@jax.custom_vjp
def _associations(
    segments: Float[Array, "k b h w"], colours: Float[Array, "c b h w"], positions: Float[Array, "side side"]
) -> tuple[Float[Array, "k b"], Float[Array, "b h w"]]:
    """Return ``sum_ij w_ij q_ik q_jk`` of each segment, and the degree ``sum_j w_ij`` of each pixel."""
    return _associations_forward(segments, colours, positions)[0]


def _associations_forward(segments: Array, colours: Array, positions: Array) -> tuple[tuple[Array, Array], Array]:
    ones = jnp.ones_like(segments[:1])
    spread = _spread(jnp.concatenate([segments, ones]), colours, positions)
    within = jnp.einsum("kbhw,kbhw->kb", segments, spread[:-1], precision=lax.Precision.HIGHEST)
    return (within, spread[-1]), spread[:-1]


def _associations_backward(spread: Array, cotangents: tuple[Array, Array]) -> tuple[Array, None, None]:
    # The weights are symmetric: q^T W q has the gradient 2 W q, which the forward pass has computed.
    return 2.0 * cotangents[0][:, :, None, None] * spread, None, None


_associations.defvjp(_associations_forward, _associations_backward)


def _spread(
    maps: Float[Array, "k b h w"], colours: Float[Array, "c b h w"], positions: Float[Array, "side side"]
) -> Float[Array, "k b h w"]:
    """Return ``sum_j w_ij m_j`` of maps, by shifting them row by row; what is outside the image is 0, so its weight is too."""
    height, width = maps.shape[-2:]
    reach = positions.shape[0] // 2
    around = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    wide_maps, wide_colours = jnp.pad(maps, around), jnp.pad(colours, around)

    def add_row(total: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        top, weights = row
        map_rows, colour_rows = (lax.dynamic_slice_in_dim(x, top, height, axis=2) for x in (wide_maps, wide_colours))
        columns = [np.s_[..., left : left + width] for left in range(2 * reach + 1)]
        # A sum of channels written out is fused with what follows, which a reduction over their axis is not: 3.5 times faster.
        apart = [sum(jnp.square(own - other[part]) for own, other in zip(colours, colour_rows)) for part in columns]
        likeness = weights[:, None, None, None] * jnp.exp(-jnp.stack(apart))
        return total + sum(alike[None] * map_rows[part] for alike, part in zip(likeness, columns)), None

    rows = jnp.arange(2 * reach + 1), positions
    return lax.scan(add_row, jnp.zeros_like(maps), rows)[0]
