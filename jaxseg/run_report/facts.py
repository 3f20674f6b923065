"""What the page says of a run in words and numbers: what was trained, where, how long, and which checkpoint the scores are of."""

import datetime
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseg import checkpoint_files, describe
from jaxseg.checkpoint_ranking import Ranking
from jaxseg.config import Config
from jaxseg.errors import InputError
from jaxseg.history import NAME, Curve, read_history
from jaxseg.run_record import read_record
from jaxseg.run_report.charts import Chart, draw
from jaxseg.run_report.tables import percent

#: Scores at the top of the page.
HEADLINES = (
    ("miou", "mIoU"),
    ("pixel_accuracy", "pixel accuracy"),
    ("mean_accuracy", "mean accuracy"),
    ("fwiou", "fwIoU"),
    ("mean_dice", "mean Dice"),
)


def curves_of(workdir: Path) -> tuple[dict[str, Curve], str]:
    """Return the curves of a run, and why there are none where that is so, without the place where the run lies."""
    path = workdir.expanduser() / NAME
    if not path.is_file():
        events = (workdir.expanduser() / "tensorboard").is_dir()
        return {}, f"This run was trained before {NAME} was kept" + ("; its curves are in tensorboard/." if events else ".")
    try:
        found = read_history(workdir)
    except InputError as error:
        return {}, str(error).replace(str(path), NAME)
    return found, "" if found else "Nothing was logged yet."


def trained_split(workdir: Path, curves: Mapping[str, Curve], config: Config) -> str:
    """Return the split that training evaluated, which the curves and the ranking are of, whatever this report is of.

    The run's own config.json says it, or else its curves; the config, which may have been overridden, comes last.
    """
    names = [name.removesuffix("/miou") for name in curves if name.endswith("/miou")]
    try:
        stored = describe.read_json(workdir / "config.json")
    except (InputError, OSError):
        stored = None
    own = stored.get("eval_split") if isinstance(stored, dict) else None
    return next((name for name in (own, *names[-1:]) if isinstance(name, str)), config.eval_split)


def charts(curves: Mapping[str, Curve], split: str) -> tuple[Chart, ...]:
    """Return the charts of what was logged: loss, scores on a split, learning rate, speed, and what was skipped."""

    def some(**names: str) -> dict[str, Curve]:
        return {title.replace("_", " "): curves[name] for title, name in names.items() if name in curves}

    drawn = [
        draw("Loss", some(loss="loss"), from_zero=True, log=True),
        draw(f"Scores on {split}", some(mIoU=f"{split}/miou", pixel_accuracy=f"{split}/pixel_accuracy"), unit="%", scale=100),
        draw("Learning rate", some(learning_rate="learning_rate"), from_zero=True),
        draw("Speed", some(speed="images_per_second"), unit="images/s", from_zero=True),
        draw("Norm of the gradient", some(norm="gradient_norm"), from_zero=True, log=True),
        draw("Scale of the loss", some(scale="loss_scale"), log=True),
    ]
    if "skipped" in curves and (curves["skipped"].values > 0).any():
        drawn.append(draw("Skipped steps", some(skipped="skipped"), unit="so far", from_zero=True))
    return tuple(chart for chart in drawn if chart is not None)


