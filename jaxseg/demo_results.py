"""What the demo page shows of an image, as functions without a browser: pictures, legend, scale, messages."""

import dataclasses
import html
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from jaxseg import visualize
from jaxseg.data.decode import decode_image
from jaxseg.errors import InputError
from jaxseg.visualize.pictures import Colour

#: What may be uploaded, by the end of its name; what the file really is, its content tells.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")

#: Where the remedy begins in what :mod:`jaxseg.data.decode` says.
_REMEDY = re.compile(
    r"(?<=\. )(If the file is genuine|Restore the|Remove it|Save (it|the)|Set (the|num_channels)|Run `pip|Split it|Replace them|"
    r"If it is genuine|Check that)\b"
)

#: What it says of images that are too large.
_TOO_LARGE = re.compile(r"more than|is too large|is larger than|decompression bomb")

#: Longest side, in pixels, of what the page shows, and up to which smaller pictures are enlarged, by whole factors.
LARGEST, ENLARGED = 1280, 768


@dataclasses.dataclass(frozen=True)
class Shown:
    """A segmented image as it is shown, at most :data:`LARGEST` pixels wide and high, and what is said of the whole of it.

    Attributes:
        name: of the image, without its suffix.
        size: height and width of the image itself.
        image: its pixels.
        labels: its classes.
        confidence: probability of the chosen class, 0 to 1.
        shares: part of all pixels that each class has.
        confidences: mean confidence of each class's pixels; NaN for a class without any.
        seconds: that the network, and the CRF, took.
    """

    name: str
    size: tuple[int, int]
    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    confidence: Float[np.ndarray, "h w"]
    shares: tuple[float, ...]
    confidences: tuple[float, ...]
    seconds: float


