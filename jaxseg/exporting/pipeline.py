"""A run as one pure function: stored pixel values in; classes, confidences, probabilities or logits out."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Shaped

from jaxseg.config import Config
from jaxseg.errors import InputError
from jaxseg.inference import Predictor, choose_labels
from jaxseg.types import Logits
from jaxseg.views import LARGEST_WHOLE, loses_margins
from jaxseg.windows import SIZE_MULTIPLE, padded_side

#: Dtypes of stored pixel values, and what they hold.
DTYPES = {"uint8": "0 to 255", "uint16": "0 to 65535", "float32": "0 to 1"}


def probabilities(logits: Logits) -> Float[Array, "b h w k2"]:
    """Return the softmax over the classes, over the classes 0 and 1 for one logit."""
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    return jax.nn.softmax(logits, axis=-1)


def confidence(logits: Logits) -> Float[Array, "b h w"]:
    """Return the probability of the chosen class."""
    return jnp.max(probabilities(logits), axis=-1)


#: What an artifact can return, by name, and as which function of the logits.
OUTPUTS: dict[str, Callable[[Logits], Array]] = {
    "labels": choose_labels,
    "confidence": confidence,
    "probabilities": probabilities,
    "logits": lambda logits: logits,
}


@dataclasses.dataclass(frozen=True)
class Signature:
    """What an artifact takes and returns.

    Attributes:
        size: height and width of the images; ``None`` for any multiples of :data:`SIZE_MULTIPLE`.
        channels: of the images.
        dtype: of their stored values, one of :data:`DTYPES`.
        batch: number of images; ``None`` for any.
        outputs: names of :data:`OUTPUTS`, in their order.

    Raises:
        InputError: for a size, batch, dtype or output that cannot be.
    """

    size: tuple[int, int] | None
    channels: int
    dtype: str = "uint8"
    batch: int | None = None
    outputs: tuple[str, ...] = ("labels", "confidence")

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"size={self.size} must be a height and a width of at least 1.")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"batch={self.batch} must be at least 1; leave it out for any number of images.")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype={self.dtype!r} is not known: images are stored as {', '.join(DTYPES)}.")
        unknown = [name for name in self.outputs if name not in OUTPUTS]
        if unknown or not self.outputs or len(set(self.outputs)) < len(self.outputs):
            raise InputError(f"outputs={self.outputs} must be some of {', '.join(OUTPUTS)}, each once.")

    def dimensions(self, batch: str, height: str, width: str) -> tuple[int | str, ...]:
        """Return the four sides of the images, with these names for what is open."""
        sides = (f"{SIZE_MULTIPLE}*{height}", f"{SIZE_MULTIPLE}*{width}") if self.size is None else self.size
        return (self.batch or batch, *sides, self.channels)


def default_size(config: Config) -> tuple[int, int]:
    """Return the size of image that a run is about: its ``image_size``, else its window, else what it was trained on."""
    return config.image_size or config.window or config.crop_size


def pipeline(predictor: Predictor, signature: Signature) -> Callable[[Array], dict[str, Array]]:
    """Return a pure function of images that does what the predictor does: normalise, extend, apply the network, crop.

    The parameters are constants of it. A network whose valid convolutions lose a margin sees it mirrored around the image, as
    in prediction.

    Args:
        predictor: of the run.
        signature: of the function: it takes ``(b, h, w, c)`` stored values, and returns a dictionary with ``labels``
            ``(b, h, w)`` uint8; ``confidence`` ``(b, h, w)`` in [0, 1]; ``probabilities`` ``(b, h, w, k)`` in [0, 1], of two
            classes where the network has one logit; ``logits`` ``(b, h, w, k)``; the last three float32.

    Raises:
        InputError: where the predictor would do what the function cannot: resize, cut windows, average several scales.
    """
    config = predictor.config
    check(config, signature)
    variables = jax.device_get(dict(predictor.variables))

    def segment(images: Shaped[Array, "b h w c"]) -> dict[str, Array]:
        logits = _logits(config, variables, images, signature.size).astype(jnp.float32)
        return {name: OUTPUTS[name](logits) for name in signature.outputs}

    return segment


def check(config: Config, signature: Signature) -> None:
    """Refuse what is no function of one whole image.

    Raises:
        InputError: naming the field of the config, and how to override it.
    """
    size = signature.size
    if config.scales != (1.0,) or config.flip:
        raise InputError(
            f"The run averages several views of an image (scales={config.scales}, flip={config.flip}), and an artifact holds the "
            "network on one. Add --set 'scales=(1.0,)' --set flip=False, and average in your own program."
        )
    if signature.channels != config.data.num_channels:
        raise InputError(f"channels={signature.channels}, but this network was trained on {config.data.num_channels}.")
    if config.image_size is not None and size != config.image_size:
        raise InputError(
            f"size={size or 'any'}, but this run resizes every image to {config.image_size} before its network sees it. Leave "
            "--size out and resize your images, or add --set image_size=None for a network that sees them as they are."
        )
    if config.window is not None and size != config.window and not loses_margins(config.model):
        raise InputError(
            f"size={size or 'any'}, but this run predicts in windows of {config.window}, and an artifact holds the network on "
            "one image. Leave --size out, or add --set window=None for a network that sees larger images whole."
        )
    if size is None and loses_margins(config.model):
        raise InputError("size=any, but how much margin valid convolutions need depends on the size: give --size HEIGHT WIDTH.")
    if size is not None and size[0] * size[1] > LARGEST_WHOLE:
        raise InputError(
            f"size={size} has more than {LARGEST_WHOLE} pixels, and such images are predicted in windows. Give a smaller --size, "
            "and cut larger images into windows."
        )


def _logits(config: Config, variables: Mapping[str, Any], images: Array, size: tuple[int, int] | None) -> Array:
    edges, mode = ((0, 0), (0, 0)), "edge"
    if size is not None and loses_margins(config.model):
        (top, bottom), (left, right) = (_margins(config.model, side) for side in size)
        edges, mode = ((top, bottom), (left, right)), "reflect"
    elif size is not None and size not in (config.image_size, config.window):
        edges = ((0, padded_side(size[0]) - size[0]), (0, padded_side(size[1]) - size[1]))
    if any(sum(pair) for pair in edges):
        images = jnp.pad(images, ((0, 0), *edges, (0, 0)), mode=mode)
    logits = config.model.apply(jax.tree.map(jnp.asarray, variables), config.normalise(images), train=False)
    return logits if size is None else logits[:, : size[0], : size[1]]


def _margins(model: Any, side: int) -> tuple[int, int]:
    """Return how many rows valid convolutions need before and after an image; what they give beyond its end is cropped."""
    whole = model.input_size(side)
    before = (whole - model.output_size(whole)) // 2
    return before, whole - side - before
