"""From stored pixel values to a network's input, on the device."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from jaxseg.types import Image


@dataclasses.dataclass(frozen=True)
class Normalise:
    """Scale stored values to [0, 1], subtract the mean, divide by the standard deviation.

    Unsigned integers are divided by the largest value of their dtype; floating-point images are taken to be in [0, 1] already.

    Attributes:
        mean: per channel, or one for all, in units of the [0, 1] range. The default is ImageNet's.
        std: likewise.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __call__(self, image: Shaped[Array, "b h w c"]) -> Image:
        """Return the float32 network input; the image is uint8, uint16 or floating point."""
        scale = float(jnp.iinfo(image.dtype).max) if jnp.issubdtype(image.dtype, jnp.integer) else 1.0
        channels = image.shape[-1]
        mean = jnp.broadcast_to(jnp.asarray(self.mean, jnp.float32), (1, 1, 1, channels))
        std = jnp.broadcast_to(jnp.asarray(self.std, jnp.float32), (1, 1, 1, channels))
        return (image.astype(jnp.float32) / scale - mean) / std

    def undo(self, image: Image) -> Image:
        """Return the colours that a normalised image was made from, in 8-bit units, 0 to 255."""
        channels = image.shape[-1]
        mean, std = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), (1, 1, 1, channels)) for x in (self.mean, self.std))
        return 255.0 * (image * std + mean)


#: What Caffe's networks were trained on: the mean colour off, the 8-bit range kept. The authors give the mean in BGR, as
#: (104.00699, 116.66877, 122.67892).
CAFFE = Normalise(mean=(0.48109, 0.45752, 0.40787), std=(1 / 255,))
