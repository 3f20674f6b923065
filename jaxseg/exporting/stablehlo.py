"""A function as StableHLO, serialized by ``jax.export``: one file for several platforms, read by JAX alone.

It holds a program of array operations and its constants, and nothing else: reading it builds no Python object of its choosing and
running it can neither open a file nor a connection, only compute. JAX reads files of versions up to six months older
(https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees-for-custom-calls).
"""

from collections.abc import Callable, Sequence

import jax
import jax.export
import jax.numpy as jnp
from jax import Array

from jaxseg.errors import InputError
from jaxseg.exporting.pipeline import SIZE_MULTIPLE, Signature

#: What an artifact runs on unless told otherwise. Lowering for a platform needs no device of it.
PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def to_stablehlo(
    function: Callable[[Array], dict[str, Array]], signature: Signature, platforms: Sequence[str] = PLATFORMS
) -> bytes:
    """Return a function of images as the bytes that ``jax.export.deserialize`` reads.

    Convolutions are lowered for each platform as in training, and with an open batch size as XLA's own on all.

    Args:
        function: pure, such as :func:`jaxseg.exporting.pipeline.pipeline` returns.
        signature: of it.
        platforms: of :data:`KNOWN_PLATFORMS`.

    Raises:
        InputError: for another platform, or a network that cannot be traced for images of any size.
    """
    unknown = [name for name in platforms if name not in KNOWN_PLATFORMS]
    if unknown or not platforms:
        raise InputError(f"platforms={tuple(platforms)} must be some of {', '.join(KNOWN_PLATFORMS)}.")
    text = ",".join(str(n) for n in signature.dimensions("batch", "h", "w"))
    shape = jax.export.symbolic_shape(text)
    images = jax.ShapeDtypeStruct(shape, jnp.dtype(signature.dtype))
    try:
        exported = jax.export.export(jax.jit(function), platforms=tuple(platforms))(images)
    except Exception as error:
        if signature.size is not None:
            raise
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"This network cannot be exported for images of any multiple of {SIZE_MULTIPLE}: what it is built of depends on the "
            f"size ({reason}). Give --size HEIGHT WIDTH, once for each size that you need."
        ) from error
    return bytes(exported.serialize())
