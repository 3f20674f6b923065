"""Calibration error: whether the network's confidence can be believed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxseg.errors import InputError
from jaxseg.metrics import wide
from jaxseg.types import VOID, Labels

#: Confidences are summed in units of 2^-16, in bytes: exactly, hence in any order.
_UNIT = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CalibrationError:
    r"""Expected calibration error: how far confidence is from accuracy, in the mean over pixels.

    .. math:: ECE = \sum_m \frac{n_m}{n} \, |\mathrm{accuracy}_m - \mathrm{confidence}_m|

    over bins of equal width of the confidence, the probability of the predicted class. Guo et al., On calibration of modern
    neural networks, 2017, section 2. Void pixels count nowhere.

    A pytree, like :class:`jaxseg.metrics.ConfusionMatrix`.

    Attributes:
        pixels: per bin, their number.
        hits: per bin, the number that were predicted right.
        confidence: per bin, the sum of confidences.

    >>> logits = jnp.log(jnp.array([[[[0.8, 0.2], [0.8, 0.2]]]]))
    >>> error = CalibrationError.empty().update(logits, jnp.array([[[0, 1]]]))
    >>> f"{error.scores()['calibration_error']:.2f}"  # 80 % sure, 50 % right
    '0.30'
    """

    pixels: wide.Wide
    hits: wide.Wide
    confidence: wide.Wide

    @classmethod
    def empty(cls, num_bins: int = 15) -> "CalibrationError":
        """Return the error of no pixels.

        Raises:
            InputError: there is no bin.
        """
        if num_bins < 1:
            raise InputError(f"num_bins={num_bins} must be at least 1; 15 is customary.")
        return cls(*(wide.zeros(num_bins) for _ in range(3)))

    def update(self, logits: Float[Array, "b h w k"], labels: Labels) -> "CalibrationError":
        """Return the error with the pixels of a batch added.

        Args:
            logits: unnormalised scores; one channel is a binary problem.
            labels: class indices or VOID.

        Raises:
            InputError: the shapes do not belong together.
        """
        if logits.shape[:-1] != labels.shape:
            raise InputError(
                f"Logits of shape {logits.shape} and labels of shape {labels.shape} differ in batch, height or width."
            )
        logits = logits.astype(jnp.float32)
        if logits.shape[-1] == 1:
            logits = jnp.concatenate([jnp.zeros_like(logits), logits], -1)
        confidence = 1 / jnp.sum(jnp.exp(logits - jnp.max(logits, -1, keepdims=True)), -1)
        hit = jnp.argmax(logits, -1) == labels.astype(jnp.int32)
        pixels, hits, sums = jax.vmap(self._of_image)(confidence, hit, labels != VOID)
        return self._add(type(self)(*(wide.total(each, _sum_images) for each in (pixels, hits, sums))))

    def merge(self, other: "CalibrationError") -> "CalibrationError":
        """Return the error of the pixels of both.

        Raises:
            InputError: the bins differ.
        """
        if self.pixels.low.shape != other.pixels.low.shape:
            raise InputError(f"Calibration errors of {len(self.pixels.low)} and {len(other.pixels.low)} bins do not add up.")
        return self._add(other)

    def scores(self) -> dict[str, float | list[float]]:
        """Return ``calibration_error`` and, for a reliability diagram, per bin its accuracy, confidence and share of the pixels.

        NaN stands for no pixels.
        """
        pixels, hits, sums = (wide.to_numpy(each).astype(np.float64) for each in (self.pixels, self.hits, self.confidence))
        some = np.where(pixels > 0, pixels, np.nan)
        accuracy, confidence = hits / some, sums / 2.0**_UNIT / some
        total = pixels.sum()
        error = np.nansum(pixels * np.abs(accuracy - confidence)) / total if total else np.nan
        return {
            "calibration_error": float(error),
            "bin_accuracy": accuracy.tolist(),
            "bin_confidence": confidence.tolist(),
            "bin_share": (pixels / total if total else some).tolist(),
        }

    def _add(self, other: "CalibrationError") -> "CalibrationError":
        pairs = zip((self.pixels, self.hits, self.confidence), (other.pixels, other.hits, other.confidence))
        return type(self)(*(wide.add(a, b) for a, b in pairs))

    def _of_image(self, confidence: Array, hit: Array, valid: Array) -> tuple[wide.Wide, wide.Wide, wide.Wide]:
        """Count one image of at most 2^24 pixels, so that sums of bytes fit in a word."""
        num_bins = self.pixels.low.shape[-1]
        bins = jnp.clip((confidence * num_bins).astype(jnp.int32), 0, num_bins - 1).ravel()
        units = jnp.round(confidence * 2.0**_UNIT).astype(jnp.uint32).ravel()

        def count(amounts: Array) -> Array:
            return jnp.zeros(num_bins, jnp.uint32).at[bins].add(jnp.where(valid.ravel(), amounts, 0))

        ones = jnp.ones(bins.shape, jnp.uint32)
        byte_sums = [wide.from_small(count((units >> shift) & 0xFF), shift) for shift in (0, 8, 16)]
        sums = wide.add(wide.add(byte_sums[0], byte_sums[1]), byte_sums[2])
        return wide.from_small(count(ones)), wide.from_small(count(jnp.where(hit.ravel(), ones, 0))), sums


def _sum_images(words: Array) -> Array:
    return jnp.sum(words, 0, dtype=jnp.uint32)
