"""Pictures of what is not a class: numbered objects, and values such as uncertainty."""

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8, UInt16

from jaxseg.errors import InputError
from jaxseg.visualize.pictures import borders, check_same_size, to_rgb

#: The hue moves on by this part of the circle from one object to the next, so that neighbours in number differ clearly.
_GOLDEN = (3 - 5**0.5) / 2


def instance_overlay(
    image: Shaped[np.ndarray, "_h _w c"], ids: UInt16[np.ndarray, "_h _w"], *, alpha: float = 0.5
) -> UInt8[np.ndarray, "h w 3"]:
    """Paint every object in a colour of its own over its image, its outline fully; 0, the background, keeps the image.

    Args:
        image: as :func:`to_rgb` takes it.
        ids: numbers of objects, of the image's size.
        alpha: opacity of the colours, 0 to 1.

    Raises:
        InputError: where the sizes differ or ``alpha`` is out of range.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha={alpha} must be from 0 (the image alone) to 1 (the colours alone).")
    check_same_size("image", image.shape[:2], ids.shape)
    background, colors = to_rgb(image), _distinct_colors(int(ids.max(initial=0)))[ids]
    picture = np.rint((1 - alpha) * background.astype(np.float32) + np.float32(alpha) * colors).astype(np.uint8)
    outline = borders(ids)
    picture[outline] = colors[outline]
    return np.where((ids > 0)[..., None], picture, background)


def heat_map(values: Float[np.ndarray, "h w"], *, largest: float) -> UInt8[np.ndarray, "h w 3"]:
    """Paint values from 0 (black) over violet and orange to ``largest`` (pale yellow), which is shown as it is beyond.

    Args:
        values: at least 0.
        largest: the end of the scale, above 0; the same for pictures that are to be compared.

    Raises:
        InputError: if ``largest`` is not above 0.
    """
    if not largest > 0:
        raise InputError(f"largest={largest} must be above 0: it is the value at the bright end of the scale.")
    levels = np.rint(255 * np.clip(values / largest, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def attention_overlay(
    image: Shaped[np.ndarray, "_h _w c"], shares: Float[np.ndarray, "_h _w"], query: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a map of attention over its image, which is shown in grey: violet where there is some, pale yellow at the most.

    Args:
        image: as :func:`to_rgb` takes it.
        shares: at least 0, of the image's size; the largest is the end of the scale.
        query: row and column of the pixel that looks, marked by a white ring with a black rim.

    Raises:
        InputError: where the sizes differ.
    """
    check_same_size("image", image.shape[:2], shares.shape)
    grey = cv2.cvtColor(cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    largest = float(shares.max(initial=0))
    relative = shares[..., None] / largest if largest > 0 else np.zeros((*shares.shape, 1), np.float32)
    colors = heat_map(shares, largest=largest if largest > 0 else 1.0)
    opacity = 0.15 + 0.7 * np.sqrt(relative)
    picture = np.rint((1 - opacity) * grey.astype(np.float32) + opacity * colors).astype(np.uint8)
    if query is not None:
        radius = max(min(shares.shape) // 40, 3)
        for thickness, color in ((3, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.circle(picture, (int(query[1]), int(query[0])), radius, color, thickness)
    return picture


def _distinct_colors(count: int) -> UInt8[np.ndarray, "n 3"]:
    """Black for 0, then hues by the golden ratio, in three strengths."""
    index = np.arange(count)
    hsv = np.stack([index * _GOLDEN % 1 * 360, 1 - index % 3 * 0.2, 1 - index // 3 % 3 * 0.18], axis=-1).astype(np.float32)
    colors = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] if count else np.zeros((0, 3))
    return np.rint(255 * np.concatenate([np.zeros((1, 3)), colors])).astype(np.uint8)
