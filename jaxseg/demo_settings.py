"""How the demo page is asked to segment an image, and what it refuses to do."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxseg import crf
from jaxseg.data.limits import max_pixels
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.refinement import RefinedPredictor

#: Scales that the page offers, beside those of the run.
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)

#: Pixels of the largest image that is refined: mean field needs about 600 bytes for each.
CRF_PIXELS = 2**22

#: The choice of no CRF.
OFF = "off"

#: What each number of the CRF's energy is, and from where to where the page lets it go.
CRF_FIELDS = {
    "w1": ("colour weight", 0, 100),
    "sigma_alpha": ("its reach in pixels", 0.1, 1000),
    "sigma_beta": ("its reach in colour", 0.1, 255),
    "w2": ("smoothness weight", 0, 100),
    "sigma_gamma": ("its reach in pixels", 0.1, 1000),
    "iterations": ("of mean field", 0, 50),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the page asks for an image to be segmented.

    Attributes:
        scales: of the copies whose probabilities are averaged.
        flip: whether mirrored copies are averaged too.
        parameters: of the dense CRF behind the network; ``None`` for none.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    parameters: crf.Parameters | None = None

    def apply(self, predictor: Predictor) -> Predictor:
        """Return a predictor that does as is asked, with the same network.

        Raises:
            InputError: without a scale, or with one that is not above 0.
        """
        config = dataclasses.replace(predictor.config, scales=self.scales, flip=self.flip)
        predictor = dataclasses.replace(predictor, config=config)
        return predictor if self.parameters is None else RefinedPredictor.of(predictor, self.parameters)


def check_work(name: str, size: tuple[int, int], settings: Settings) -> None:
    """Refuse what would keep the page, and whoever waits for it, busy for too long, or would not fit into memory.

    Args:
        name: of the image.
        size: its height and width.
        settings: what is to be done with it.

    Raises:
        InputError: for an image that a scale makes larger than :func:`jaxseg.data.limits.max_pixels` allows, or that is to be
            refined and has more pixels than :data:`CRF_PIXELS`.
    """
    pixels, largest = size[0] * size[1], max(settings.scales, default=1.0)
    if largest > 1 and pixels * largest**2 > max_pixels():
        raise InputError(
            f"{name} has {pixels:,} pixels, which the scale {largest:g} makes {int(pixels * largest**2):,}, more than the limit "
            f"of {max_pixels():,}. Choose smaller scales, or upload a smaller image."
        )
    if settings.parameters is not None and pixels > CRF_PIXELS:
        raise InputError(
            f"{name} has {pixels:,} pixels, and the page's CRF takes {CRF_PIXELS:,} at most. Switch the CRF off, or "
            "upload a smaller image."
        )


def chosen(given: Sequence[Any]) -> Settings:
    """Return the settings that the fields of :func:`settings` hold, in their order.

    Raises:
        InputError: for an empty one, no scale, or numbers that no CRF can have.
    """
    scales, flip, preset, *fields = given
    if not scales:
        raise InputError("No scale is chosen, and the image is segmented at each one that is. Choose at least one scale.")
    parameters = None
    if preset != OFF:
        values = dict(zip((*CRF_FIELDS, "normalisation"), fields))
        for name, value in values.items():
            if value is None:
                raise InputError(f"{name} of the CRF is empty: give a number, or choose the set of parameters again.")
        count = values["iterations"]
        if not float(count).is_integer():
            raise InputError(f"iterations of the CRF is {count:g}: give a whole number, for each is one round of mean field.")
        parameters = crf.Parameters(**{**values, "iterations": int(count)})
    return Settings(tuple(sorted(scales)), flip, parameters)
