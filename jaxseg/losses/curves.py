"""Each loss of one foreground pixel as a function of the probability it is given: the numbers of a picture."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxseg.errors import InputError
from jaxseg.losses.hard_pixels import focal, ohem_cross_entropy
from jaxseg.losses.lovasz import lovasz_hinge, lovasz_softmax
from jaxseg.losses.pixelwise import balanced_cross_entropy, cross_entropy, weighted_cross_entropy
from jaxseg.losses.regions import dice, jaccard, tversky

#: What is shown unless said otherwise: a label for the legend and a loss.
SHOWN: Mapping[str, Callable] = {
    "cross entropy": cross_entropy,
    "weighted cross entropy, beta = 2": functools.partial(weighted_cross_entropy, beta=2.0),
    "balanced cross entropy, beta = 0.8": functools.partial(balanced_cross_entropy, beta=0.8),
    "focal, alpha = 0.5, gamma = 2": functools.partial(focal, alpha=0.5),
    "OHEM cross entropy": functools.partial(ohem_cross_entropy, min_kept=0.0),
    "Dice": dice,
    "Tversky, beta = 0.3": functools.partial(tversky, beta=0.3),
    "focal Tversky, beta = 0.3, gamma = 4/3": functools.partial(tversky, beta=0.3, gamma=4 / 3),
    "Jaccard": jaccard,
    "Lovász-softmax": lovasz_softmax,
    "Lovász hinge": lovasz_hinge,
}


def curves(
    losses: Mapping[str, Callable] = SHOWN, *, points: int = 199
) -> tuple[Float[np.ndarray, " points"], dict[str, Float[np.ndarray, " points"]]]:
    """Return probabilities ``q`` between 0 and 1 and, by name, each loss of a single pixel of class 1 that is given ``q``.

    Raises:
        InputError: there is no point to compute.

    >>> q, values = curves({"cross entropy": cross_entropy}, points=3)
    >>> q.tolist(), [f"{value:.2f}" for value in values["cross entropy"]]
    ([0.25, 0.5, 0.75], ['1.39', '0.69', '0.29'])
    """
    if points < 1:
        raise InputError(f"points={points} must be at least 1.")
    q = np.arange(1, points + 1) / (points + 1)
    logits = jax.scipy.special.logit(jnp.asarray(q, jnp.float32)).reshape(-1, 1, 1, 1, 1)
    label = jnp.ones((1, 1, 1), jnp.int32)
    return q, {
        name: np.asarray(jax.jit(jax.vmap(lambda x, loss=loss: loss(x, label)))(logits), float) for name, loss in losses.items()
    }
