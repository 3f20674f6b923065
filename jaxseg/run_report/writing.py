"""From an evaluation to the file."""

import base64
import contextlib
import errno
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jinja2
from markupsafe import Markup

from jaxseg import describe, workdirs
from jaxseg.console import status
from jaxseg.errors import InputError
from jaxseg.evaluation import Evaluation
from jaxseg.inference import Predictor
from jaxseg.run_report import charts, facts, pictures, settings, tables

#: Name of the file.
NAME = "report.html"

#: The page's parts, which lie beside this file.
_PAGE = Path(__file__).parent / "page"


def write_after_training(workdir: Path, predictor: Predictor, examples: Sequence, found: Evaluation, step: int) -> None:
    """Write the report of a finished run, in process 0; say so, and take the old one away, where it cannot be written.

    Args:
        workdir: of the run.
        predictor: with the network after the last step.
        examples: of the split that training evaluates.
        found: on that split.
        step: the last one.
    """
    if jax.process_index() != 0:
        return
    path = workdir / NAME
    try:
        write(path, workdir, predictor, examples, found, step=step, split=predictor.config.eval_split)
    except (InputError, OSError) as error:  # the run is finished and its scores are written
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        command = shlex.join(["python", "-m", "jaxseg.report", "--workdir", str(workdir)])
        status.print(f"report       {error} The run is finished; the report is made by {command}", markup=False)


def write(
    path: Path, workdir: Path, predictor: Predictor, examples: Sequence, found: Evaluation, *, step: int, split: str
) -> None:
    """Write the report of a run, whole or not at all.

    Args:
        path: of the file.
        workdir: of the run; its history, record and ranking are read, as far as they are there.
        predictor: with the network of the step.
        examples: of the split; those of the best and worst mIoU are predicted again.
        found: on the split.
        step: that the network is of.
        split: that the examples are of.

    Raises:
        InputError: if it cannot be written.
    """
    config = predictor.config
    names, palette = config.data.class_names, config.data.palette
    counts = found.confusion.counts()
    curves, without_curves = facts.curves_of(workdir)
    best, worst = pictures.best_and_worst(predictor, examples, found)
    content = {
        "title": workdir.resolve().name,
        "facts": facts.facts(workdir, config, curves, step, len(examples), split),
        "headlines": [(title, 100 * found.scores[key]) for key, title in facts.HEADLINES],
        "step": step,
        "split": split,
        "charts": facts.charts(curves, facts.trained_split(workdir, curves, config)),
        "without_curves": without_curves,
        "classes": tables.class_rows(found.scores, counts, names, palette),
        "confusion": tables.confusion(counts, names),
        "given": found.classes,
        "shown": [
            (f"Highest mIoU of {len(examples):,} {split} images", best),
            ("Lowest mIoU", worst),
        ],
        "legend": pictures.legend((*best, *worst), names, palette),
        "config": settings.settings(describe.to_json(config)),
    }
    page = render(content)
    try:
        workdirs.write_text(path, page)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "Make room there, or give another place" if full else "Give another place"
        raise InputError(f"{path} cannot be written ({error.strerror}). {remedy}: --output FILE.") from error


def render(content: dict[str, Any]) -> str:
    """Return the page; whatever is in the content is escaped.

    The page may load nothing, and of scripts it may run its own alone, by its checksum.
    """
    script, style = ((_PAGE / name).read_text(encoding="utf-8") for name in ("script.js", "style.css"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = tables.percent
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        **content, size=charts, script=Markup(script), style=Markup(style), checksum=checksum
    )
