"""A sheet of attention maps: the image, and one overlay per block."""

import math
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from jaxseg.visualize.maps import attention_overlay
from jaxseg.visualize.pictures import to_rgb
from jaxseg.visualize.sheets import sheet

#: Small images are enlarged, by whole factors, until they are at least this wide.
_MIN_WIDTH = 320


def attention_sheet(
    image: Shaped[np.ndarray, "_h _w c"],
    blocks: Mapping[str, Float[np.ndarray, "_h _w"]],
    query: tuple[int, int] | None,
    *,
    columns: int = 3,
) -> UInt8[np.ndarray, "h w 3"]:
    """Set the image and its attention maps in a grid, each with its name above.

    Args:
        image: what the network saw, as :func:`jaxseg.visualize.to_rgb` takes it.
        blocks: by name, the share of attention of every pixel.
        query: row and column of the pixel that looks; ``None`` for the mean over all.
        columns: of the grid, at most.

    Raises:
        InputError: where sizes differ.
    """
    # Enlarged before the ring is drawn, so that it is round on small images too.
    factor = math.ceil(_MIN_WIDTH / image.shape[1])
    height, width = factor * image.shape[0], factor * image.shape[1]
    picture = cv2.resize(to_rgb(image), (width, height), interpolation=cv2.INTER_CUBIC)
    large = {name: shares.repeat(factor, axis=0).repeat(factor, axis=1) for name, shares in blocks.items()}
    place = None if query is None else (factor * query[0] + factor // 2, factor * query[1] + factor // 2)
    cells = [("image", picture)]
    cells += [(name.replace("_", " "), attention_overlay(picture, shares, place)) for name, shares in large.items()]
    columns = min(columns, len(cells))
    titled = [sheet([[cell]], titles=[title], scale=1) for title, cell in cells]
    return sheet([titled[i : i + columns] for i in range(0, len(titled), columns)], scale=1)
