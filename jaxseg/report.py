"""Write the report of a run on one page: ``python -m jaxseg.report --workdir runs/setr-scenes``."""

import argparse
from pathlib import Path

from jaxseg import console, run_report
from jaxseg.checkpoints import Checkpoints
from jaxseg.evaluation import evaluate
from jaxseg.inference import Predictor, load

EXAMPLE = """examples:
  python -m jaxseg.report --workdir runs/setr-scenes
  python -m jaxseg.report --workdir runs/setr-scenes --checkpoint latest --output latest.html
  python -m jaxseg.report --workdir runs/unet-camvid --split test --set data.root=~/data/CamVid
Training writes one at its end. This one is of the best checkpoint, unless another is named; the run need not be finished."""


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.report", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", help="of the run's data; default: the one evaluated in training")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default: <workdir>/{run_report.NAME}")
    console.add_run_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    with console.reporting_errors():
        console.use_compilation_cache()
        workdir = args.workdir.expanduser()
        predictor, step = _load(workdir, args.checkpoint, tuple(args.set), tuple(args.trust))
        split = args.split or predictor.config.eval_split
        examples = predictor.config.data.split(split)
        found = evaluate(predictor, examples)
        path = args.output or workdir / run_report.NAME
        run_report.write(path, workdir, predictor, examples, found, step=step, split=split)
        console.results.print(f"{path}")


def _load(workdir: Path, checkpoint: str, overrides: tuple[str, ...], trusted: tuple[str, ...]) -> tuple[Predictor, int]:
    """Load a checkpoint, and say of which step it is; the best or latest of a run under way may soon be another."""
    if not (workdir / "config.json").is_file():
        load(workdir)  # says so, and makes no folder for checkpoints
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.choose(checkpoint)
    return load(workdir, checkpoint=str(step), overrides=overrides, trusted=trusted), step


if __name__ == "__main__":
    main()
