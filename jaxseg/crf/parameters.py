"""The parameters of the dense CRF's energy, the published sets of them, and how they are written on a command line."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxseg.errors import InputError, did_you_mean

#: How a kernel is normalised, as pydensecrf names it; see :func:`jaxseg.crf.mean_field`.
NORMALISATIONS = ("symmetric", "before", "after", "none")


@dataclasses.dataclass(frozen=True)
class Parameters:
    r"""The energy of Krähenbühl and Koltun with two kernels, and how far to minimise it.

    .. math:: k(i, j) = w_1 e^{-\|p_i - p_j\|^2 / 2 \sigma_\alpha^2 - \|I_i - I_j\|^2 / 2 \sigma_\beta^2}
                      + w_2 e^{-\|p_i - p_j\|^2 / 2 \sigma_\gamma^2}

    The defaults are those in copies of DeepLab v1's script for the LargeFOV network; the paper gives ranges.

    Attributes:
        w1: weight of the bilateral kernel.
        sigma_alpha: its standard deviation in space, in pixels.
        sigma_beta: its standard deviation in colour, in 8-bit units.
        w2: weight of the spatial kernel.
        sigma_gamma: its standard deviation, in pixels.
        iterations: of mean field.
        normalisation: one of :data:`NORMALISATIONS`.
    """

    w1: float = 4.0
    sigma_alpha: float = 49.0
    sigma_beta: float = 5.0
    w2: float = 3.0
    sigma_gamma: float = 3.0
    iterations: int = 10
    normalisation: str = "symmetric"

    def __post_init__(self) -> None:
        for name in ("sigma_alpha", "sigma_beta", "sigma_gamma"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)} must be positive: it is a standard deviation.")
        if self.iterations < 0:
            raise InputError(f"iterations={self.iterations} must be at least 0; 0 returns softmax(-unary).")
        if self.normalisation not in NORMALISATIONS:
            raise InputError(
                f"normalisation={self.normalisation!r} is none of the kernel's.{did_you_mean(self.normalisation, NORMALISATIONS)}"
            )

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`jaxseg.crf.mean_field`."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.arguments().items()
        )


#: Published sets. DeepLab v1 (https://arxiv.org/abs/1412.7062) and v2 (https://arxiv.org/abs/1606.00915) give ranges that they
#: searched; these values are from copies of their scripts and from re-implementations. CRF-RNN:
#: https://arxiv.org/abs/1502.03240. The last is the example of pydensecrf's README, which many copied.
SETS: Mapping[str, Parameters] = {
    "deeplab-v1": Parameters(),
    "deeplab-v2-vgg16": Parameters(w1=4.0, sigma_alpha=65.0, sigma_beta=3.0, w2=2.0, sigma_gamma=2.0),
    "deeplab-v2-resnet101": Parameters(w1=4.0, sigma_alpha=67.0, sigma_beta=3.0, w2=3.0, sigma_gamma=1.0),
    "crf-rnn": Parameters(w1=5.0, sigma_alpha=160.0, sigma_beta=3.0, w2=3.0, sigma_gamma=3.0),
    "pydensecrf": Parameters(w1=10.0, sigma_alpha=80.0, sigma_beta=13.0, w2=3.0, sigma_gamma=3.0, iterations=5),
}


def parse(text: str) -> Parameters:
    """Return the parameters that a text names: a set, single values, or a set and values that replace some of its own.

    >>> parse("deeplab-v2-vgg16,w1=5").sigma_alpha
    65.0

    Raises:
        InputError: for a set or a parameter that does not exist, or a value that does not fit.
    """
    given = Parameters()
    known = {name: type(value) for name, value in given.arguments().items()}
    changes: dict[str, Any] = {}
    for position, part in enumerate(text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            if position or name not in SETS:
                raise InputError(
                    f"--crf {text}: {name!r} is no set of parameters, which come first.{did_you_mean(name, tuple(SETS))} Or give "
                    "single ones, as w1=4,sigma_alpha=67. To use the default before an image's name, write --crf=deeplab-v1."
                )
            given = SETS[name]
        elif name not in known:
            raise InputError(f"--crf {text}: there is no parameter {name!r}.{did_you_mean(name, tuple(known))}")
        else:
            try:
                changes[name] = known[name](value)
            except ValueError:
                raise InputError(f"--crf {text}: {name} needs a number, and {value!r} is none.") from None
    return dataclasses.replace(given, **changes)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--crf [SET][,NAME=VALUE...]`` to a command's flags; it gives :class:`Parameters`, or ``None`` without the flag."""

    def parsed(text: str) -> Parameters:
        try:
            return parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).replace("--crf ", "", 1)) from error

    parser.add_argument(
        "--crf",
        nargs="?",
        type=parsed,
        const=Parameters(),
        metavar="PARAMETERS",
        help=f"refine the result by a dense CRF with a set of parameters ({', '.join(SETS)}; default: the first), single ones "
        f"(w1=4,sigma_alpha=67), or both",
    )
