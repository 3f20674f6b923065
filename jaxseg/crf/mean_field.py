r"""Mean field inference in the fully connected CRF.

Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011,
https://arxiv.org/abs/1210.5644

.. math:: E(x) = \sum_i \psi_i(x_i) + \sum_{i<j} \mu(x_i, x_j) \, k(i, j)

with the kernels of :class:`jaxseg.crf.Parameters`. An iteration is ``Q_i(l) = softmax_l(-psi_i(l) - sum_l' mu(l, l') sum_j
k(i, j) Q_j(l'))``, from ``Q = softmax(-psi)``. As in the authors' code and
in pydensecrf, the sum over ``j`` includes the pixel itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from jaxseg.crf.kernels import Filter, Kernel, build_kernel, default_filter
from jaxseg.crf.parameters import Parameters
from jaxseg.crf.separable import Separable
from jaxseg.errors import InputError

#: Image rows in one piece of a softmax: compiled over the whole image, XLA:CPU computes its input anew for every class.
ROWS = 8

_SPATIAL = Separable()
_DEFAULT = Parameters()


def mean_field(
    unary: Float[Array | np.ndarray, "h w k"],
    image: Shaped[Array | np.ndarray, "h2 w2 c"],
    *,
    w1: float | Float[Array, ""] = _DEFAULT.w1,
    sigma_alpha: float | Float[Array, ""] = _DEFAULT.sigma_alpha,
    sigma_beta: float | Float[Array, ""] = _DEFAULT.sigma_beta,
    w2: float | Float[Array, ""] = _DEFAULT.w2,
    sigma_gamma: float | Float[Array, ""] = _DEFAULT.sigma_gamma,
    iterations: int = _DEFAULT.iterations,
    normalisation: str = _DEFAULT.normalisation,
    compatibility: Float[Array | np.ndarray, "..."] | None = None,
    spatial_compatibility: Float[Array | np.ndarray, "..."] | None = None,
    mask: Bool[Array | np.ndarray, "h3 w3"] | None = None,
    filter: Filter | None = None,
    spatial_filter: Filter = _SPATIAL,
) -> Float[Array, "h w k"]:
    """Return the marginals of every pixel's class: labels that agree with the unary, with their neighbours and with colours.

    Works under ``jit``, ``vmap`` and ``grad``. Derivatives go to the unary, the weights and the compatibilities; the image and
    the standard deviations get none. The defaults are those of DeepLab v1 (:data:`jaxseg.crf.SETS` has others:
    ``mean_field(unary, image, **SETS["deeplab-v2-vgg16"].arguments())``).

    Args:
        unary: energies, ``-log p`` for a classifier's probabilities. Where nothing is known of a pixel, the same for all classes:
            it then takes its marginals from the others (:func:`unary_from_labels` does so for void pixels).
        image: RGB from 0 to 255, of any dtype, not normalised; also other numbers of channels.
        w1: weight of the bilateral kernel.
        sigma_alpha: its standard deviation in space, in pixels.
        sigma_beta: its standard deviation in colour, in 8-bit units.
        w2: weight of the spatial kernel.
        sigma_gamma: its standard deviation in pixels.
        iterations: mean field updates, a fixed number.
        normalisation: of each kernel ``K`` with the row sums ``D``: ``symmetric`` is ``D^-1/2 K D^-1/2``, ``before`` ``K D^-1``,
            ``after`` ``D^-1 K``, ``none`` ``K``.
        compatibility: the penalty ``mu(l, l')`` for label ``l`` beside ``l'``, of shape ``(k, k)``, used as it is (pydensecrf
            makes matrices symmetric), or ``(k,)`` for a diagonal. ``None`` is Potts, ``1 - identity``, the same as
            minus the identity, since softmax sees no constant.
        spatial_compatibility: of the spatial kernel, if it has one of its own.
        mask: which pixels there are, where images are padded. Others neither send nor get messages; their marginals are
            ``softmax(-unary)``, and the rest has those of the image without them.
        filter: of the bilateral kernel; ``default_filter(normalisation)`` unless given.
        spatial_filter: of the spatial kernel.

    Raises:
        InputError: shapes that differ, an unknown normalisation, or what a filter cannot do.
    """
    return _marginals(
        mean_field_energy(
            unary,
            image,
            w1=w1,
            sigma_alpha=sigma_alpha,
            sigma_beta=sigma_beta,
            w2=w2,
            sigma_gamma=sigma_gamma,
            iterations=iterations,
            normalisation=normalisation,
            compatibility=compatibility,
            spatial_compatibility=spatial_compatibility,
            mask=mask,
            filter=filter,
            spatial_filter=spatial_filter,
        )
    )


def mean_field_energy(
    unary: Float[Array | np.ndarray, "h w k"],
    image: Shaped[Array | np.ndarray, "h2 w2 c"],
    *,
    w1: float | Float[Array, ""] = _DEFAULT.w1,
    sigma_alpha: float | Float[Array, ""] = _DEFAULT.sigma_alpha,
    sigma_beta: float | Float[Array, ""] = _DEFAULT.sigma_beta,
    w2: float | Float[Array, ""] = _DEFAULT.w2,
    sigma_gamma: float | Float[Array, ""] = _DEFAULT.sigma_gamma,
    iterations: int = _DEFAULT.iterations,
    normalisation: str = _DEFAULT.normalisation,
    compatibility: Float[Array | np.ndarray, "..."] | None = None,
    spatial_compatibility: Float[Array | np.ndarray, "..."] | None = None,
    mask: Bool[Array | np.ndarray, "h3 w3"] | None = None,
    filter: Filter | None = None,
    spatial_filter: Filter = _SPATIAL,
) -> Float[Array, "h w k"]:
    """Return energies of which the marginals of :func:`mean_field` are the softmax, with the sign of the unary.

    Their negatives are logits: for a loss, or whatever else wants logarithms. Arguments and errors are those of
    :func:`mean_field`.
    """
    _check(unary, image, mask, normalisation, iterations)
    if compatibility is not None and spatial_compatibility is None:
        spatial_compatibility = compatibility
    unary, image, mask = jnp.asarray(unary), jnp.asarray(image), None if mask is None else jnp.asarray(mask)
    colours = image.astype(jnp.float32) / sigma_beta
    filter = default_filter(normalisation) if filter is None else filter
    bilateral = build_kernel(colours, sigma_alpha, mask, filter=filter, normalisation=normalisation)
    spatial = build_kernel(colours[..., :0], sigma_gamma, mask, filter=spatial_filter, normalisation=normalisation)
    penalties = (_penalty(w1, compatibility, unary.shape[-1]), _penalty(w2, spatial_compatibility, unary.shape[-1]))
    return iterate(unary.astype(jnp.float32), (bilateral, spatial), penalties, iterations=iterations)


@partial(jax.jit, static_argnames="iterations")
def iterate(
    unary: Float[Array, "h w k"],
    kernels: tuple[Kernel, ...],
    penalties: tuple[Float[Array, "..."], ...],
    *,
    iterations: int,
) -> Float[Array, "h w k"]:
    """Return the energies after so many updates; see :func:`mean_field_energy`.

    Args:
        unary: energies.
        kernels: from :func:`build_kernel`.
        penalties: of each kernel: a number or ``(k,)``, by which the sums of the same label are multiplied, or ``(k, k)``.
        iterations: updates.
    """

    def update(sums: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], None]:
        q = _by_rows(lambda unary, *sums: jax.nn.softmax(-_energy(unary, sums, penalties)), unary, *sums)
        return tuple(kernel(q) for kernel in kernels), None

    nothing = tuple(jnp.zeros_like(unary) for _ in kernels)
    return _energy(unary, lax.scan(update, nothing, None, length=iterations)[0], penalties)


def _energy(unary: Array, sums: tuple[Array, ...], penalties: tuple[Array, ...]) -> Array:
    for own, penalty in zip(sums, penalties):
        unary = unary + (own @ penalty.T if penalty.ndim == 2 else penalty.reshape(1, 1, -1) * own)
    return unary


def _by_rows(function: Callable[..., Array], *maps: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
    """Apply a function of each pixel to a few rows of the image at a time."""
    height, *rest = maps[0].shape
    pieces = [jnp.pad(x, ((0, -height % ROWS), (0, 0), (0, 0))).reshape(-1, ROWS, *rest) for x in maps]
    return lax.map(lambda piece: function(*piece), tuple(pieces)).reshape(-1, *rest)[:height]


_marginals = jax.jit(lambda energy: _by_rows(lambda x: jax.nn.softmax(-x), energy))


def _penalty(weight: float | Array, compatibility: Array | np.ndarray | None, classes: int) -> Float[Array, "..."]:
    if compatibility is None:
        return -jnp.asarray(weight, jnp.float32)
    if compatibility.shape not in ((classes,), (classes, classes)):
        raise InputError(
            f"A compatibility of shape {compatibility.shape} for {classes} classes: give ({classes}, {classes}), or "
            f"({classes},) for a diagonal."
        )
    return weight * jnp.asarray(compatibility, jnp.float32)


def _check(unary: Any, image: Any, mask: Any, normalisation: str, iterations: int) -> None:
    if unary.shape[:2] != image.shape[:2] or (mask is not None and mask.shape != unary.shape[:2]):
        raise InputError(
            f"A unary of shape {unary.shape}, an image of shape {image.shape}"
            + ("" if mask is None else f" and a mask of shape {mask.shape}")
            + ": their heights and widths must be equal."
        )
    Parameters(normalisation=normalisation, iterations=iterations)


def unary_from_labels(
    labels: Shaped[Array | np.ndarray, "h w"], num_classes: int, *, certainty: float = 0.7
) -> Float[Array, "h w k"]:
    """Return the unary energies of given labels, which are right with a probability of ``certainty``.

    Args:
        labels: class indices; whatever is no class, as VOID, says nothing: all classes are alike.
        num_classes: of the energies.
        certainty: above ``1 / num_classes``, below 1. The rest is shared by the other classes.

    Raises:
        InputError: for another certainty.
    """
    if not 1 / num_classes < certainty < 1:
        raise InputError(f"certainty={certainty} must lie between 1 / num_classes = {1 / num_classes:.3g} and 1.")
    labels = jnp.asarray(labels).astype(jnp.int32)
    own = labels[:, :, None] == jnp.arange(num_classes)[None, None]
    p = jnp.where(own, certainty, (1 - certainty) / (num_classes - 1))
    return -jnp.log(jnp.where(jnp.any(own, axis=-1, keepdims=True), p, 1 / num_classes))
