"""Search for the parameters of the dense CRF behind a trained network: ``python -m jaxseg.crf search --workdir RUN``."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from jaxseg import console
from jaxseg.crf import Parameters, search
from jaxseg.crf.parameters import SETS
from jaxseg.crf.search import GRID, Case
from jaxseg.errors import InputError
from jaxseg.inference import Predictor, load
from jaxseg.refinement import eight_bit, unary_of

EXAMPLE = """examples:
  python -m jaxseg.crf search --workdir runs/unet-camvid
  python -m jaxseg.crf search --workdir runs/unet-camvid --images 100 --w1 3,6 --sigma-alpha 40,80 --sigma-beta 3,6 --rounds 3"""


def cases(predictor: Predictor, examples: Sequence, images: int) -> list[Case]:
    """Return so many images, evenly from a split, with the energies that the network gives them.

    Raises:
        InputError: for a network of segments without names, whose labels say nothing before they are matched.
    """
    if predictor.config.match_classes:
        raise InputError("The search needs a network that predicts the data's classes; this one's segments have no names.")
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(images, len(examples))).round().astype(int))
    return [_case(predictor, examples[int(index)]) for index in chosen]


def _case(predictor: Predictor, example: Any) -> Case:
    logits = predictor.logits(example["image"][None])[0]
    return Case(np.asarray(unary_of(logits), np.float16), eight_bit(example["image"]), example["label"])


def table(found: dict[Parameters, float], plain: float) -> Table:
    """Return the candidates, best first, below the network alone."""
    drawn = Table()
    for title in ("w1", "sigma_alpha", "sigma_beta", "mIoU"):
        drawn.add_column(title, justify="right")
    drawn.add_row("without CRF", "", "", f"{100 * plain:.2f}")
    for parameters, miou in found.items():
        drawn.add_row(*(f"{getattr(parameters, name):g}" for name in GRID), f"{100 * miou:.2f}")
    return drawn


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.crf", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    flags = commands.add_parser("search", help="coarse to fine, by mIoU on validation images", description=search.__doc__)
    flags.add_argument("--split", help="of the run's data; default: the one evaluated in training")
    flags.add_argument("--images", type=int, default=20, metavar="N", help="taken evenly from the split (default: 20)")
    flags.add_argument("--rounds", type=int, default=2, metavar="N", help="the coarse one and finer ones (default: 2)")
    flags.add_argument("--start", choices=sorted(SETS), default="deeplab-v1", help="gives what is not searched")
    for name, given in GRID.items():
        shown = ",".join(f"{x:g}" for x in given)
        flag = f"--{name.replace('_', '-')}"
        flags.add_argument(
            flag, type=search.values, default=given, metavar="X,Y,...", help=f"values of the first round (default: {shown})"
        )
    flags.add_argument("--json", action="store_true", help="print the candidates as JSON")
    console.add_run_flags(flags)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        console.use_compilation_cache()
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        data = predictor.config.data
        given = cases(predictor, data.split(args.split or predictor.config.eval_split), args.images)
        grid = {name: getattr(args, name) for name in GRID}
        classes = len(data.class_names)
        found = search.search(given, classes, start=SETS[args.start], grid=grid, rounds=args.rounds, say=console.status.print)
        plain, best = search.plain_score(given, classes), next(iter(found))
        if args.json:
            rows = [{**parameters.arguments(), "miou": miou} for parameters, miou in found.items()]
            print(json.dumps({"images": len(given), "plain_miou": plain, "candidates": rows}))
            return
        console.results.print(table(found, plain))
        console.results.print(f"evaluate and predict with  --crf={best}")


if __name__ == "__main__":
    main()
