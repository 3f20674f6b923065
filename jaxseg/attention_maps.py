"""What a transformer looks at: the attention of one pixel's token, block by block, laid over the image.

Blocks hand their weights to the collection ``intermediates``, which only this module asks for. Weights are averaged over heads.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped

from jaxseg.data.augment import resize_image
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.ops.normalise import Normalise
from jaxseg.views import check_image, own_window, seen_size
from jaxseg.windows import padded_side

#: Blocks shown of a deeper network, from the first to the last.
SHOWN = 8


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """The attention of several blocks.

    Attributes:
        image: what the network saw: the image, resized where the config does so, or the window of it around the query. Where
            the config has several scales, at scale 1.
        query: row and column in it; ``None`` for all.
        blocks: by the block's name, in their order, the share of attention that the token over each pixel gets.
    """

    image: Shaped[np.ndarray, "h w c"]
    query: tuple[int, int] | None
    blocks: Mapping[str, Float[np.ndarray, "h w"]]


class _Attention(NamedTuple):
    """One attention over a grid of tokens: its name, its weights, its grid, and which token each window holds."""

    name: str
    weights: Float[Array, "n heads m m"]
    grid: tuple[int, int]
    places: Integer[np.ndarray, "n m"]


def attention_maps(
    predictor: Predictor, image: Shaped[np.ndarray, "h w c"], query: tuple[int, int] | None, *, shown: int = SHOWN
) -> AttentionMaps:
    """Return where the blocks of a transformer look.

    Args:
        predictor: with a network that has attention.
        image: as :meth:`jaxseg.inference.Predictor.predict` takes it.
        query: row and column of the pixel whose token's attention is wanted, or ``None`` for what each token gets from all.
        shown: blocks at most, spread evenly from the first to the last.

    Raises:
        InputError: for a network without attention, an image that cannot be segmented, or a query outside the image.
    """
    check_image(image, predictor.config.data.num_channels)
    height, width = image.shape[:2]
    if query is not None and not (0 <= query[0] < height and 0 <= query[1] < width):
        raise InputError(
            f"The query is row {query[0]}, column {query[1]}, and the image has {height} x {width} pixels: count from 0."
        )
    seen, place = _as_seen(predictor, image, query)
    config = predictor.config
    trained = seen.shape[:2] in (config.image_size, config.window)
    missing = (0, 0) if trained else tuple(padded_side(side) - side for side in seen.shape[:2])
    padded = np.pad(seen, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    where = None if query is None else place
    model, variables = _network(config.model, predictor.variables)
    model = _without_remat(model)
    found = _compute(variables, jnp.asarray(padded)[None], model=model, normalise=config.normalise, query=where)
    if not found:
        raise InputError(
            f"{type(model).__name__} has no attention to show. Take a transformer, such as SETRNaive, or UPerNet on Swin."
        )
    names = sorted(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    chosen = sorted({round(i) for i in np.linspace(0, len(names) - 1, min(shown, len(names)))})
    blocks = {}
    for name in (names[i] for i in chosen):
        stride = _stride(model.backbone.strides, (padded.shape[0], padded.shape[1]), found[name].shape)
        pixels = np.asarray(found[name]).repeat(stride, axis=0).repeat(stride, axis=1)
        blocks[name] = pixels[: seen.shape[0], : seen.shape[1]]
    return AttentionMaps(seen, where, blocks)


def _network(model: Any, variables: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Return the network in front of a CRF with its own variables; any other as it is."""
    inner = getattr(model, "network", None)
    if inner is None:
        return model, variables
    return inner, {collection: tree["network"] for collection, tree in variables.items() if "network" in tree}


def _without_remat(model: Any) -> Any:
    """Return the network with blocks that are computed once: through the other kind, what is sown loses its static parts."""
    backbone: Any = getattr(model, "backbone", None)
    return model.clone(backbone=backbone.clone(remat=False)) if getattr(backbone, "remat", False) else model


def _as_seen(
    predictor: Predictor, image: Shaped[np.ndarray, "h w c"], query: tuple[int, int] | None
) -> tuple[Shaped[np.ndarray, "h2 w2 c"], tuple[int, int]]:
    """Return the image, or the window around the query, as the network gets it, and the query's place there."""
    config, own = predictor.config, (image.shape[0], image.shape[1])
    size = seen_size(config, own, config.scales[0] if len(config.scales) == 1 else 1.0)
    row, column = (image.shape[0] // 2, image.shape[1] // 2) if query is None else query
    if size != own:
        row, column = row * size[0] // own[0], column * size[1] // own[1]
        image = resize_image(image, size)
    window = own_window(config, size)
    if window is None:
        return image, (row, column)
    short = [max(side - length, 0) for side, length in zip(window, image.shape[:2])]
    image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    # As much around the query on one side as on the other, where the image goes on that far.
    top, left = (min(max(at - side // 2, 0), length - side) for at, side, length in zip((row, column), window, image.shape[:2]))
    return image[top : top + window[0], left : left + window[1]], (row - top, column - left)


@partial(jax.jit, static_argnames=("model", "normalise", "query"))
def _compute(
    variables: Mapping[str, Any],
    images: Shaped[Array, "1 h w c"],
    *,
    model: Any,
    normalise: Normalise,
    query: tuple[int, int] | None,
) -> dict[str, Float[Array, "_ _"]]:
    """Return each block's map over its grid; inside ``jit``, so that no block's weights outlive their reduction to it."""
    _, kept = model.apply(variables, normalise(images), mutable=["intermediates"])
    found = {}
    for attention in _attentions(kept.get("intermediates", {})):
        token = None
        if query is not None:
            stride = _stride(model.backbone.strides, (images.shape[1], images.shape[2]), attention.grid)
            token = query[0] // stride * attention.grid[1] + query[1] // stride
        found[attention.name] = _map(attention, token)
    return found


def _attentions(node: Mapping[str, Any], name: str = "", around: Mapping[str, Any] | None = None) -> Iterator[_Attention]:
    """Find the attentions over a grid in what was sown, which says further out what the grid is and what windows hold."""
    around = {**(around or {}), **{key: node[key][0] for key in ("grid", "places") if key in node}}
    for key, child in node.items():
        if isinstance(child, Mapping):
            yield from _attentions(child, key if "block" in key else name, around)
    if "weights" in node and "grid" in around:
        weights, grid, places = node["weights"][0][0], around["grid"], around.get("places")
        if places is None:  # one sequence: class tokens, which lie nowhere, then the grid's
            weights, count = weights[None], grid[0] * grid[1]
            places = np.concatenate([np.full(weights.shape[-1] - count, -1), np.arange(count)])[None]
        yield _Attention(name, weights, grid, places)


def _map(attention: _Attention, token: int | None) -> Float[Array, "_ _"]:
    """Return the share of the attention of ``token``, or of all, that each place of the grid gets."""
    weights, places, count = attention.weights.mean(axis=1), attention.places, attention.grid[0] * attention.grid[1]
    if token is None:
        given = weights.sum(axis=1) / (weights.shape[0] * weights.shape[1])
    else:
        window, inside = np.argwhere(places == token)[0]
        given, places = weights[window, inside], places[window]
    flat = jnp.zeros(count + 1).at[places.ravel()].add(given.ravel())  # what lies nowhere, -1, falls off the end
    return flat[:count].reshape(attention.grid)


def _stride(strides: tuple[int, ...], size: tuple[int, int], grid: tuple[int, ...]) -> int:
    """Return the stride by which an image of this size has this grid."""
    return next(s for s in strides if (-(-size[0] // s), -(-size[1] // s)) == tuple(grid))
