"""Cropping to the centre, where valid convolutions leave it."""

from jaxtyping import Array, Shaped

from jaxseg.errors import InputError


def centre_crop(x: Shaped[Array, "b h w *rest"], size: tuple[int, int]) -> Shaped[Array, "b h2 w2 *rest"]:
    """Cut the central ``size`` (height, width) out of images, labels or maps; of an odd rest the larger half goes at the end.

    Valid convolutions lose as many pixels on every side. So this brings a map to the size of one that is further down the network
    (the "crop" arrows of U-Net, Ronneberger et al., 2015, Figure 1), and a label to the size of the logits.

    Raises:
        InputError: if ``size`` is larger than the map.
    """
    height, width = x.shape[1:3]
    if size[0] > height or size[1] > width:
        raise InputError(
            f"Cannot crop {height}x{width} to {size[0]}x{size[1]}: the crop must not be larger. Pad, or resize, instead."
        )
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]
