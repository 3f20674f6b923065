"""A trained network as a function of images of any size: whole images, or windows that slide over them."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped, UInt8

from jaxseg import checkpoints, describe, ops, sharding
from jaxseg.config import Config
from jaxseg.data.augment import resize_image
from jaxseg.errors import InputError
from jaxseg.ops.normalise import Normalise
from jaxseg.override import override
from jaxseg.types import Logits

#: Whole images are extended at the right and the bottom to a multiple of this, so that few sizes are compiled.
SIZE_MULTIPLE = 32

#: Neighbouring windows overlap by a third of their size, as in the protocol of SETR's reference code.
WINDOW_STRIDE = 2 / 3


@functools.partial(jax.jit, static_argnames=("model", "normalise", "size"))
def compute_logits(
    variables: Mapping[str, Any], images: Shaped[Array, "b h w c"], *, model: Any, normalise: Normalise, size: tuple[int, int]
) -> Float[Array, "b h2 w2 k"]:
    """Apply a network in evaluation mode to stored pixel values; crop nothing, enlarge the logits to ``size``."""
    logits = model.apply(variables, normalise(images), train=False)
    return logits if logits.shape[1:3] == size else ops.resize(logits, size, method="bilinear")


@functools.partial(jax.jit, static_argnames="size")
def choose_labels(logits: Logits, *, size: tuple[int, int]) -> Integer[Array, "b h2 w2"]:
    """Return the class of the largest logit, over the first ``size`` pixels; of one logit, whether it is positive."""
    logits = logits[:, : size[0], : size[1]]
    best = logits[..., 0] > 0 if logits.shape[-1] == 1 else jnp.argmax(logits, axis=-1)
    return best.astype(jnp.uint8)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network with its parameters and all that surrounds it at prediction time.

    Attributes:
        config: of the run.
        variables: the network's parameters and statistics.
    """

    config: Config
    variables: Mapping[str, Any]

    @classmethod
    def of_state(cls, config: Config, variables: Mapping[str, Any]) -> "Predictor":
        """Return a predictor on this process's own devices, of variables that all devices of a job hold."""
        mesh = sharding.local_mesh()
        return cls(config, jax.device_put(jax.tree.map(np.asarray, dict(variables)), sharding.replicated(mesh)))

    def predict(self, image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w"]:
        """Segment one image of any size.

        Args:
            image: uint8, uint16 or float in [0, 1], with the channels that the network was trained on (RGB order).

        Returns:
            The class index of every pixel.

        Raises:
            InputError: for an image of another number of channels.
        """
        return self.labels(image[None])[0]

    def labels(self, images: Shaped[np.ndarray, "b h w c"]) -> UInt8[np.ndarray, "b h w"]:
        """Segment a batch of images of one size; see :meth:`predict`."""
        size = (images.shape[1], images.shape[2])
        if self._takes_windows(images):
            return np.array(choose_labels(jnp.asarray(self.logits(images)), size=size))
        return np.array(choose_labels(self._whole(images), size=size)[: len(images)])

    def logits(self, images: Shaped[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b h w k"]:
        """Return the float32 logits of a batch of images of one size, on the host."""
        height, width = images.shape[1:3]
        if not self._takes_windows(images):
            return np.array(self._whole(images)[: len(images), :height, :width])
        logits = self._windows(self._resized(images))
        if logits.shape[1:3] != (height, width):
            logits = np.array(ops.resize(jnp.asarray(logits), (height, width), method="bilinear"))
        return logits

    def _takes_windows(self, images: Shaped[np.ndarray, "b h w c"]) -> bool:
        """Say whether the network sees the images in several windows; one that fits exactly is the whole image."""
        return self.config.window is not None and (self.config.image_size or images.shape[1:3]) != self.config.window

    def _resized(self, images: Shaped[np.ndarray, "b h w c"]) -> Shaped[np.ndarray, "b h2 w2 c"]:
        channels = self.config.data.num_channels
        if images.shape[-1] != channels:
            raise InputError(f"The image has {images.shape[-1]} channels; this network was trained on {channels}.")
        size = self.config.image_size
        return images if size is None else np.stack([resize_image(image, size) for image in images])

    def _whole(self, images: Shaped[np.ndarray, "b h w c"]) -> Float[Array, "b2 h2 w2 k"]:
        """Return logits that cover the images; rows, columns and images beyond theirs are padding."""
        own = images.shape[1:3]
        images = self._resized(images)
        height, width = images.shape[1:3]
        if self.config.image_size is None and self.config.window is None:
            padding = ((0, 0), (0, -height % SIZE_MULTIPLE), (0, -width % SIZE_MULTIPLE), (0, 0))
            images = np.pad(images, padding, mode="edge")
            own = images.shape[1:3]
        return self._apply(images, (own[0], own[1]))

    def _windows(self, images: Shaped[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b h w k"]:
        """Average the logits of overlapping windows."""
        assert self.config.window is not None
        height, width = images.shape[1:3]
        wh, ww = self.config.window
        images = np.pad(images, ((0, 0), (0, max(wh - height, 0)), (0, max(ww - width, 0)), (0, 0)), mode="edge")
        corners = [(top, left) for top in _starts(images.shape[1], wh) for left in _starts(images.shape[2], ww)]
        places = [np.s_[i, top : top + wh, left : left + ww] for i in range(len(images)) for top, left in corners]
        total: np.ndarray | None = None
        counts = np.zeros((*images.shape[:3], 1), np.float32)
        at_once = self.config.eval_batch_size
        for first in range(0, len(places), at_once):
            some = places[first : first + at_once]
            windows = np.stack([images[place] for place in some])
            # Always the same number of windows, for one compilation.
            windows = np.pad(windows, ((0, at_once - len(some)), (0, 0), (0, 0), (0, 0)))
            logits = np.asarray(self._apply(windows, (wh, ww)))
            if total is None:
                total = np.zeros((*images.shape[:3], logits.shape[-1]), np.float32)
            for place, one in zip(some, logits):
                total[place] += one
                counts[place] += 1
        assert total is not None
        return (total / counts)[:, :height, :width]

    def _apply(self, images: Shaped[np.ndarray, "b h w c"], size: tuple[int, int]) -> Float[Array, "b2 h2 w2 k"]:
        mesh = sharding.local_mesh()
        images = np.pad(images, ((0, -len(images) % mesh.size), (0, 0), (0, 0), (0, 0)))
        placed = jax.device_put(images, sharding.batch_split(mesh))
        return compute_logits(self.variables, placed, model=self.config.model, normalise=self.config.normalise, size=size)


def _starts(length: int, window: int) -> list[int]:
    """Return where windows begin so that they cover a side, the last flush with its end."""
    stride = max(int(window * WINDOW_STRIDE), 1)
    return (
        [min(start, length - window) for start in range(0, max(length - window, 0) + stride, stride)] if length > window else [0]
    )


def load(
    workdir: str | Path, *, checkpoint: str = "best", overrides: tuple[str, ...] = (), trusted: tuple[str, ...] = ()
) -> Predictor:
    """Load a trained network from the folder of its run.

    >>> predictor = load("runs/setr-scenes")    # doctest: +SKIP
    >>> labels = predictor.predict(image)       # doctest: +SKIP

    Args:
        workdir: of the run.
        checkpoint: ``best`` (by mIoU on the validation split), ``latest`` or a step.
        overrides: ``path=value``, as with ``--set``.
        trusted: further packages whose objects the run's config may name.

    Raises:
        InputError: if the folder holds no run or no such checkpoint.
    """
    workdir = Path(workdir).expanduser()
    file = workdir / "config.json"
    if not file.is_file():
        raise InputError(f"{workdir} holds no run of jaxseg: there is no config.json in it. Train first, or give another folder.")
    config = override(describe.from_json(json.loads(file.read_text()), (*describe.TRUSTED, *trusted)), overrides)
    variables, _ = checkpoints.restore_variables(workdir, checkpoint)
    return Predictor.of_state(config, variables)
