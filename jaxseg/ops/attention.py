"""Scaled dot-product attention: one formula, computed as fast as the device allows.

Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762, Eq. 1.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxseg.errors import InputError

#: Widths of a head that cuDNN's flash attention takes: multiples of the first up to the second.
FLASH_WIDTHS = (8, 128)
IMPLEMENTATIONS = (None, "xla", "cudnn")


def attention(
    query: Float[Array, "*b n h d"],
    key: Float[Array, "*b m h d"],
    value: Float[Array, "*b m h d"],
    *,
    mask: Bool[Array, "*#b #h #n m"] | None = None,
    bias: Float[Array, "*#b #h n m"] | None = None,
    causal: bool = False,
    drop: Callable[[Array], Array] | None = None,
    implementation: str | None = None,
) -> Float[Array, "*b n h d"]:
    """Return ``softmax(query key^T / sqrt(d) + bias) value`` of every head, the softmax in float32.

    Where nothing but ``causal`` is asked for, half-precision inputs on an NVIDIA GPU go through cuDNN's flash attention, which
    never holds the ``n m`` weights. Everything else is two batched matrix products with the softmax between; numbers of tokens
    are any in both.

    Args:
        query: Of ``n`` tokens; all three of one dtype.
        key: Of ``m`` tokens.
        value: Of the same.
        mask: True where a query sees a key. A query that sees none gets zeros.
        bias: Added to the scores.
        causal: Whether query ``i`` sees the keys up to ``i`` only (``n = m``).
        drop: Such as dropout: applied to the float32 exponentials, whose sum was taken before; it may scale them, or zero some.
        implementation: ``"xla"`` or ``"cudnn"`` instead of the choice above; cuDNN's says itself what it does not take.

    Returns:
        One value per query, of ``query``'s dtype.

    Raises:
        InputError: For an unknown implementation, cuDNN's with what it has not, or ``causal`` with ``n`` unlike ``m``.
    """
    if implementation not in IMPLEMENTATIONS:
        raise InputError(f"implementation={implementation!r} is not known: give 'xla', 'cudnn' or None.")
    plain_only = mask is not None or bias is not None or drop is not None
    if implementation == "cudnn" and plain_only:
        raise InputError("implementation='cudnn' takes no mask, no bias and no dropout here: leave it out, or give 'xla'.")
    if implementation == "cudnn" or (implementation is None and not plain_only and flash_applies(query)):
        flat = [x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)]
        return jax.nn.dot_product_attention(*flat, is_causal=causal, implementation="cudnn").reshape(query.shape)
    exponentials, total = _softmax(query, key, mask, bias, causal)
    if drop is not None:
        exponentials = drop(exponentials)
    # Divided after the product: n d divisions, not n m.
    mixed = _product("...hnm,...mhd->...hnd", exponentials.astype(value.dtype), value) / total
    return jnp.swapaxes(mixed, -2, -3).astype(query.dtype)


def attention_weights(
    query: Float[Array, "*b n h d"],
    key: Float[Array, "*b m h d"],
    *,
    mask: Bool[Array, "*#b #h #n m"] | None = None,
    bias: Float[Array, "*#b #h n m"] | None = None,
    causal: bool = False,
) -> Float[Array, "*b h n m"]:
    """Return the weights themselves, for looking at; see :func:`attention`.

    Each query's are at least 0 and sum to 1, or are all 0 where it sees nothing.
    """
    exponentials, total = _softmax(query, key, mask, bias, causal)
    return exponentials / total


def flash_applies(query: Float[Array, "*b n h d"]) -> bool:
    """Say whether cuDNN's flash attention takes such heads on the device that computations go to by default."""
    multiple, largest = FLASH_WIDTHS
    fits = query.shape[-1] % multiple == 0 and query.shape[-1] <= largest
    return fits and query.dtype in (jnp.bfloat16, jnp.float16) and _compute_capability() >= 8


def _compute_capability() -> int:
    """Return the generation of the default device if it is an NVIDIA GPU, else 0."""
    device: Any = getattr(jax.config, "jax_default_device", None) or jax.devices()[0]
    if isinstance(device, str):
        device = jax.devices(device)[0]
    major = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return int(major) if device.platform in ("gpu", "cuda") and major.isdecimal() else 0


def _softmax(query: Array, key: Array, mask: Array | None, bias: Array | None, causal: bool) -> tuple[Array, Array]:
    """Return the exponentials of the scores less each row's largest, and each row's sum of them, in float32."""
    n, m, width = query.shape[-3], key.shape[-3], query.shape[-1]
    scores = _product("...nhd,...mhd->...hnm", query * np.asarray(width**-0.5, query.dtype), key)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    if causal:
        if n != m:
            raise InputError(f"causal=True compares places in one sequence, and there are {n} queries and {m} keys: give a mask.")
        lower = jnp.asarray(np.tril(np.ones((n, n), bool))).reshape((1,) * (scores.ndim - 2) + (n, n))
        mask = lower if mask is None else mask & lower
    if mask is None:
        largest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        exponentials = jnp.exp(scores - largest)
        return exponentials, exponentials.sum(axis=-1, keepdims=True)
    scores = jnp.where(mask, scores, -jnp.inf)
    largest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    exponentials = jnp.exp(scores - jnp.where(jnp.isfinite(largest), largest, 0.0))
    total = exponentials.sum(axis=-1, keepdims=True)
    return exponentials, jnp.where(total == 0, 1.0, total)


def _product(terms: str, a: Array, b: Array) -> Array:
    return jnp.einsum(terms, a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))
