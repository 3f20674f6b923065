"""What ``predict`` writes of every image: a mask, an overlay, and what else is asked for."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg import visualize
from jaxseg.attention_maps import AttentionMaps, attention_maps
from jaxseg.data.decode import decode_image
from jaxseg.errors import InputError
from jaxseg.inference import Predictor, Samples
from jaxseg.instances import Instances

#: Images decoded ahead of the network; no more are held at a time.
AHEAD = 4


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

    Raises:
        InputError: before anything is written, if that would leave the output folder or replace one of the images.
    """
    data = predictor.config.data
    kinds = {"uncertainty": samples, "instances": instances, "objects": instances, "attention": attention}
    check_places(images, output, ["mask", "overlay", *(kind for kind, asked in kinds.items() if asked is not None)])
    for path, image in _decoded(list(images), data.num_channels):
        place = output / images[path]
        # Before anything is written: an image without such a pixel, or a network without attention, is refused.
        looks = None if attention is None else attention_maps(predictor, image, parse_query(attention, image.shape))
        drawn = None if samples is None else predictor.sample(image, samples=samples, seed=predictor.config.seed)
        labels = predictor.predict(image) if drawn is None else drawn.labels
        done = {"image": str(path), **_write_labels(predictor, image, labels, place)}
        if drawn is not None:
            done |= _write_uncertainty(drawn, place)
        if instances is not None:
            done |= _write_instances(image, instances(labels), predictor.config.predicted_names, place)
        if looks is not None:
            done |= _write_attention(looks, place)
        yield done


def check_places(images: Mapping[Path, Path], output: Path, kinds: Sequence[str]) -> None:
    """Refuse to write outside the output folder, or over an image that is read.

    Raises:
        InputError: naming the image.
    """
    root, read = output.resolve(), {path.resolve(): path for path in images}
    for path, place in images.items():
        for file in (_file(output / place, kind) for kind in kinds):
            folder = file.parent.resolve()
            if not folder.is_relative_to(root):
                raise InputError(f"The result of {path} would be written into {folder}, outside {output}. Give another --output.")
            if (over := read.get(folder / file.name)) is not None:
                raise InputError(f"A result of {path} would be written over the image {over}. Give another --output.")


def _file(place: Path, kind: str) -> Path:
    return place.with_name(f"{place.name}_{kind}.png")


def _write_labels(predictor: Predictor, image: np.ndarray, labels: np.ndarray, place: Path) -> dict[str, Any]:
    names, palette = predictor.config.predicted_names, predictor.config.predicted_palette
    # Row by row: counting takes eight bytes for each pixel that it is given.
    shares = np.sum([np.bincount(row, minlength=len(names)) for row in labels], axis=0) / labels.size
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


def parse_query(text: str, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the row and column that ``--query`` names, ``None`` for all.

    Raises:
        InputError: for text that is none of ``ROW,COLUMN``, ``centre`` and ``all``.
    """
    if text == "all":
        return None
    if text == "centre":
        return shape[0] // 2, shape[1] // 2
    row, _, column = text.partition(",")
    if not (row.strip().isdecimal() and column.strip().isdecimal()):
        raise InputError(f"--query {text}: write it as ROW,COLUMN, counted from 0, such as 120,80; or centre, or all.")
    return int(row), int(column)


def _write_attention(found: AttentionMaps, place: Path) -> dict[str, Any]:
    path = _file(place, "attention")
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
