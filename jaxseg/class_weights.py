"""Compute class weights of a config's training data: ``python -m jaxseg.class_weights --config configs/unet.py``."""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray
from rich.progress import track
from rich.table import Table

from jaxseg import console
from jaxseg.config import load
from jaxseg.data.source import Example
from jaxseg.losses import PixelCounts, count_pixels, inverse_log_frequency_weights, median_frequency_weights

EXAMPLE = """examples:
  python -m jaxseg.class_weights --config configs/unet.py
  python -m jaxseg.class_weights --config configs/unet.py:camvid --set data.root=~/data/CamVid --json
Bind the weights in the config: loss=functools.partial(losses.cross_entropy, class_weights=(...))."""


def compute(examples: Sequence[Example], num_classes: int) -> dict[str, Any]:
    """Count the pixels of every class over a split, at the labels' own sizes, and weigh the classes.

    Returns:
        ``pixels`` and ``images`` (that contain it) of each class, and its weight by ``median_frequency`` and by
        ``inverse_log_frequency``, each a list in the order of the classes.

    Raises:
        InputError: for a label that is neither a class nor void, or no labelled pixel at all.
    """
    counts: PixelCounts = count_pixels(_labels(examples), num_classes)
    return {
        "pixels": list(counts.pixels),
        "images": list(counts.images),
        "median_frequency": list(median_frequency_weights(counts)),
        "inverse_log_frequency": list(inverse_log_frequency_weights(counts)),
    }


def _labels(examples: Sequence[Example]) -> Iterator[UInt8[ndarray, "_h _w"]]:
    silent = not console.status.is_terminal  # where the bar would leave an empty line
    for index in track(range(len(examples)), "counting", console=console.status, transient=True, disable=silent):
        yield examples[index]["label"]


def table(found: dict[str, Any], class_names: tuple[str, ...]) -> Table:
    """Return what :func:`compute` found, a row per class."""
    drawn = Table()
    drawn.add_column("class")
    for title in ("pixels, %", "images", "median frequency", "inverse log frequency"):
        drawn.add_column(title, justify="right")
    total = sum(found["pixels"])
    columns = (found[key] for key in ("pixels", "images", "median_frequency", "inverse_log_frequency"))
    for name, pixels, images, median, inverse in zip(class_names, *columns):
        drawn.add_row(name, f"{100 * pixels / total:.2f}", str(images), f"{median:.3f}", f"{inverse:.3f}")
    return drawn


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.class_weights",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:RECIPE]", help="config file, and recipe if not its first")
    parser.add_argument("--split", default="train", help="of the config's data; default: train")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field of the config")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, by class name")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        data = load(args.config, args.set).data
        found = compute(data.split(args.split), len(data.class_names))
        if args.json:
            print(json.dumps({key: dict(zip(data.class_names, values)) for key, values in found.items()}))
            return
        console.results.print(table(found, data.class_names))
        for key in ("median_frequency", "inverse_log_frequency"):
            rounded = tuple(float(f"{weight:.4g}") for weight in found[key])
            console.results.print(f"{key}: class_weights={rounded}")


if __name__ == "__main__":
    main()
