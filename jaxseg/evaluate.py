"""Evaluate a trained network: ``python -m jaxseg.evaluate --workdir runs/setr-scenes``."""

import argparse
import json

from jaxseg import console, visualize, workdirs
from jaxseg.crf import parameters
from jaxseg.evaluation import evaluate, json_scores
from jaxseg.inference import load
from jaxseg.metrics import draw_confusion
from jaxseg.refinement import RefinedPredictor

EXAMPLE = """examples:
  python -m jaxseg.evaluate --workdir runs/setr-scenes
  python -m jaxseg.evaluate --workdir runs/unet-camvid --split test --set data.root=~/data/CamVid --json
  python -m jaxseg.evaluate --workdir runs/unet-camvid --crf deeplab-v1,w1=5
  python -m jaxseg.evaluate --workdir runs/setr-scenes --set "scales=(0.75,1.0,1.25)" --set flip=True"""


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.evaluate",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", help="of the run's data; default: the one evaluated in training")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON, in [0, 1], absent classes as null")
    parameters.add_flag(parser)
    console.add_run_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        console.use_compilation_cache()
        predictor = load(args.workdir, checkpoint=args.checkpoint, overrides=tuple(args.set), trusted=tuple(args.trust))
        if args.crf is not None:
            predictor = RefinedPredictor.of(predictor, args.crf)
        data = predictor.config.data
        split = args.split or predictor.config.eval_split
        found = evaluate(predictor, data.split(split), thorough=True)
        report = {
            "workdir": str(args.workdir),
            "split": split,
            "crf": args.crf and str(args.crf),
            "set": args.set,
            **json_scores(found.scores, data.class_names),
        }
        name = split if args.crf is None else f"{split}_crf"
        picture = args.workdir / "evaluation" / f"{name}_confusion.png"
        workdirs.write_json(picture.with_name(f"{name}.json"), report)
        visualize.save_picture(picture, draw_confusion(found.confusion.counts(), data.class_names))
        if args.json:
            print(json.dumps(report, allow_nan=False))
        else:
            console.results.print(console.score_table(found.scores, data.class_names))
            console.results.print(f"confusion    {picture}")


if __name__ == "__main__":
    main()
