"""Measure jaxseg here, beside plain ``lax`` and, where it is installed, PyTorch: ``python -m jaxseg.benchmark step``."""

import argparse
import importlib.util
import json
import os
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from jaxseg import console
from jaxseg.benchmarks import operations, steps

EXAMPLE = """examples:
  python -m jaxseg.benchmark step                   three networks' train steps: time, compile time, memory
  python -m jaxseg.benchmark step --only unet --json
  python -m jaxseg.benchmark ops --only transposed  single operations, forwards and each gradient

Everything is float32, batch 2; the alternatives take turns, and the shortest of --rounds counts. A ratio below 1 means that
jaxseg is faster. PyTorch (pip install torch) runs eagerly, in its better layout of default and channels-last."""

SUBJECTS = {"ops": operations.rows, "step": steps.rows}


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
    return f"{value:.2f}" if key.startswith("ratio") else f"{value:,.1f}"


def _measured(args: argparse.Namespace, with_torch: bool) -> Iterator[dict[str, Any]]:
    for row in SUBJECTS[args.subject](args.rounds, args.only, not args.no_lax, with_torch):
        row = with_ratios(row)
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
    parser.add_argument("subject", choices=sorted(SUBJECTS), help="single operations, or whole train steps")
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    parser.add_argument("--only", metavar="TEXT", help="measure what has TEXT in its name")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each alternative is timed (default: 5)")
    parser.add_argument("--no-lax", action="store_true", help="leave out plain lax, whose steps take several times as long")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    # OpenMP's waiting threads would otherwise take the cores from whoever's turn it is. Read when PyTorch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch:
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
