"""A trained network as a function of images of any size, from which it makes classes, probabilities, or samples of them."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, PRNGKeyArray, Shaped, UInt8

from jaxseg import checkpoints, describe, sharding
from jaxseg.config import Config
from jaxseg.errors import InputError
from jaxseg.models import monte_carlo
from jaxseg.override import override
from jaxseg.row_blocks import Blocks, average, gather, of_height
from jaxseg.types import Logits
from jaxseg.views import View, block_height, check_image, stripes


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


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """What a network says of one image.

    Attributes:
        labels: the class of every pixel.
        confidence: its probability, in [0, 1].
    """

    labels: UInt8[np.ndarray, "h w"]
    confidence: Float[np.ndarray, "h w"]


@jax.jit
def choose_labels(logits: Logits) -> Integer[Array, "b h w"]:
    """Return the class of the largest logit; of one logit, whether it is positive."""
    best = logits[..., 0] > 0 if logits.shape[-1] == 1 else jnp.argmax(logits, axis=-1)
    return best.astype(jnp.uint8)


@jax.jit
def _labels_and_confidence(logits: Logits) -> Float[Array, "b h w 2"]:
    """Return the class of the largest logit and its probability."""
    if logits.shape[-1] == 1:
        confidence = jax.nn.sigmoid(jnp.abs(logits[..., 0]))
    else:
        confidence = jnp.exp(jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1))
    return jnp.stack([choose_labels(logits).astype(jnp.float32), confidence], axis=-1)


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
            InputError: for an image of another number of channels, shape or dtype.
        """
        return self.labels(image[None])[0]

    def labels(self, images: Shaped[np.ndarray, "b h w c"]) -> UInt8[np.ndarray, "b h w"]:
        """Segment a batch of images of one size; see :meth:`predict`."""
        stripes = ((columns, map(choose_labels, blocks)) for columns, blocks in self.stripes(images))
        return gather(stripes, images.shape[:3])

    def segment(self, image: Shaped[np.ndarray, "h w c"]) -> Segmentation:
        """Segment one image as :meth:`predict` does, and say how sure the network is of every pixel."""
        stripes = ((columns, map(_labels_and_confidence, blocks)) for columns, blocks in self.stripes(image[None]))
        found = gather(stripes, (1, *image.shape[:2]))[0]
        return Segmentation(found[..., 0].astype(np.uint8), found[..., 1])

    def logits(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None) -> Float[np.ndarray, "b h w k"]:
        """Return the float32 logits of a batch of images of one size, on the host; with a key, those of one draw of dropout.

        Where several scales or mirrored images are averaged, the logarithms of the mean probabilities.
        """
        return gather(self.stripes(images, key), images.shape[:3])

    def stripes(self, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None = None) -> Iterator[tuple[range, Blocks]]:
        """Yield the logits stripe by stripe from left to right, each as blocks of rows from top to bottom.

        For images whose logits do not fit into memory together: :func:`jaxseg.row_blocks.gather` puts together what is made of
        each block. Blocks may go beyond the images at the bottom and the right.

        Yields:
            the columns of a stripe, and its blocks, to be used up before the next stripe.

        Raises:
            InputError: for images of another number of channels, shape or dtype.
        """
        config = self.config
        check_image(images[0] if len(images) else images, config.data.num_channels)
        both = (False, True) if config.flip else (False,)
        views = [View(config, self.variables, scale, mirrored) for scale in config.scales for mirrored in both]
        keys = [key if key is None or len(views) == 1 else jax.random.fold_in(key, i) for i in range(len(views))]
        if all(view.is_whole(images) for view in views):
            yield range(images.shape[2]), _together([view.blocks(images, k) for view, k in zip(views, keys)])
            return
        # Those that are seen whole are computed once for all stripes.
        whole = {i: self._gathered(view, images, keys[i]) for i, view in enumerate(views) if view.is_whole(images)}
        height = block_height(images.shape[1])
        for number, columns in enumerate(stripes(images.shape[2])):
            cut = slice(columns.start, columns.stop)
            drawn = [k if k is None or not number else jax.random.fold_in(k, number) for k in keys]
            several = [
                of_height(iter([whole[i][:, :, cut]]), height) if i in whole else view.blocks(images, drawn[i], columns)
                for i, view in enumerate(views)
            ]
            yield columns, _together(several)

    def _gathered(
        self, view: View, images: Shaped[np.ndarray, "b h w c"], key: PRNGKeyArray | None
    ) -> Float[np.ndarray, "b h w k"]:
        return gather([(range(images.shape[2]), view.blocks(images, key))], images.shape[:3])

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


def _together(several: list[Blocks]) -> Blocks:
    return several[0] if len(several) == 1 else average(several)


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
    if overrides:
        config.check()
    variables, _ = checkpoints.restore_variables(workdir, checkpoint)
    return Predictor.of_state(config, variables)
