"""A trained network as a function of images of any size: whole images, windows that slide over them, or tiles."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, PRNGKeyArray, Shaped, UInt8

from jaxseg import checkpoints, describe, ops, sharding, windows
from jaxseg.config import Config
from jaxseg.data.augment import resize_image
from jaxseg.errors import InputError
from jaxseg.models import monte_carlo
from jaxseg.ops.normalise import Normalise
from jaxseg.override import override
from jaxseg.types import Logits

#: Whole images are extended at the right and the bottom to a multiple of this, so that few sizes are compiled.
SIZE_MULTIPLE = 32


@dataclasses.dataclass(frozen=True)
class Samples:
    """What several draws of dropout say of one image, together.

    Attributes:
        probabilities: their mean, per class; of one logit, those of class 0 and 1.
        variance: over the draws, of every class's probability; "Bayesian SegNet" shows its mean over the classes.
        entropy: of the mean probabilities in nats, between 0 and ``log(k)``: 0 where all draws are sure of the same class.
    """

    probabilities: Float[np.ndarray, "h w k"]
    variance: Float[np.ndarray, "h w k"]
    entropy: Float[np.ndarray, "h w"]

    @property
    def labels(self) -> UInt8[np.ndarray, "h w"]:
        """The class of the largest mean probability."""
        return self.probabilities.argmax(axis=-1).astype(np.uint8)


@functools.partial(jax.jit, static_argnames=("model", "normalise", "size"))
def compute_logits(
    variables: Mapping[str, Any],
    images: Shaped[Array, "b h w c"],
    key: PRNGKeyArray | None = None,
    *,
    model: Any,
    normalise: Normalise,
    size: tuple[int, int],
) -> Float[Array, "b h2 w2 k"]:
    """Apply a network in evaluation mode to stored pixel values; crop nothing, enlarge the logits to ``size``.

    With a key, dropout drops all the same, by that key.
    """
    with contextlib.nullcontext() if key is None else monte_carlo.active_dropout():
        logits = model.apply(variables, normalise(images), train=False, rngs=None if key is None else {"dropout": key})
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

    def logits(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None) -> Float[np.ndarray, "b h w k"]:
        """Return the float32 logits of a batch of images of one size, on the host; with a key, those of one draw of dropout."""
        height, width = images.shape[1:3]
        if not self._takes_windows(images):
            return np.array(self._whole(images, key)[: len(images), :height, :width])
        logits = self._windows(self._resized(images), key)
        if logits.shape[1:3] != (height, width):
            logits = np.array(ops.resize(jnp.asarray(logits), (height, width), method="bilinear"))
        return logits

    def sample(self, image: Shaped[np.ndarray, "h w c"], *, samples: int = 20, seed: int = 0) -> Samples:
        """Segment one image with Monte-Carlo dropout: dropout stays on, and every draw of it gives other probabilities.

        Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet", 2015, https://arxiv.org/abs/1511.02680, section 4. Costs as much as
        so many predictions. Batch normalisation uses its running statistics.

        Args:
            image: as :meth:`predict` takes it.
            samples: draws; the more, the smoother the maps.
            seed: of the draws.

        Raises:
            InputError: for a network without dropout, no draws, or an image of another number of channels.
        """
        if samples < 1:
            raise InputError(f"samples={samples} must be at least 1: it is the number of draws of dropout.")
        config = self.config
        batch = jax.ShapeDtypeStruct((1, *config.crop_size, config.data.num_channels), jnp.float32)
        if not monte_carlo.has_dropout(config.model, self.variables, batch):
            raise InputError(
                f"{type(config.model).__name__} was trained without dropout, so that all samples would be the same. "
                "Train with a rate above 0 (for many networks, --set model.dropout=0.5), or predict without samples."
            )
        mean: np.ndarray = np.zeros((), np.float32)
        squares: np.ndarray = np.zeros((), np.float32)
        for i in range(samples):
            key = jax.random.fold_in(jax.random.key(seed), i)
            probabilities = _probabilities(self.logits(image[None], key)[0])
            change = probabilities - mean  # Welford's update: exact where all draws agree
            mean = mean + change / (i + 1)
            squares = squares + change * (probabilities - mean)
        entropy = -np.sum(mean * np.log(np.maximum(mean, np.finfo(np.float32).tiny)), axis=-1)
        return Samples(mean, squares / samples, np.maximum(entropy, 0))

    def _takes_windows(self, images: Shaped[np.ndarray, "b h w c"]) -> bool:
        """Say whether the network sees the images in several windows; one that fits exactly is the whole image."""
        if self._loses_margins():
            return True
        return self.config.window is not None and (self.config.image_size or images.shape[1:3]) != self.config.window

    def _loses_margins(self) -> bool:
        """Say whether logits are smaller than the image: it then has ``output_size``, ``input_size`` and ``stride``."""
        model = self.config.model
        return hasattr(model, "output_size") and model.input_size(1) != 1

    def _resized(self, images: Shaped[np.ndarray, "b h w c"]) -> Shaped[np.ndarray, "b h2 w2 c"]:
        channels = self.config.data.num_channels
        if images.shape[-1] != channels:
            raise InputError(f"The image has {images.shape[-1]} channels; this network was trained on {channels}.")
        size = self.config.image_size
        return images if size is None else np.stack([resize_image(image, size) for image in images])

    def _whole(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None) -> Float[Array, "b2 h2 w2 k"]:
        """Return logits that cover the images; rows, columns and images beyond theirs are padding."""
        own = images.shape[1:3]
        images = self._resized(images)
        height, width = images.shape[1:3]
        if self.config.image_size is None and self.config.window is None:
            padding = ((0, 0), (0, -height % SIZE_MULTIPLE), (0, -width % SIZE_MULTIPLE), (0, 0))
            images = np.pad(images, padding, mode="edge")
            own = images.shape[1:3]
        return self._apply(images, (own[0], own[1]), key)

    def _windows(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None) -> Float[np.ndarray, "b h w k"]:
        """Return the logits of images that are seen in windows, or in tiles by a network that loses margins."""
        window, model, at_once = self.config.window, self.config.model, self.config.eval_batch_size
        if window is None:  # one tile that covers the whole image
            window = (model.input_size(images.shape[1]), model.input_size(images.shape[2]))
            at_once = min(at_once, len(images))
        inner = (model.output_size(window[0]), model.output_size(window[1])) if self._loses_margins() else window

        def network(pieces: np.ndarray, call: int) -> np.ndarray:
            return np.asarray(self._apply(pieces, inner, None if key is None else jax.random.fold_in(key, call)))

        if inner == window:
            return windows.slide(images, network, window=window, at_once=at_once)
        return windows.tile(images, network, window=window, inner=inner, stride=model.stride, at_once=at_once)

    def _apply(
        self, images: Shaped[np.ndarray, "b h w c"], size: tuple[int, int], key: PRNGKeyArray | None
    ) -> Float[Array, "b2 h2 w2 k"]:
        mesh = sharding.local_mesh()
        images = np.pad(images, ((0, -len(images) % mesh.size), (0, 0), (0, 0), (0, 0)))
        placed = jax.device_put(images, sharding.batch_split(mesh))
        return compute_logits(self.variables, placed, key, model=self.config.model, normalise=self.config.normalise, size=size)


def _probabilities(logits: Float[np.ndarray, "h w k"]) -> Float[np.ndarray, "h w k2"]:
    """Return the softmax, over the classes 0 and 1 for one logit."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


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
    config = override(describe.from_json(describe.read_json(file), trusted), overrides)
    variables, _ = checkpoints.restore_variables(workdir, checkpoint)
    return Predictor.of_state(config, variables)
