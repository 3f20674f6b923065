"""Segment images with a trained network: ``python -m jaxseg.predict --workdir runs/setr-scenes IMAGE...``."""

import argparse
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg import console, visualize
from jaxseg.data.decode import decode_image
from jaxseg.errors import InputError
from jaxseg.inference import Predictor, load

EXAMPLE = """examples:
  python -m jaxseg.predict --workdir runs/setr-scenes street.jpg
  python -m jaxseg.predict --workdir runs/unet-camvid --output masks/ photos/ --json > shares.jsonl"""

#: What counts as an image when a folder is given.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

#: Images decoded ahead of the network; no more are held at a time.
AHEAD = 4


def find_images(paths: Iterable[Path]) -> dict[Path, Path]:
    """Return the images that paths name, each with its place, without suffix, in the output folder.

    A file goes by its stem, a file in a folder by its place in the folder.

    Raises:
        InputError: for a path that does not exist, a folder without images, or two images that would be written to one place.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
            if not inside:
                raise InputError(f"The folder {path} holds no image ({', '.join(SUFFIXES)}).")
            found.update({p: p.relative_to(path).with_suffix("") for p in inside})
        elif path.is_file():
            found[path] = Path(path.stem)
        else:
            raise InputError(f"There is no image {path}.")
    places: dict[Path, Path] = {}
    for path, place in found.items():
        if place in places:
            raise InputError(
                f"{places[place]} and {path} would both be written as {place}. Rename one, or predict them one by one."
            )
        places[place] = path
    return found


def predict_images(predictor: Predictor, images: dict[Path, Path], output: Path) -> Iterator[dict[str, Any]]:
    """Segment images one after the other, and write a mask and an overlay of each.

    Args:
        predictor: with the network.
        images: from :func:`find_images`.
        output: folder for ``<place>_mask.png`` (palette PNG of class indices) and ``<place>_overlay.png`` (with a legend).

    Yields:
        For each image ``image``, ``mask``, ``overlay`` and ``shares``, the part of the pixels that each class has.
    """
    data = predictor.config.data
    for path, image in _decoded(list(images), data.num_channels):
        labels = predictor.predict(image)
        shares = np.bincount(labels.ravel(), minlength=len(data.class_names)) / labels.size
        mask, overlay = (output / images[path].with_name(f"{images[path].name}_{kind}.png") for kind in ("mask", "overlay"))
        mask.parent.mkdir(parents=True, exist_ok=True)
        visualize.save_mask(mask, labels, data.palette)
        visualize.save_picture(overlay, _overlay(predictor, image, labels, shares))
        yield {
            "image": str(path),
            "mask": str(mask),
            "overlay": str(overlay),
            "shares": {name: round(float(share), 6) for name, share in zip(data.class_names, shares)},
        }


def _overlay(predictor: Predictor, image: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    data = predictor.config.data
    picture = visualize.overlay(image, labels, data.palette)
    return visualize.with_legend(picture, data.class_names, data.palette, shares=tuple(float(s) for s in shares))


def _decoded(paths: list[Path], num_channels: int) -> Iterator[tuple[Path, np.ndarray]]:
    """Decode in threads, a few images ahead of the one that is asked for."""
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for path in paths:
            waiting.append((path, pool.submit(decode_image, path, num_channels=num_channels, name=str(path))))
            if len(waiting) > AHEAD:
                first, future = waiting.pop(0)
                yield first, future.result()
        for path, future in waiting:
            yield path, future.result()


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.predict", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files, or folders, which are searched whole")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: <workdir>/predictions")
    parser.add_argument(
        "--json", action="store_true", help="print one line of JSON per image: its files and the share of each class"
    )
    console.add_run_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        console.use_compilation_cache()
        images = find_images(args.images)
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        for done in predict_images(predictor, images, args.output or args.workdir / "predictions"):
            if args.json:
                print(json.dumps(done), flush=True)
            else:
                largest = sorted(done["shares"].items(), key=lambda item: -item[1])[:4]
                named = ", ".join(f"{name} {100 * share:.0f}%" for name, share in largest if share > 0)
                console.results.print(f"{done['overlay']}  {named}")


if __name__ == "__main__":
    main()
