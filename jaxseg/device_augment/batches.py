"""What augmentation on the device shares: how transforms follow one another, randomness for every image, fill values, dtypes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key, PRNGKeyArray, Shaped

from jaxseg.data.augment.channels import Fill
from jaxseg.data.source import Example
from jaxseg.errors import InputError
from jaxseg.types import VOID

#: ``image`` ``(b, h, w, c)``, ``label`` and perhaps other arrays ``(b, h, w)``, and ``row`` ``(b,)``.
Batch = dict[str, Any]
Transform = Callable[[Batch, PRNGKeyArray], Batch]

#: Folded into the key of a run, whose other folds are the numbers of its steps.
_STREAM = 2**31 - 1


def step_key(key: PRNGKeyArray, step: Int[Array, ""]) -> PRNGKeyArray:
    """Return the key of augmentation in a step, apart from that of dropout, which is ``fold_in(key, step)``."""
    return jax.random.fold_in(jax.random.fold_in(key, _STREAM), step)


def augment(batch: Batch, transforms: tuple[Transform, ...], key: PRNGKeyArray) -> Batch:
    """Apply transforms from first to last, each with randomness of its own.

    Args:
        batch: ``image`` ``(b, h, w, c)``, ``label`` ``(b, h, w)`` and other arrays of that shape; ``row`` ``(b,)``, the number of
            each image in the batch of the whole job, is ``0, 1, ..., b - 1`` where it is missing.
        transforms: of this module.
        key: from :func:`step_key`.

    Returns:
        The batch, without ``row``.
    """
    batch = {**batch, "row": batch.get("row", jnp.arange(len(batch["image"])))}
    for number, transform in enumerate(transforms):
        batch = transform(batch, jax.random.fold_in(key, number))
    return {name: value for name, value in batch.items() if name != "row"}


def on_host(transform: Transform) -> Callable[[Example, np.random.Generator], Example]:
    """Return a transform of single examples that does what this one does to batches; for pictures of it."""

    def transformed(example: Example, rng: np.random.Generator) -> Example:
        batch = {name: jnp.asarray(value)[None] for name, value in example.items() if isinstance(value, np.ndarray)}
        made = augment(batch, (transform,), jax.random.key(int(rng.integers(2**31))))
        return {**example, **{name: np.array(value[0]) for name, value in made.items()}}  # type: ignore[typeddict-item]

    transformed.__name__ = type(transform).__name__
    return transformed


def output_size(transforms: tuple[Transform, ...], size: tuple[int, int], channels: int) -> tuple[int, int]:
    """Return the height and width to which transforms bring uint8 images of ``size``; nothing is computed."""
    shapes = {"image": (1, *size, channels), "label": (1, *size)}
    batch = {name: jax.ShapeDtypeStruct(shape, jnp.uint8) for name, shape in shapes.items()}
    made = jax.eval_shape(lambda batch: augment(batch, transforms, jax.random.key(0)), batch)
    return made["image"].shape[1:3]


def keys(batch: Batch, key: PRNGKeyArray) -> Key[Array, " b"]:
    """Return a key for each image, by its number in the batch of the whole job."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["row"])


def move(batch: Batch, image: Array, plane: Callable[[Array, int], Array]) -> Batch:
    """Return the batch with the moved image, and with every ``(b, h, w)`` array moved by ``plane``.

    Args:
        batch: before.
        image: the moved images.
        plane: moves an array by nearest neighbour, and puts a given value beyond it: ``VOID`` in labels, else 0.
    """
    moved = {
        name: plane(value, VOID if name == "label" else 0)
        for name, value in batch.items()
        if name != "image" and jnp.ndim(value) == 3
    }
    return {**batch, **moved, "image": image}


def fill_values(image: Shaped[Array, "b h w c"], fill: Fill) -> Shaped[Array, "b 1 1 c"]:
    """Return the value of every channel beyond each image; ``None`` is the image's own mean colour.

    Raises:
        InputError: for a number of values that is not that of the channels, or values that an integer dtype does not hold.
    """
    channels = image.shape[-1]
    if fill is None:
        return as_dtype(image.astype(jnp.float32).mean(axis=(1, 2), keepdims=True), image.dtype)
    given = fill if isinstance(fill, tuple) else (fill,)
    if len(given) not in (1, channels):
        raise InputError(
            f"fill={fill} has {len(given)} values, but the images have {channels} channels: give one, or one for each."
        )
    if jnp.issubdtype(image.dtype, jnp.integer) and not 0 <= min(given) <= max(given) <= jnp.iinfo(image.dtype).max:
        raise InputError(f"fill={fill} does not fit {image.dtype} images, which go from 0 to {jnp.iinfo(image.dtype).max}.")
    return as_dtype(jnp.broadcast_to(jnp.asarray(given, jnp.float32), (len(image), 1, 1, channels)), image.dtype)


def as_dtype(values: Float[Array, "..."], dtype: Any) -> Shaped[Array, "..."]:
    """Convert float values, rounded and clipped where the dtype is an integer one."""
    if not jnp.issubdtype(dtype, jnp.integer):
        return values.astype(dtype)
    return jnp.clip(jnp.round(values), 0, jnp.iinfo(dtype).max).astype(dtype)
