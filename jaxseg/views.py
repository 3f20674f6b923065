"""How a network sees an image of any size: whole, in windows or in tiles; at one of several scales, mirrored or not."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jaxseg import sharding, windows
from jaxseg.config import Config
from jaxseg.data.augment import resize_image
from jaxseg.errors import InputError
from jaxseg.models import monte_carlo
from jaxseg.ops.normalise import Normalise
from jaxseg.row_blocks import Blocks, Taps, of_height, resample, resized
from jaxseg.windows import padded_side

#: Pixels of the largest image that a network without ``window`` sees whole; a larger one it sees in windows.
LARGEST_WHOLE = 2048 * 2048

#: Height and width of these windows.
OWN_WINDOW = (1024, 1024)

#: Rows of the blocks of images that are seen in windows.
BLOCK_ROWS = 256

#: Columns of their stripes. Windows on the border of two are computed for both.
STRIPE_COLUMNS = 4096


@dataclasses.dataclass(frozen=True)
class View:
    """One way in which a network sees an image.

    Attributes:
        config: of the run.
        variables: the network's parameters and statistics.
        scale: of the image, which is resized by it.
        mirrored: left and right are turned around, and turned back in the logits.
    """

    config: Config
    variables: Mapping[str, Any]
    scale: float = 1.0
    mirrored: bool = False

    def is_whole(self, images: Shaped[np.ndarray, "b h w c"]) -> bool:
        """Say whether the network sees all of an image at once, and gives logits of all of it."""
        size = self._size(images)
        return not loses_margins(self.config.model) and own_window(self.config, size) in (None, size)

    def blocks(
        self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None, columns: range | None = None
    ) -> Blocks:
        """Yield the logits of a batch of images, at their own size, as blocks of rows; see :mod:`jaxseg.row_blocks`.

        Args:
            images: of one size.
            key: of one draw of dropout.
            columns: of images that are not seen whole, whose logits are wanted; default: all.
        """
        own, size = (images.shape[1], images.shape[2]), self._size(images)
        whole = self.is_whole(images)
        images = np.stack([resize_image(image, size) for image in images]) if size != own else images
        images = images[:, :, ::-1] if self.mirrored else images
        if whole:
            yield self._whole(images, own, key)
            return
        height, columns = block_height(own[0]), columns or range(own[1])
        if size == own and not self.mirrored:
            yield from of_height(self._bands(images, key, columns), height)
            return
        across, seen = Taps.of(size[1], own[1], size=own[1], mirrored=self.mirrored).within(columns)
        yield from resized(self._bands(images, key, seen), size[0], own[0], height=height, columns=across)

    def _size(self, images: Shaped[np.ndarray, "b h w c"]) -> tuple[int, int]:
        return seen_size(self.config, (images.shape[1], images.shape[2]), self.scale)

    def _whole(
        self, images: Shaped[np.ndarray, "b h w c"], own: tuple[int, int], key: PRNGKeyArray | None
    ) -> Float[Array, "b2 h2 w2 k"]:
        """Return logits that cover the images; rows, columns and images beyond theirs are padding."""
        size = (images.shape[1], images.shape[2])
        if size not in (self.config.image_size, self.config.window):  # these sizes it was trained at
            missing = (padded_side(size[0]) - size[0], padded_side(size[1]) - size[1])
            images = np.pad(images, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        logits, target = self._apply(images, key), (padded_side(own[0]), padded_side(own[1]))
        if size == own and logits.shape[1:3] == target and not self.mirrored:
            return logits
        rows = Taps.of(size[0], own[0], size=target[0])
        return resample(logits, rows, Taps.of(size[1], own[1], size=target[1], mirrored=self.mirrored))

    def _bands(
        self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None, columns: range
    ) -> Iterator[Float[np.ndarray, "b n w k"]]:
        """Return the logits of images that are seen in windows, or in tiles by a network that loses margins."""
        config, model, at_once = self.config, self.config.model, self.config.eval_batch_size
        window = own_window(config, (images.shape[1], images.shape[2]))
        if window is None:  # one tile that covers the whole image
            at_once = min(at_once, len(images))
            window = (model.input_size(padded_side(images.shape[1])), model.input_size(padded_side(images.shape[2])))
        elif config.window is None:
            at_once = sharding.local_mesh().size
            if loses_margins(self.config.model):
                window = (model.input_size(window[0]), model.input_size(window[1]))

        def network(pieces: np.ndarray, call: int) -> Array:
            return self._apply(pieces, None if key is None else jax.random.fold_in(key, call))[:at_once]

        if not loses_margins(self.config.model):
            blend = functools.partial(windows.slide, overlap=config.overlap, blending=config.blending, columns=columns)
            return blend(images, network, window=window, at_once=at_once)
        inner = (model.output_size(window[0]), model.output_size(window[1]))
        cover = functools.partial(windows.tile, inner=inner, stride=model.stride, columns=columns)
        return cover(images, network, window=window, at_once=at_once)

    def _apply(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None) -> Float[Array, "b2 h2 w2 k"]:
        mesh = sharding.local_mesh()
        images = np.pad(images, ((0, -len(images) % mesh.size), (0, 0), (0, 0), (0, 0)))
        placed = jax.device_put(images, sharding.batch_split(mesh))
        return apply(self.variables, placed, key, model=self.config.model, normalise=self.config.normalise)


def check_image(image: Shaped[np.ndarray, "..."], channels: int) -> None:
    """Check what is to be segmented.

    Raises:
        InputError: for another number of axes or channels, no pixels, or another dtype than uint8, uint16 and float.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise InputError(
            f"The image has shape {image.shape}, and must have (height, width, channels), each at least 1. To a grey one add its "
            "last axis: image[..., None]."
        )
    if image.shape[-1] != channels:
        raise InputError(f"The image has {image.shape[-1]} channels; this network was trained on {channels}.")
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise InputError(
            f"The image holds {image.dtype}: convert it to uint8, uint16, or float in [0, 1], which say what is white."
        )


def seen_size(config: Config, size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return height and width at which a network sees an image of this size at a scale."""
    height, width = config.image_size or size
    return max(round(height * scale), 1), max(round(width * scale), 1)


def loses_margins(model: Any) -> bool:
    """Say whether logits are smaller than the image: the network then has ``output_size``, ``input_size`` and ``stride``."""
    return hasattr(model, "output_size") and model.input_size(1) != 1


def own_window(config: Config, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return height and width of the windows in which a network sees an image of this size; ``None`` is the whole image."""
    if config.window is None and size[0] * size[1] > LARGEST_WHOLE:
        return OWN_WINDOW
    return config.window


def block_height(rows: int) -> int:
    """Return the height of the blocks in which the logits of so many rows come, where they are not one block."""
    return min(BLOCK_ROWS, padded_side(rows))


def stripes(width: int) -> list[range]:
    """Return the columns of each stripe in which the logits of an image come that is not seen whole."""
    count = -(-width // STRIPE_COLUMNS)
    return [range(width * i // count, width * (i + 1) // count) for i in range(count)]


@functools.partial(jax.jit, static_argnames=("model", "normalise"))
def apply(
    variables: Mapping[str, Any],
    images: Shaped[Array, "b h w c"],
    key: PRNGKeyArray | None = None,
    *,
    model: Any,
    normalise: Normalise,
) -> Float[Array, "b h2 w2 k"]:
    """Apply a network in evaluation mode to stored pixel values. With a key, dropout drops all the same, by that key."""
    with contextlib.nullcontext() if key is None else monte_carlo.active_dropout():
        return model.apply(variables, normalise(images), train=False, rngs=None if key is None else {"dropout": key})
