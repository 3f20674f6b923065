"""A predictor whose answers a dense CRF refines, against the image as it is stored."""

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jaxseg import crf
from jaxseg.errors import InputError
from jaxseg.inference import Predictor, Samples
from jaxseg.row_blocks import Blocks, gather


@dataclasses.dataclass(frozen=True)
class RefinedPredictor(Predictor):
    """A network followed by mean field: the unary is ``-log softmax`` of its logits at the image's own size.

    Its logits are logarithms of marginals, so that whatever scores or draws a predictor's answers takes these.

    Attributes:
        parameters: of the CRF.
    """

    parameters: crf.Parameters = crf.Parameters()

    @classmethod
    def of(cls, predictor: Predictor, parameters: crf.Parameters) -> "RefinedPredictor":
        """Return the predictor with a CRF behind it."""
        return cls(predictor.config, predictor.variables, parameters)

    def stripes(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None) -> Iterator[tuple[range, Blocks]]:
        """Yield logarithms of marginals, whole images at once; of one logit, their difference between class 1 and class 0."""
        stripes = super().stripes(images, key)
        if key is not None:  # one draw of dropout: the mean of all draws is refined, not each
            yield from stripes
            return
        plain = gather(stripes, images.shape[:3])
        # On a CPU most of an image's operations run on one core, so that as many images as cores take the time of one.
        at_once = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
        with ThreadPoolExecutor(at_once) as threads:
            refined = np.stack(list(threads.map(lambda x, image: refine(x, image, self.parameters), plain, images)))
        yield range(images.shape[2]), iter([refined])

    def sample(self, image: Shaped[np.ndarray, "h w c"], *, samples: int = 20, seed: int = 0) -> Samples:
        """Segment one image with Monte-Carlo dropout, and refine the mean probabilities; the variance stays the draws' own."""
        drawn = super().sample(image, samples=samples, seed=seed)
        tiny = np.finfo(np.float32).tiny
        refined = np.exp(refine(np.log(np.maximum(drawn.probabilities, tiny)), image, self.parameters))
        entropy = -np.sum(refined * np.log(np.maximum(refined, tiny)), axis=-1)
        return Samples(refined, drawn.variance, np.maximum(entropy, 0))


def refine(
    logits: Float[np.ndarray, "h w k"], image: Shaped[np.ndarray, "h w c"], parameters: crf.Parameters
) -> Float[np.ndarray, "h w k"]:
    """Return the logarithms of the marginals that mean field makes of a network's logits.

    Args:
        logits: of any number of classes; a single one is the log odds of class 1, and stays so.
        image: uint8, uint16 or float in [0, 1].
        parameters: of the CRF; ``sigma_beta`` is in 8-bit units.
    """
    refined = -np.asarray(crf.mean_field_energy(unary_of(logits), eight_bit(image), **parameters.arguments()))
    return np.asarray(jax.nn.log_softmax(refined)) if logits.shape[-1] > 1 else refined[..., 1:] - refined[..., :1]


def unary_of(logits: Float[np.ndarray, "h w k"]) -> Float[Array, "h w k2"]:
    """Return ``-log p`` of logits; of one logit, for the classes 0 and 1."""
    both = np.concatenate([np.zeros_like(logits), logits], axis=-1) if logits.shape[-1] == 1 else logits
    return -jax.nn.log_softmax(jnp.asarray(both))


def eight_bit(image: Shaped[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w c"]:
    """Return stored values in 8-bit units, 0 to 255.

    Raises:
        InputError: for values of another type than uint8, uint16 or float.
    """
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / (np.iinfo(image.dtype).max / 255)
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32) * 255
    raise InputError(f"An image of {image.dtype}: the CRF takes uint8, uint16, or float in [0, 1].")
