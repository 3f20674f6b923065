"""Photometric augmentation: the image changes, the label does not.

Black and white are the ends of ``value_range``: the whole range of uint8 and uint16, and 0 to 1 for float32, unless given.
Twelve-bit microscopy in uint16 wants ``value_range=(0, 4095)``, computed tomography in float32 perhaps ``(-1024, 3071)``. Results
are clipped to the range; an image that leaves it is an error, since clipping it would destroy it silently.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from jaxseg.data.augment.channels import by_channels, check_dtype, check_probability, mean_colour
from jaxseg.data.source import Example
from jaxseg.errors import InputError

#: Weights of red, green and blue in luma, ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114])

_RANGES = {np.dtype(np.uint8): (0.0, 255.0), np.dtype(np.uint16): (0.0, 65535.0), np.dtype(np.float32): (0.0, 1.0)}

#: Resizing overshoots by rounding errors, which are no reason to reject an image.
_TOLERANCE = 1e-3

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order; the meanings and limits of torchvision.

    With factors ``b, c, s`` uniform in ``[max(0, 1 - x), 1 + x]``, where ``x`` is the field, and a shift uniform in
    ``[-hue, hue]``:

    * brightness: ``b * image``, black being 0;
    * contrast: ``c * image + (1 - c) * mean``, the mean of the luma;
    * saturation: ``s * image + (1 - s) * luma``, pixel by pixel;
    * hue: the hue of HSV is turned by that share of the circle.

    Saturation and hue exist only for three channels (RGB), others are left alone by them, and their contrast is taken about the
    mean of each channel.

    Attributes:
        brightness: 0 or more; 0 leaves it alone, as for all four.
        contrast: 0 or more.
        saturation: 0 or more.
        hue: 0 to 0.5.
        value_range: black and white, or None, see the module.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    value_range: Range | None = None

    def __post_init__(self) -> None:
        for field in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, field) < np.inf:
                raise InputError(f"{field}={getattr(self, field)} must be 0 or more: the factor is drawn from 1 - x to 1 + x.")
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"hue={self.hue} must be from 0 to 0.5: it is the largest turn, as a share of the colour circle.")
        _check_range(self.value_range)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example with its image's colours changed."""
        order = rng.permutation(4)
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        brightness, contrast, saturation = rng.uniform(np.maximum(0, 1 - strengths), 1 + strengths)
        hue = rng.uniform(-self.hue, self.hue)
        image = example["image"]
        black, white = _value_range(example, self.value_range)
        coloured = image.shape[2] == 3
        for step in order:
            if step == 0 and self.brightness:
                image = _blend(image, brightness, np.array([black]), (black, white))
            elif step == 1 and self.contrast:
                mean = mean_colour(image)
                image = _blend(image, contrast, mean @ _LUMA[:, None] if coloured else mean, (black, white))
            elif step == 2 and self.saturation and coloured:
                matrix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
                image = _clip(cv2.transform(image, matrix), (black, white))
            elif step == 3 and self.hue and coloured:
                image = _turn_hue(image, hue, (black, white))
        return {**example, "image": image}


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """Blur with a Gaussian of random width; PSPNet's (Zhao et al. 2017, section 5.1) is 1.1 pixels wide in its code.

    Attributes:
        sigma: smallest and largest standard deviation in pixels, between which it is uniform.
        probability: of blurring at all.
    """

    sigma: Range = (0.1, 2.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_sigma(self.sigma, "pixels", positive=True)
        check_probability("probability", self.probability)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example with its image blurred; beyond the border the image is mirrored."""
        sigma = rng.uniform(*self.sigma)
        if rng.random() >= self.probability:
            return example
        side = 2 * int(np.ceil(3 * sigma)) + 1

        def blur(part: np.ndarray, _: slice) -> np.ndarray:
            return cv2.GaussianBlur(part, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)

        return {**example, "image": by_channels(example["image"], blur)}


@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Add independent Gaussian noise of random strength to every pixel and channel.

    Attributes:
        sigma: smallest and largest standard deviation, between which it is uniform, as a share of the value range.
        probability: of adding noise at all.
        value_range: black and white, or None, see the module.
    """

    sigma: Range = (0.0, 0.05)
    probability: float = 0.5
    value_range: Range | None = None

    def __post_init__(self) -> None:
        _check_sigma(self.sigma, "shares of the value range")
        check_probability("probability", self.probability)
        _check_range(self.value_range)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Return the example with its image made noisy."""
        sigma = rng.uniform(*self.sigma)
        if rng.random() >= self.probability or sigma == 0:
            return example
        image = example["image"]
        black, white = _value_range(example, self.value_range)
        noisy = rng.standard_normal(image.shape, dtype=np.float32)
        noisy *= np.float32(sigma * (white - black))
        noisy += image
        return {**example, "image": _as_dtype(noisy, image.dtype, (black, white))}


def _blend(
    image: Shaped[np.ndarray, "h w c"], factor: float, other: Float[np.ndarray, " n"], limits: Range
) -> Shaped[np.ndarray, "h w c"]:
    """``factor * image + (1 - factor) * other``; ``other`` is one value, or one per channel."""
    offsets = np.broadcast_to((1 - factor) * other, (image.shape[2],))

    def blend(part: np.ndarray, channels: slice) -> np.ndarray:
        matrix = np.column_stack([factor * np.eye(part.shape[2]), offsets[channels]])
        return cv2.transform(part, matrix)

    return _clip(by_channels(image, blend), limits)


def _turn_hue(image: Shaped[np.ndarray, "h w 3"], turn: float, limits: Range) -> Shaped[np.ndarray, "h w 3"]:
    if image.dtype == np.uint8 and limits == _RANGES[image.dtype]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(turn * 256) % 256)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    black, white = limits
    hsv = cv2.cvtColor((image.astype(np.float32) - black) / (white - black), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return _as_dtype(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * (white - black) + black, image.dtype, limits)


def _as_dtype(values: Float[np.ndarray, "h w c"], dtype: np.dtype, limits: Range) -> Shaped[np.ndarray, "h w c"]:
    values = np.clip(values, *limits)
    return values.astype(dtype) if dtype == np.float32 else np.rint(values).astype(dtype)


def _clip(image: Shaped[np.ndarray, "h w c"], limits: Range) -> Shaped[np.ndarray, "h w c"]:
    """Clip to the limits, unless they are those of an integer dtype, which OpenCV keeps by itself."""
    whole = image.dtype != np.float32 and limits == _RANGES[image.dtype]
    return image if whole else np.clip(image, *np.asarray(limits, image.dtype))


def _value_range(example: Example, value_range: Range | None) -> Range:
    """Black and white of an example, after a check that its image keeps within them."""
    image = example["image"]
    check_dtype(image)
    if value_range is None and image.dtype != np.float32:
        return _RANGES[image.dtype]
    black, white = value_range or _RANGES[image.dtype]
    smallest, largest = float(image.min()), float(image.max())
    slack = _TOLERANCE * (white - black)
    if not black - slack <= smallest <= largest <= white + slack:
        raise InputError(
            f"{example['name']!r} has values from {smallest:g} to {largest:g}, outside the range from {black:g} to {white:g} "
            f"that colour augmentation takes for {image.dtype}. Give a value_range=(black, white) that holds all images."
        )
    return black, white


def _check_range(value_range: Range | None) -> None:
    if value_range is not None and not -np.inf < value_range[0] < value_range[1] < np.inf:
        raise InputError(f"value_range={value_range} must be two numbers (black, white) with black below white, or None.")


def _check_sigma(sigma: Range, unit: str, *, positive: bool = False) -> None:
    smallest, largest = sigma
    if not 0 <= smallest <= largest < np.inf or (positive and smallest == 0):
        raise InputError(
            f"sigma={sigma} must be (smallest, largest) in {unit}, with {'0 <' if positive else '0 <='} smallest <= largest."
        )
