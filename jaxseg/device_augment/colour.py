"""Photometric augmentation of a batch on the device: the images change, the labels do not."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from jaxseg.data.augment import colour
from jaxseg.device_augment.batches import Batch, as_dtype, keys


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random; see :class:`jaxseg.data.augment.ColorJitter`.

    Differs from it: the order of the four is drawn once per batch, not per image, so that a device does each of them once;
    values are rounded to an integer dtype at the end, not after each; and values outside ``value_range`` are clipped, for a
    device cannot refuse them.

    Attributes:
        brightness: 0 or more; 0 leaves it alone, as for all four.
        contrast: 0 or more.
        saturation: 0 or more.
        hue: 0 to 0.5.
        value_range: black and white; ``None`` is the whole range of uint8 and uint16, and 0 to 1 for float32.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        colour.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue, self.value_range)  # the same checks

    def __call__(self, batch: Batch, key: PRNGKeyArray) -> Batch:
        """Return the batch with its images' colours changed."""
        image = batch["image"]
        whole = jnp.issubdtype(image.dtype, jnp.integer)
        black, white = self.value_range or ((0.0, float(jnp.iinfo(image.dtype).max)) if whole else (0.0, 1.0))
        strengths = (self.brightness, self.contrast, self.saturation)
        low, high = jnp.asarray([max(0.0, 1 - s) for s in strengths]), jnp.asarray([1 + s for s in strengths])
        order_key, key = jax.random.split(key)
        draws = jax.vmap(lambda k: jax.random.uniform(k, (4,)))(keys(batch, key))
        factors = low[None] + (high - low)[None] * draws[:, :3]
        changes = self._changes(factors, self.hue * (2 * draws[:, 3] - 1), image.shape[-1])
        values = (image.astype(jnp.float32) - black) / (white - black)
        if not changes:
            return batch

        def change(x: Array, which: Array) -> tuple[Array, None]:
            return jnp.clip(jax.lax.switch(which, changes, x), 0, 1), None

        # A loop, so that each change is compiled once, and not once for each place in the order.
        values, _ = jax.lax.scan(change, values, jax.random.permutation(order_key, len(changes)))
        return {**batch, "image": as_dtype(values * (white - black) + black, image.dtype)}

    def _changes(self, factors: Float[Array, "b 3"], turns: Float[Array, " b"], channels: int) -> list[Callable[[Array], Array]]:
        """Return the changes that are asked for, each a function of images from 0 to 1."""
        brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))

        def towards_mean(x: Array) -> Array:
            mean = x.mean(axis=(1, 2), keepdims=True)
            return contrast * x + (1 - contrast) * (_luma(mean) if channels == 3 else mean)

        changes: list[Callable[[Array], Array]] = []
        if self.brightness:
            # The namesake has b * image + (1 - b) * black; black is 0 in these units.
            changes.append(lambda x: brightness * x)
        if self.contrast:
            changes.append(towards_mean)
        if self.saturation and channels == 3:
            changes.append(lambda x: saturation * x + (1 - saturation) * _luma(x))
        if self.hue and channels == 3:
            changes.append(lambda x: turn_hue(x, turns))
        return changes


def turn_hue(image: Float[Array, "b h w 3"], turns: Float[Array, " b"]) -> Float[Array, "b h w 3"]:
    """Turn the hue of HSV by a share of the circle; value and saturation are kept.

    In HSV a channel is ``v - v s clip(min(k, 4 - k), 0, 1)`` with ``k = (n + 6 hue) mod 6`` and ``n = 5, 3, 1`` for red, green
    and blue (Smith, "Color gamut transform pairs", 1978, written without cases).

    Args:
        image: RGB from 0 to 1.
        turns: of each image, such as 1/3 from red to green.
    """
    red, green, blue = (image[..., i] for i in range(3))
    value, spread = image.max(axis=-1), image.max(axis=-1) - image.min(axis=-1)
    safe = jnp.where(spread > 0, spread, 1)
    sixths = jnp.where(
        value == red, (green - blue) / safe, jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sixths += 6 * turns[:, None, None]
    places = jnp.mod(jnp.asarray([5.0, 3.0, 1.0])[None, None, None] + sixths[..., None], 6)
    return value[..., None] - spread[..., None] * jnp.clip(jnp.minimum(places, 4 - places), 0, 1)


def _luma(image: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    return (image * jnp.asarray([0.299, 0.587, 0.114])[None, None, None]).sum(axis=-1, keepdims=True)
