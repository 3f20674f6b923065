"""Segment images with a trained network: ``python -m jaxseg.predict --workdir runs/setr-scenes IMAGE...``."""

import argparse
import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jaxseg import console
from jaxseg.crf import parameters
from jaxseg.errors import InputError, did_you_mean
from jaxseg.inference import load
from jaxseg.instances import Instances, label_instances
from jaxseg.prediction_files import predict_images
from jaxseg.refinement import RefinedPredictor

EXAMPLE = """examples:
  python -m jaxseg.predict --workdir runs/setr-scenes street.jpg
  python -m jaxseg.predict --workdir runs/unet-camvid --output masks/ photos/ --json > shares.jsonl
  python -m jaxseg.predict --workdir runs/unet-isbi2012 --samples 20 --instances --min-area 20 slices/
  python -m jaxseg.predict --workdir runs/setr-scenes --attention --query 60,80 street.jpg
  python -m jaxseg.predict --workdir runs/unet-camvid --crf=deeplab-v1 street.jpg
  python -m jaxseg.predict --workdir runs/unet-scenes --set "scales=(0.75,1.0,1.25)" --set flip=True street.jpg"""

#: What counts as an image when a folder is given.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


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
            # "..png" and "...png" without their suffix would be this folder and the one above.
            found[path] = Path(path.stem if path.stem.strip(".") else path.name)
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
    parser.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help="predict by the mean of N draws of Monte-Carlo dropout, and draw how uncertain the network is",
    )
    objects = parser.add_argument_group("objects")
    objects.add_argument(
        "--instances", action="store_true", help="number the connected regions of every class but the background"
    )
    objects.add_argument(
        "--background", action="append", metavar="CLASS", help="a class without objects; may be repeated; default: the first"
    )
    objects.add_argument("--min-area", type=int, metavar="PIXELS", help="leave out smaller regions; default: 1")
    looking = parser.add_argument_group("attention")
    looking.add_argument("--attention", action="store_true", help="draw where the blocks of a transformer look")
    looking.add_argument(
        "--query", metavar="ROW,COLUMN", help="the pixel that looks; or centre, the default; or all, for what all look at"
    )
    parameters.add_flag(parser)
    console.add_run_flags(parser)
    return parser


def instance_finder(class_names: tuple[str, ...], background: list[str] | None, min_area: int) -> Callable[..., Instances]:
    """Return what finds the objects that the flags ask for.

    Raises:
        InputError: for a background that is no class.
    """
    for name in background or ():
        if name not in class_names:
            raise InputError(f"--background {name}: the network knows no such class.{did_you_mean(name, class_names)}")
    indices = tuple(class_names.index(name) for name in background or class_names[:1])
    return functools.partial(label_instances, background=indices, min_area=min_area)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        console.use_compilation_cache()
        images = find_images(args.images)
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        if args.crf is not None:
            predictor = RefinedPredictor.of(predictor, args.crf)
        class_names = predictor.config.predicted_names
        if not args.instances and (args.background or args.min_area is not None):
            raise InputError("--background and --min-area say how objects are found: add --instances.")
        instances = (
            instance_finder(class_names, args.background, 1 if args.min_area is None else args.min_area)
            if args.instances
            else None
        )
        if args.query is not None and not args.attention:
            raise InputError("--query says whose attention is drawn: add --attention.")
        attention = (args.query or "centre") if args.attention else None
        output = args.output or args.workdir / "predictions"
        options = {"samples": args.samples, "instances": instances, "attention": attention}
        for done in predict_images(predictor, images, output, **options):
            print(json.dumps(done), flush=True) if args.json else console.results.print(_summary(done))


def _summary(done: dict[str, Any]) -> str:
    largest = sorted(done["shares"].items(), key=lambda item: -item[1])[:4]
    parts = [", ".join(f"{name} {100 * share:.0f}%" for name, share in largest if share > 0)]
    if "uncertainty" in done:
        parts.append(f"uncertainty {done['mean_entropy']:.3f} nats")
    if "regions" in done:
        parts.append(", ".join(f"{count} x {name}" for name, count in done["regions"].items() if count) or "no objects")
    if "attention" in done:
        parts.append(f"attention {done['attention']}")
    return f"{done['overlay']}  {'; '.join(parts)}"


if __name__ == "__main__":
    main()
