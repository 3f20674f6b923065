"""Segment images with a trained network: ``python -m jaxseg.predict --workdir runs/setr-scenes IMAGE...``."""

import argparse
import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg import console, visualize
from jaxseg.attention_maps import attention_maps
from jaxseg.crf import parameters
from jaxseg.data.decode import decode_image
from jaxseg.errors import InputError, did_you_mean
from jaxseg.inference import Predictor, Samples, load
from jaxseg.instances import Instances, label_instances
from jaxseg.refinement import RefinedPredictor

EXAMPLE = """examples:
  python -m jaxseg.predict --workdir runs/setr-scenes street.jpg
  python -m jaxseg.predict --workdir runs/unet-camvid --output masks/ photos/ --json > shares.jsonl
  python -m jaxseg.predict --workdir runs/unet-isbi2012 --samples 20 --instances --min-area 20 slices/
  python -m jaxseg.predict --workdir runs/unet-camvid --crf=deeplab-v1 street.jpg"""

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


def predict_images(
    predictor: Predictor,
    images: dict[Path, Path],
    output: Path,
    *,
    samples: int | None = None,
    instances: Callable[[np.ndarray], Instances] | None = None,
    attention: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Segment images one after the other, and write a mask and an overlay of each.

    Args:
        predictor: with the network.
        images: from :func:`find_images`.
        output: folder for ``<place>_mask.png`` (palette PNG of class indices) and ``<place>_overlay.png`` (with a legend).
        samples: draws of Monte-Carlo dropout, the mean of which gives the classes; their entropy is written too, as
            ``<place>_uncertainty.png``, black where it is 0 and brightest at ``log(k)``, its maximum.
        instances: finds objects in class indices; they are written as ``<place>_instances.png`` (16 bits, 0 is none) and, over
            the image, as ``<place>_objects.png``.
        attention: the pixel whose attention is drawn as ``<place>_attention.png``: ``centre``, ``all`` or ``ROW,COLUMN``.

    Yields:
        For each image ``image``, ``mask``, ``overlay`` and ``shares``, the part of the pixels that each class has; with samples
        ``uncertainty`` and ``mean_entropy``, in nats; with instances ``instances``, ``objects`` and ``regions``, how many of them
        each class has; with attention ``attention``.
    """
    data = predictor.config.data
    for path, image in _decoded(list(images), data.num_channels):
        place = output / images[path]
        drawn = None if samples is None else predictor.sample(image, samples=samples, seed=predictor.config.seed)
        labels = predictor.predict(image) if drawn is None else drawn.labels
        done = {"image": str(path), **_write_labels(predictor, image, labels, place)}
        if drawn is not None:
            done |= _write_uncertainty(drawn, place)
        if instances is not None:
            done |= _write_instances(image, instances(labels), predictor.config.predicted_names, place)
        if attention is not None:
            done |= _write_attention(predictor, image, _query(attention, image.shape), place)
        yield done


def _file(place: Path, kind: str) -> Path:
    return place.with_name(f"{place.name}_{kind}.png")


def _write_labels(predictor: Predictor, image: np.ndarray, labels: np.ndarray, place: Path) -> dict[str, Any]:
    names, palette = predictor.config.predicted_names, predictor.config.predicted_palette
    shares = np.bincount(labels.ravel(), minlength=len(names)) / labels.size
    mask, overlay = _file(place, "mask"), _file(place, "overlay")
    visualize.save_mask(mask, labels, palette)
    visualize.save_picture(overlay, _overlay(predictor, image, labels, shares))
    named = {name: round(float(share), 6) for name, share in zip(names, shares)}
    return {"mask": str(mask), "overlay": str(overlay), "shares": named}


def _write_uncertainty(drawn: Samples, place: Path) -> dict[str, Any]:
    path = _file(place, "uncertainty")
    visualize.save_picture(path, visualize.heat_map(drawn.entropy, largest=math.log(drawn.probabilities.shape[-1])))
    return {"uncertainty": str(path), "mean_entropy": round(float(drawn.entropy.mean()), 6)}


def _write_instances(image: np.ndarray, found: Instances, class_names: tuple[str, ...], place: Path) -> dict[str, Any]:
    numbers, picture = _file(place, "instances"), _file(place, "objects")
    visualize.save_instances(numbers, found.ids)
    visualize.save_picture(picture, visualize.instance_overlay(image, found.ids))
    regions = {name: found.classes.count(index) for index, name in enumerate(class_names)}
    return {"instances": str(numbers), "objects": str(picture), "regions": regions}


def _query(text: str, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the row and column that ``--query`` names, ``None`` for all."""
    if text == "all":
        return None
    if text == "centre":
        return shape[0] // 2, shape[1] // 2
    row, _, column = text.partition(",")
    if not (row.strip().isdecimal() and column.strip().isdecimal()):
        raise InputError(f"--query {text}: write it as ROW,COLUMN, counted from 0, such as 120,80; or centre, or all.")
    return int(row), int(column)


def _write_attention(predictor: Predictor, image: np.ndarray, query: tuple[int, int] | None, place: Path) -> dict[str, Any]:
    found, path = attention_maps(predictor, image, query), _file(place, "attention")
    visualize.save_picture(path, visualize.attention_sheet(found.image, found.blocks, found.query))
    return {"attention": str(path)}


def _overlay(predictor: Predictor, image: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    names, palette = predictor.config.predicted_names, predictor.config.predicted_palette
    picture = visualize.overlay(image, labels, palette)
    return visualize.with_legend(picture, names, palette, shares=tuple(float(s) for s in shares))


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
