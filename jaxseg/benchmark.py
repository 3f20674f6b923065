"""Measure jaxseg here, beside plain ``lax`` and, where it is installed, PyTorch: ``python -m jaxseg.benchmark step``."""

import argparse
import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from jaxseg import console
from jaxseg.benchmarks import crf, data, operations, steps
from jaxseg.errors import InputError

EXAMPLE = """examples:
  python -m jaxseg.benchmark step                   three networks' train steps: time, compile time, memory
  python -m jaxseg.benchmark step --only unet --json
  python -m jaxseg.benchmark ops --only transposed  single operations, forwards and each gradient
  python -m jaxseg.benchmark crf                    the dense CRF on 480 x 360 with 11 classes, beside pydensecrf
  python -m jaxseg.benchmark data                   the input pipeline on drawn scenes, stage by stage, beside PyTorch's loader
  python -m jaxseg.benchmark data --config configs/unet.py:camvid --set data.root=~/data/CamVid --workers 0 4 --step-rate 12

Everything is float32, batch 2; the alternatives take turns, and the shortest of --rounds counts. A ratio below 1 means that
jaxseg is faster. PyTorch (pip install torch) runs eagerly, in its better layout of default and channels-last. The CRF's times and
those of data are per image."""

#: Subjects whose rows say themselves what they are compared with.
OWN_RATIOS = ("crf", "data")

SUBJECTS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "crf": crf.rows,
    "data": data.rows,
    "ops": operations.rows,
    "step": steps.rows,
}


def with_ratios(row: dict[str, Any]) -> dict[str, Any]:
    """Add to a row the ratios of jaxseg's time, compile time and memory to the others'."""
    torch = [row[key] for key in ("torch_ms", "torch_channels_last_ms") if key in row]
    ratios = {"ratio_torch": row["jaxseg_ms"] / min(torch) if torch else None}
    for key, name in (("ms", "ratio_lax"), ("compile_s", "ratio_lax_compile"), ("mb", "ratio_lax_memory")):
        if f"jaxseg_{key}" in row:
            ratios[name] = row[f"jaxseg_{key}"] / row[f"lax_{key}"] if f"lax_{key}" in row else None
    return {"name": row["name"], **ratios, **{key: value for key, value in row.items() if key != "name"}}


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    result = Table()
    keys = [key for key in rows[0] if key != "words" and any(row[key] is not None for row in rows)]
    for key in keys:
        result.add_column(key.replace("_", " "), justify="left" if key == "name" else "right", no_wrap=key == "name")
    for row in rows:
        result.add_row(*(_cell(key, row[key]) for key in keys))
    return result


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if key in ("agree", "share") or (key.endswith("_ms") and value < 10):
        return f"{value:.3f}"
    return f"{value:.2f}" if key.startswith("ratio") else f"{value:,.1f}"


def _measured(args: argparse.Namespace, with_torch: bool) -> Iterator[dict[str, Any]]:
    subject = SUBJECTS[args.subject]
    if args.images is not None:
        if args.subject != "crf":
            raise InputError("--images is for the benchmark of the CRF alone.")
        subject = functools.partial(subject, folder=args.images)
    if args.subject == "data":
        options = {"config": data.chosen(args.config, args.set), "workers": args.workers, "steps_per_second": args.step_rate}
        subject = functools.partial(subject, **options)
    elif args.config is not None or args.set or args.step_rate is not None:
        raise InputError("--config, --set and --step-rate are for the benchmark of data alone.")
    for row in subject(args.rounds, args.only, not args.no_lax, with_torch):
        row = row if args.subject in OWN_RATIOS else with_ratios(row)
        ratios = [f"{key} {_cell(key, value)}" for key, value in row.items() if key.startswith("ratio") and value is not None]
        console.status.print(f"{row['name']}: {', '.join(ratios) or _cell('jaxseg_ms', row['jaxseg_ms'])}")
        yield row


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.benchmark",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "subject", choices=sorted(SUBJECTS), help="the dense CRF, the input pipeline, single operations, or train steps"
    )
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--only", metavar="TEXT", help="measure what has TEXT in its name")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each alternative is timed (default: 5)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="with crf: images of 480 x 360 instead of drawn ones")
    pipeline = parser.add_argument_group("with data")
    pipeline.add_argument("--config", metavar="FILE[:RECIPE]", help="whose pipeline is measured; default: one on drawn scenes")
    pipeline.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field of it")
    pipeline.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="processes to load with; 0 is threads"
    )
    pipeline.add_argument("--step-rate", type=float, metavar="STEPS", help="of the device, per second: say what it needs")
    parser.add_argument("--no-lax", action="store_true", help="leave out plain lax, whose steps take several times as long")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    # OpenMP's waiting threads would otherwise take the cores from whoever's turn it is. Read when PyTorch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch and args.subject != "crf":
        console.status.print("PyTorch is not installed: its columns are left out (pip install torch).")
    with console.reporting_errors():
        console.print_devices()
        rows = list(_measured(args, with_torch))
        if not rows:
            raise SystemExit(f"Nothing has {args.only!r} in its name.")
        if args.json:
            print(json.dumps(rows, allow_nan=False))
        else:
            console.results.print(table(rows))
            for row in rows:
                if row.get("words"):
                    console.results.print(row["words"])


if __name__ == "__main__":
    main()