def read_upload(path: str | Path, num_channels: int) -> Shaped[np.ndarray, "h w {num_channels}"]:
    """Decode an uploaded file by its content, refusing by its header what is too large.

    Raises:
        InputError: for another suffix than :data:`SUFFIXES`, a file that has been deleted meanwhile, or whatever
            :func:`jaxseg.data.decode.decode_image` refuses; it says the file's name, never its folder, and what a visitor of the
            page can do, who has neither the data set nor the command.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path.name} is no image by its name. Upload one that ends in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise InputError(f"{path.name} is no longer here: uploads are deleted after a while. Upload it again.")
    try:
        return decode_image(path, num_channels=num_channels, name=path.name)
    except InputError as error:
        raise InputError(path.name + _for_visitors(str(error).removeprefix(path.name), num_channels)) from None


def _for_visitors(refused: str, num_channels: int) -> str:
    """Replace the remedy in what is said of a refused file, for it is for those who train."""
    found = _REMEDY.search(refused)
    said = refused[: found.start()] if found else f"{refused} "
    if "num_channels is" in said:
        said, remedy = said.replace("num_channels is", "the network takes"), f"Upload an image of {num_channels} channels."
    elif _TOO_LARGE.search(said):
        remedy = "Upload a smaller image."
    elif "not an image that" in said or "cannot be decompressed" in said:
        remedy = "Upload it as PNG or JPEG, or upload another image."
    else:
        remedy = "Upload another image, or this one saved again."
    return said + remedy


def show(
    name: str,
    image: Shaped[np.ndarray, "_h _w c"],
    labels: UInt8[np.ndarray, "_h _w"],
    confidence: Float[np.ndarray, "_h _w"],
    *,
    num_classes: int,
    seconds: float,
) -> Shown:
    """Count the classes of a segmented image, and scale it to the size in which it is shown.

    Args:
        name: of the image.
        image: as :func:`jaxseg.visualize.to_rgb` takes it.
        labels: class indices in ``[0, num_classes)``.
        confidence: 0 to 1.
        num_classes: of the network.
        seconds: that it took.
    """
    counts = np.bincount(labels.ravel(), minlength=num_classes)
    sums = np.bincount(labels.ravel(), weights=confidence.ravel(), minlength=num_classes)
    means = np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0)
    height, width = labels.shape
    shown = _shown_size(height, width)
    smaller = cv2.INTER_AREA if shown[0] < height else cv2.INTER_NEAREST

    def scaled(array: np.ndarray, interpolation: int) -> np.ndarray:
        same = shown == array.shape[:2]
        return array if same else cv2.resize(array, (shown[1], shown[0]), interpolation=interpolation)

    return Shown(
        name=name,
        size=(height, width),
        image=scaled(visualize.to_rgb(image), smaller),
        labels=scaled(labels, cv2.INTER_NEAREST),
        confidence=np.clip(scaled(confidence.astype(np.float32), smaller), 0, 1),
        shares=tuple((counts / labels.size).tolist()),
        confidences=tuple(means.tolist()),
        seconds=seconds,
    )


def _shown_size(height: int, width: int) -> tuple[int, int]:
    longest = max(height, width)
    if longest > LARGEST:
        return max(1, round(height * LARGEST / longest)), max(1, round(width * LARGEST / longest))
    factor = max(1, ENLARGED // longest)
    return factor * height, factor * width


def legend_table(names: Sequence[str], palette: Sequence[Colour], shown: Shown) -> str:
    """Return the legend as an HTML table: colour, name, share and mean confidence of each class, the largest first.

    Classes that the image does not have are named below it. Names are escaped.

    Args:
        names: one per class.
        palette: one RGB colour per class.
        shown: with the shares.
    """
    order = sorted(range(len(names)), key=lambda i: -shown.shares[i])
    rows, largest = [], max(shown.shares)
    for i in (i for i in order if shown.shares[i] > 0):
        share, colour = shown.shares[i], "#{:02x}{:02x}{:02x}".format(*palette[i])
        rows.append(
            f'<tr><th scope="row"><span class="name"><span class="swatch" style="background:{colour}"></span>'
            f"{html.escape(names[i])}</span></th>"
            f'<td class="bar"><span style="width:{100 * share / largest:.2f}%;background:{colour}"></span></td>'
            f"<td>{_percent(share)}</td><td>{_percent(shown.confidences[i])}</td></tr>"
        )
    absent = ", ".join(html.escape(names[i]) for i in range(len(names)) if shown.shares[i] == 0)
    heads = '<th scope="col">class</th><th scope="col" class="bar"></th><th scope="col">share</th><th scope="col">confidence</th>'
    table = f'<table class="legend"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return table + (f'<p class="absent">Not in this image: {absent}.</p>' if absent else "")


def confidence_scale(shown: Shown) -> str:
    """Return the scale of :func:`confidence_map` as HTML: its colours from 0 to 100 %, and the image's mean."""
    steps = np.linspace(0, 1, 17, dtype=np.float32)
    colors = visualize.heat_map(steps[None], largest=1.0)[0].tolist()
    gradient = ",".join("rgb({},{},{})".format(*color) for color in colors)
    mean = sum(share * confidence for share, confidence in zip(shown.shares, shown.confidences) if share > 0)
    return (
        f'<div class="scale"><div class="ramp" style="background:linear-gradient(90deg,{gradient})"></div>'
        "<div class='ticks'><span>0 %</span><span>50 %</span><span>100 %</span></div>"
        f"<p>Probability of the chosen class, {_percent(mean)} on average: dark is where the network is unsure.</p></div>"
    )


def confidence_map(shown: Shown) -> UInt8[np.ndarray, "h w 3"]:
    """Paint the probability of the chosen class from 0 (black) to 1 (pale yellow)."""
    return visualize.heat_map(shown.confidence, largest=1.0)


def overlay(shown: Shown, palette: Sequence[Colour], opacity: float) -> UInt8[np.ndarray, "h w 3"]:
    """Paint the classes over the image; opacity 0 leaves the image alone, 1 the colours alone.

    Raises:
        InputError: for an opacity out of range.
    """
    return visualize.overlay(shown.image, shown.labels, palette, alpha=opacity, contours=opacity > 0)


def save_overlay(
    folder: Path, picture: UInt8[np.ndarray, "h w 3"], shown: Shown, names: Sequence[str], palette: Sequence[Colour]
) -> Path:
    """Write the overlay with its legend as ``<name>_overlay.png``, and return where."""
    path = folder / f"{shown.name}_overlay.png"
    present = [i for i in range(len(names)) if shown.shares[i] > 0]
    kept = ([names[i] for i in present], [palette[i] for i in present], [shown.shares[i] for i in present])
    visualize.save_picture(path, visualize.with_legend(picture, *kept))
    return path


def summary(shown: Shown) -> str:
    """Return one line about the image, as HTML."""
    height, width = shown.size
    return f"<p>{html.escape(shown.name)}: {width} x {height} pixels in {shown.seconds:.1f} s.</p>"


def refusal(error: Exception) -> str:
    """Return an error as HTML that a screen reader speaks at once."""
    return f'<p class="refusal" role="alert">{html.escape(str(error))}</p>'


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value >= 0.001 else "&lt; 0.1 %"
