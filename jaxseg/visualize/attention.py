"""A sheet of attention maps: the image, and one overlay per block."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from jaxseg.visualize.maps import attention_overlay
from jaxseg.visualize.pictures import to_rgb
from jaxseg.visualize.sheets import sheet


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
    cells = [("image", to_rgb(image))]
    cells += [(name.replace("_", " "), attention_overlay(image, shares, query)) for name, shares in blocks.items()]
    columns = min(columns, len(cells))
    titled = [sheet([[picture]], titles=[title]) for title, picture in cells]
    return sheet([titled[i : i + columns] for i in range(0, len(titled), columns)], scale=1)
