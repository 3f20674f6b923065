"""The images that a network finds easy and hard, as pictures within the page."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from jaxseg.data.source import Example
from jaxseg.evaluation import Evaluation
from jaxseg.inference import Predictor
from jaxseg.run_report.tables import css_color
from jaxseg.types import VOID
from jaxseg.visualize import to_rgb
from jaxseg.visualize.pictures import CORRECT_COLOR, VOID_COLOR, WRONG_COLOR, Colour

#: Best and worst images, of each so many.
EACH = 4

#: Longest side of a picture; larger ones are shown smaller.
LARGEST = 360

_JPEG_QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image of the split with what the network makes of it.

    Attributes:
        name: of the example.
        miou: of it alone, in percent.
        pixel_accuracy: of it alone, in percent.
        size: height and width before it was made smaller.
        pictures: title and data URI of the image, its label, the prediction and the errors.
        classes: that are labelled or predicted in it.
    """

    name: str
    miou: float
    pixel_accuracy: float
    size: tuple[int, int]
    pictures: tuple[tuple[str, str], ...]
    classes: frozenset[int]


def best_and_worst(predictor: Predictor, examples: Sequence, found: Evaluation) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """Predict the images of the highest and of the lowest mean IoU again, and draw them.

    Args:
        predictor: with the network.
        examples: of the split.
        found: on that split.

    Returns:
        The best, falling, and the worst, rising; none is in both.
    """
    order = found.images.worst_first().tolist()
    worst = order[: min(EACH, len(order) // 2)]
    best = order[len(worst) :][::-1][:EACH]
    drawn = [tuple(_shown(predictor, examples[i], found, i) for i in some) for some in (best, worst)]
    return drawn[0], drawn[1]


def legend(shown: Sequence[Shown], names: Sequence[str], palette: Sequence[Colour]) -> list[tuple[str, str]]:
    """Return a name and a CSS colour for each class that appears, and for the colours of the errors."""
    there = sorted(frozenset[int]().union(*(one.classes for one in shown)))
    colors = [(names[i], css_color(palette[i])) for i in there]
    errors = zip(("right", "wrong", "void, not counted"), (CORRECT_COLOR, WRONG_COLOR, VOID_COLOR))
    return [*colors, *((name, css_color(colour)) for name, colour in errors)]


def _shown(predictor: Predictor, example: Example, found: Evaluation, index: int) -> Shown:
    palette = predictor.config.data.palette
    label, prediction = example["label"], found.named(predictor.predict(example["image"]))
    pictures = (
        ("image", _jpeg(to_rgb(example["image"]))),
        ("label", _png(label, palette)),
        ("prediction", _png(prediction, palette)),
        ("errors", _png(np.where(label == VOID, VOID, prediction == label), (WRONG_COLOR, CORRECT_COLOR))),
    )
    seen = np.unique(np.concatenate([label.ravel(), prediction.ravel()])).tolist()
    return Shown(
        example["name"],
        100 * float(found.images.miou[index]),
        100 * float(found.images.pixel_accuracy[index]),
        (label.shape[0], label.shape[1]),
        pictures,
        frozenset(seen) - {VOID},
    )


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    return _uri(_fitted(Image.fromarray(picture), Image.Resampling.LANCZOS), "JPEG", quality=_JPEG_QUALITY)


def _png(labels: Integer[np.ndarray, "h w"], palette: Sequence[Colour]) -> str:
    """Return class indices as a palette PNG, a fraction of one with three channels."""
    table = np.zeros((VOID + 1, 3), np.uint8)
    table[: len(palette)] = palette
    table[VOID] = VOID_COLOR
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(table.tobytes())
    return _uri(_fitted(picture, Image.Resampling.NEAREST), "PNG", optimize=True)


def _fitted(picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
    longest = max(picture.size)
    if longest <= LARGEST:
        return picture
    width, height = (max(1, round(side * LARGEST / longest)) for side in picture.size)
    return picture.resize((width, height), resampling)


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded.getvalue()).decode()}"
