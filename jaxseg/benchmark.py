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
from jaxseg.benchmarks import crf, operations, steps
from jaxseg.errors import InputError

EXAMPLE = """examples:
  python -m jaxseg.benchmark step                   three networks' train steps: time, compile time, memory
  python -m jaxseg.benchmark step --only unet --json
  python -m jaxseg.benchmark ops --only transposed  single operations, forwards and each gradient
  python -m jaxseg.benchmark crf                    the dense CRF on 480 x 360 with 11 classes, beside pydensecrf

Everything is float32, batch 2; the alternatives take turns, and the shortest of --rounds counts. A ratio below 1 means that
jaxseg is faster. PyTorch (pip install torch) runs eagerly, in its better layout of default and channels-last. The CRF's times are
per image."""

SUBJECTS = {"crf": crf.rows, "ops": operations.rows, "step": steps.rows}


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
    keys = list(rows[0])
    for key in keys:
        result.add_column(key.replace("_", " "), justify="left" if key == "name" else "right")
    for row in rows:
        result.add_row(*(_cell(key, row[key]) for key in keys))
    return result


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if key == "agree" else f"{value:.2f}" if key.startswith("ratio") else f"{value:,.1f}"


def _measured(args: argparse.Namespace, with_torch: bool) -> Iterator[dict[str, Any]]:
    subject: Callable[..., Iterator[dict[str, Any]]] = SUBJECTS[args.subject]
    if args.images is not None:
        if args.subject != "crf":
            raise InputError("--images is for the benchmark of the CRF alone.")
        subject = functools.partial(subject, folder=args.images)
    for row in subject(args.rounds, args.only, not args.no_lax, with_torch):
        row = row if args.subject == "crf" else with_ratios(row)
        shown = ", ".join(f"{key} {_cell(key, value)}" for key, value in row.items() if key.startswith("ratio"))
        console.status.print(f"{row['name']}: {shown}")
        yield row


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.benchmark",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subject", choices=sorted(SUBJECTS), help="the dense CRF, single operations, or whole train steps")
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--only", metavar="TEXT", help="measure what has TEXT in its name")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each alternative is timed (default: 5)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="with crf: images of 480 x 360 instead of drawn ones")
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


if __name__ == "__main__":
    main()
