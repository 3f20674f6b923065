"""Draw one scene as every network sees it, the picture strip of the README: ``python pictures/strip.py runs pictures/strip.png``.

Takes the folder with the runs of the configs' first recipes, and of those that RUNS names; a run that is not there is left out.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from jaxseg import console, load, visualize
from jaxseg.data.scenes import Scenes
from jaxseg.errors import InputError
from jaxseg.evaluation import evaluate

#: Titles and folders of runs, in order of history.
RUNS = (
    ("FCN-32s", "fcn-scenes-32s"),
    ("FCN-16s", "fcn-scenes-16s"),
    ("FCN-8s", "fcn-scenes"),
    ("DeepLab v1", "deeplab_v1-scenes"),
    ("CRF as RNN", "crf_rnn-scenes"),
    ("DeconvNet", "deconvnet-scenes"),
    ("U-Net", "unet-scenes"),
    ("SegNet", "segnet-scenes"),
    ("DeepLab v2", "deeplab_v2-scenes"),
    ("PSPNet", "pspnet-scenes"),
    ("DeepLab v3", "deeplab_v3-scenes"),
    ("W-Net, no labels", "wnet-scenes"),
    ("DeepLab v3+", "deeplab_v3_plus-scenes"),
    ("SETR-Naive", "setr-scenes"),
    ("SETR-PUP", "setr-scenes-pup"),
    ("SETR-MLA", "setr-scenes-mla"),
    ("UPerNet, Swin", "swin-scenes"),
)

#: Cells in a row.
COLUMNS = 5

#: Images by whose labels the segments of a network without labels get their classes.
MATCHED = 100


def as_seen(run: Path, index: int) -> np.ndarray:
    """Return the prediction of a run for a validation image, in the colours of the classes."""
    predictor = load(run)
    data = predictor.config.data
    images = data.split("val")
    labels = predictor.predict(images[index]["image"])
    if predictor.config.match_classes:
        few = dataclasses.replace(predictor, config=dataclasses.replace(predictor.config, eval_batch_size=4))
        labels = evaluate(few, [images[i] for i in range(MATCHED)]).named(labels)
    return visualize.colorize(labels, data.palette)


def draw(runs: Path, index: int) -> np.ndarray:
    """Return the strip: the image, its labels, and what each run makes of it."""
    data = Scenes()
    example = data.split("val")[index]
    cells = [("image", example["image"]), ("labels", visualize.colorize(example["label"], data.palette))]
    cells += [(title, as_seen(runs / run, index)) for title, run in RUNS if (runs / run / "config.json").is_file()]
    if len(cells) == 2:
        raise InputError(f"{runs} holds none of {', '.join(run for _, run in RUNS)}: train some first.")
    empty = np.full_like(example["image"], 255)
    cells += [("", empty)] * (-len(cells) % COLUMNS)
    rows = [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    return np.concatenate([visualize.sheet([[p for _, p in row]], titles=[title for title, _ in row]) for row in rows])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--index", type=int, default=66, help="of the validation image; default: 66")
    args = parser.parse_args()
    with console.reporting_errors():
        visualize.save_picture(args.picture, draw(args.runs, args.index))


if __name__ == "__main__":
    main()
