"""Flips, windows and scales of a batch on the device: image, label and other planes together."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int, PRNGKeyArray, Shaped

from jaxseg.data.augment import geometry
from jaxseg.data.augment.channels import Fill
from jaxseg.device_augment.batches import Batch, as_dtype, fill_values, keys, move


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirror left to right, and upside down, each with its own probability.

    Attributes:
        horizontal: probability of swapping left and right.
        vertical: probability of swapping top and bottom.
    """

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        geometry.RandomFlip(self.horizontal, self.vertical)  # the same checks

    def __call__(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """Return the flipped batch."""
        draws = jax.vmap(lambda k: jax.random.uniform(k, (2,)))(keys(batch, key))

        def flip(x: Shaped[Array, "b h w ..."], _: int) -> Shaped[Array, "b h w ..."]:
            x = jnp.where(_against(draws[:, 0] < self.horizontal, x), x[:, :, ::-1], x)
            return jnp.where(_against(draws[:, 1] < self.vertical, x), x[:, ::-1], x)

        return move(batch, flip(batch["image"], 0), flip)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cut a window of a fixed size at a random place; an image that is smaller is placed at random in a larger, filled one.

    Attributes:
        size: ``(height, width)`` of the result.
        fill: image value of the padding, see :data:`jaxseg.data.augment.channels.Fill`; its labels are ``VOID``.
    """

    size: tuple[int, int]
    fill: Fill = None

    def __post_init__(self) -> None:
        geometry.RandomCrop(self.size, fill=self.fill)

    def __call__(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """Return the windows, of exactly ``size``; pixels of the image are kept bit by bit."""
        lengths = batch["image"].shape[1:3]

        def places(k: PRNGKeyArray) -> tuple[Array, Array]:
            signs_and_slacks = [(1 if n >= m else -1, abs(n - m)) for n, m in zip(lengths, self.size)]
            starts = [s * jax.random.randint(j, (), 0, d + 1) for j, (s, d) in zip(jax.random.split(k), signs_and_slacks)]
            return starts[0] + jnp.arange(self.size[0]), starts[1] + jnp.arange(self.size[1])

        rows, columns = jax.vmap(places)(keys(batch, key))
        inside = _inside(rows, columns, lengths)

        def cut(x: Shaped[Array, "b h w ..."], outside: Any) -> Shaped[Array, "b h2 w2 ..."]:
            return jnp.where(_against(inside, x), _pick(x, rows, columns), outside)

        return move(batch, cut(batch["image"], fill_values(batch["image"], self.fill)), cut)


@dataclasses.dataclass(frozen=True)
class RandomScaleCrop:
    """Resize by a random factor and cut a window of a fixed size at a random place, by one resampling; smaller images are padded.

    What :class:`jaxseg.data.augment.RandomScale` and ``RandomCrop`` do one after the other, but that the scaled image need not
    be a whole number of pixels. Pixel centres are aligned; interpolation is linear, and where the image shrinks its triangle is
    widened by as much, against aliasing. Windows begin at whole pixels: with a factor of 1 all values are kept.

    Attributes:
        size: ``(height, width)`` of the result.
        minimum: smallest factor, above 0.
        maximum: largest factor; between both it is uniform.
        fill: image value of the padding, see :data:`jaxseg.data.augment.channels.Fill`; its labels are ``VOID``.
    """

    size: tuple[int, int]
    minimum: float = 0.5
    maximum: float = 2.0
    fill: Fill = None

    def __post_init__(self) -> None:
        geometry.RandomCrop(self.size, fill=self.fill)
        geometry.RandomScale(self.minimum, self.maximum)

    def __call__(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """Return the windows, of exactly ``size``."""
        image, lengths = batch["image"], batch["image"].shape[1:3]

        def places(k: PRNGKeyArray) -> tuple[Array, Array]:
            draws = jax.random.uniform(k, (3,))
            factor = self.minimum + (self.maximum - self.minimum) * draws[0]
            slack = factor * jnp.asarray(lengths, jnp.float32) - jnp.asarray(self.size, jnp.float32)  # below 0: to be padded
            return factor, jnp.round(draws[1:] * slack)

        factors, starts = jax.vmap(places)(keys(batch, key))

        def sources(axis: int) -> Int[Array, "b n"]:
            centres = starts[:, axis, None] + jnp.arange(self.size[axis], dtype=jnp.float32)[None] + 0.5
            return jnp.floor(centres / factors[:, None]).astype(jnp.int32)

        rows, columns = sources(0), sources(1)
        inside = _inside(rows, columns, lengths)

        def resample(x: Array, factor: Array, start: Array) -> Array:
            shape, scale = (*self.size, x.shape[2]), jnp.broadcast_to(factor, (2,))
            return jax.image.scale_and_translate(x, shape, (0, 1), scale, -start, "linear", antialias=True)

        def nearest(x: Shaped[Array, "b h w"], outside: int) -> Shaped[Array, "b h2 w2"]:
            return jnp.where(inside, _pick(x, rows, columns), jnp.asarray(outside, x.dtype))

        values = as_dtype(jax.vmap(resample)(image.astype(jnp.float32), factors, starts), image.dtype)
        return move(batch, jnp.where(inside[..., None], values, fill_values(image, self.fill)), nearest)


def _against(mask: Bool[Array, "b ..."], x: Array) -> Bool[Array, "b ..."]:
    """Append axes of length 1 to a mask, up to the rank of ``x``."""
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))


def _inside(rows: Int[Array, "b h"], columns: Int[Array, "b w"], lengths: tuple[int, int]) -> Bool[Array, "b h w"]:
    within_rows, within_columns = ((i >= 0) & (i < n) for i, n in zip((rows, columns), lengths))
    return within_rows[:, :, None] & within_columns[:, None, :]


def _pick(x: Shaped[Array, "b h w ..."], rows: Int[Array, "b h2"], columns: Int[Array, "b w2"]) -> Shaped[Array, "b h2 w2 ..."]:
    """Take rows and columns of each image; numbers beyond it take its border."""
    return jax.vmap(lambda a, r, c: jnp.take(jnp.take(a, r, 0, mode="clip"), c, 1, mode="clip"))(x, rows, columns)