def facts(
    workdir: Path, config: Config, curves: Mapping[str, Curve], step: int, images: int, split: str
) -> list[tuple[str, str]]:
    """Return what the page says of a run, line by line: a name and a text.

    Args:
        workdir: of the run.
        config: of the run.
        curves: of the run; may be empty.
        step: that the scores are of.
        images: that the scores are of.
        split: that these images are of.
    """
    record = read_record(workdir)
    starts = record.get("starts", [])
    last = starts[-1] if starts else {}
    counted = record.get("parameters")
    lines = [
        ("Network", type(config.model).__name__ + (f", {counted:,} parameters" if isinstance(counted, int) else "")),
        ("Data", _data(config, record.get("images"))),
        ("Training", _training(config, curves, step, record.get("images"))),
        ("Time", _time(config, curves, starts)),
        ("Devices", str(last.get("devices", "")) + _processes(last)),
        ("Versions", ", ".join(f"{name} {last[name]}" for name in ("jaxseg", "jax", "flax") if name in last)),
        ("Begun", moment(starts[0].get("time")) if starts and not _first(starts) else ""),
        ("Scores", f"of step {step:,}, on {images:,} {split} images"),
        ("Best checkpoint", best(workdir, trained_split(workdir, curves, config), step)),
        ("Report made", moment(datetime.datetime.now(datetime.UTC).isoformat())),
        ("Command", str(last.get("command") or "")),
    ]
    return [(name, text) for name, text in lines if text]


def best(workdir: Path, split: str, step: int) -> str:
    """Say which checkpoint that is there has the highest mIoU on the split that training evaluated, and how to see it here."""
    folder = workdir / "checkpoints"
    steps = checkpoint_files.steps(folder)
    try:
        ranking = Ranking(folder)
    except InputError as error:
        return str(error)
    found = ranking.best(steps) if steps else None
    miou = None if found is None else ranking.miou(found)
    if miou is None:
        return ""
    text = f"step {found:,}: mIoU {percent(100 * miou)} % on {split}"
    if found == step:
        return f"{text}, this one"
    return f"{text}. Its report: python -m jaxseg.report --workdir {shlex.quote(str(workdir))} --checkpoint {found}"


def _data(config: Config, images: Any) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items()) if isinstance(images, dict) else ""
    of_images = f": {counts} images" if counts else ""
    return f"{type(config.data).__name__}{of_images}, {len(config.data.class_names)} classes"


def _training(config: Config, curves: Mapping[str, Curve], step: int, images: Any) -> str:
    done = max([step, *(int(curve.steps[-1]) for curve in curves.values())])
    height, width = config.crop_size
    text = f"{done:,} of {config.steps:,} steps" if done < config.steps else f"{config.steps:,} steps"
    text += f" of {config.batch_size} images at {height} x {width}"
    count = images.get("train") if isinstance(images, dict) else None
    if isinstance(count, int) and count > 0:
        text += f", {done * config.batch_size / count:.3g} epochs"
    skipped = curves["skipped"].values[-1] if "skipped" in curves else 0.0
    return text + (f"; {skipped:.0f} steps were skipped" if skipped > 0 else "")


def _time(config: Config, curves: Mapping[str, Curve], starts: list[dict[str, Any]]) -> str:
    if "seconds" not in curves:
        return ""
    text = duration(float(curves["seconds"].values[-1]))
    trained = sum(_step(start) < config.steps for start in starts)  # others found the run finished
    text += f", in {trained} starts" if trained > 1 else ""
    unknown = _first(starts)  # an older version, which noted neither time nor starts, trained these steps
    return f"{text}, since step {unknown:,}" if unknown and curves["seconds"].steps[0] >= unknown else text


def _step(start: dict[str, Any]) -> int:
    step = start.get("step")
    return step if isinstance(step, int) else 0


def _first(starts: list[dict[str, Any]]) -> int:
    return _step(starts[0]) if starts else 0


def moment(text: Any) -> str:
    """Return a time in ISO 8601 as people write it; nothing for anything else.

    >>> moment("2026-11-23T03:30:16+00:00")
    '2026-11-23 03:30 UTC'
    """
    try:
        return f"{datetime.datetime.fromisoformat(text).astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (TypeError, ValueError):
        return ""


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(59.6), duration(754), duration(90_000)
    ('1 min 0 s', '12 min 34 s', '25 h 0 min')
    """
    whole = 0 if math.isnan(seconds) else round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _processes(start: dict[str, Any]) -> str:
    count = start.get("processes")
    return f" in {count} processes" if isinstance(count, int) and count > 1 else ""
