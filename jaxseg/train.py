"""Train a network: ``python -m jaxseg.train --config configs/setr.py``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxseg import (
    checkpoint_files,
    console,
    device_augment,
    processes,
    run_record,
    run_report,
    sharding,
    visualize,
    warm_start,
    workdirs,
)
from jaxseg.checkpoints import Checkpoints
from jaxseg.compilation import compile_training
from jaxseg.config import Config, load
from jaxseg.data.loading import pipeline, train_batches
from jaxseg.errors import InputError
from jaxseg.interruption import Signals
from jaxseg.loop import Loop
from jaxseg.override import children
from jaxseg.parallel import Layout
from jaxseg.reporting import Report
from jaxseg.step import TrainState

EXAMPLE = """examples:
  python -m jaxseg.train --config configs/setr.py
  python -m jaxseg.train --config configs/unet.py:camvid --set data.root=~/data/CamVid --set steps=2000
  python -m jaxseg.train --config configs/fcn.py:scenes-16s --init runs/fcn-scenes-32s
  python -m jaxseg.train --config configs/deeplab_v3.py --init resnet50.pth
The same command again goes on from the last checkpoint. Ctrl-C and SIGTERM save one first; a second Ctrl-C does not."""


def train(config: Config, workdir: str | Path, init: str | None = None, command: Sequence[str] = ()) -> dict[str, Any]:
    """Train, or go on training, until ``config.steps``.

    Args:
        config: of the run.
        workdir: takes config.json, run.json, history.jsonl, checkpoints, TensorBoard files, pictures and, at the end, scores.json
            and report.html.
        init: the run or the weights that a new run starts from, as :func:`jaxseg.warm_start.start` takes it.
        command: the module and its arguments, to be noted in run.json.

    Returns:
        The scores on the evaluation split after the last step.

    Raises:
        InputError: for bad data, a ``workdir`` of another run or one that cannot be written, or a loss that is not finite.
        Interrupted: after SIGTERM or SIGINT, when the step is done and saved.
    """
    workdir = Path(workdir)
    workdirs.open_run(workdir, config)
    examples, validation = open_data(config)
    training, state, schedule = compile_training(config)
    _look_at_checkpoints(workdir)
    with Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        state = checkpoints.restore(state, say=_say_of_checkpoints) if checkpoints.steps else _begin(config, state, init)
        start = int(state.step)
        _introduce(config, workdir, state, len(examples), len(validation), training.layout)
        _note_start(config, workdir, state, {"train": len(examples), config.eval_split: len(validation)}, command)
        with Report(config, workdir, schedule, start) as report, Signals() as signals:
            loop = Loop(config, training, checkpoints, report, signals, validation)
            rows = processes.own_rows(sharding.batch_split(training.mesh), config.batch_size)
            predictor, found = loop.run(state, _batches(config, examples, start, rows))
        checkpoints.wait()
    step = max(start, config.steps)
    workdirs.finish_run(workdir, config, step, found.scores)
    run_report.write_after_training(workdir, predictor, validation, found, step)
    return found.scores


def open_data(config: Config) -> tuple[Any, Any]:
    """Return the training and the evaluation split, after a look at a sample of both where the source can take one.

    Raises:
        InputError: for missing or bad files.
    """
    for split in ("train", config.eval_split):
        if hasattr(config.data, "check"):
            config.data.check(split)
    return config.data.split("train"), config.data.split(config.eval_split)


def _look_at_checkpoints(workdir: Path) -> None:
    def look() -> None:
        for line in checkpoint_files.prepare(workdir / "checkpoints").lines:
            console.status.print(f"checkpoints  {line}")

    processes.on_first(look)


def _say_of_checkpoints(line: str) -> None:
    if jax.process_index() == 0:
        console.status.print(f"checkpoints  {line}")


def _begin(config: Config, state: TrainState, init: str | None) -> TrainState:
    if init is not None:
        return _warm(config, state, init)
    if children(config.objective).get("frozen_batch_norm"):
        raise InputError(
            "objective.frozen_batch_norm=True, and this run starts from nothing: its statistics would stay those of the "
            "initialisation. Start it from a trained network with --init RUN, or set objective.frozen_batch_norm=False."
        )
    return state


def _warm(config: Config, state: TrainState, init: str) -> TrainState:
    state, report = warm_start.start(state, init, config.model, config.normalise)
    if jax.process_index() == 0:
        console.status.print(f"init         {init}: " + report.replace("\n", "\n             "), markup=False)
    return state


def _note_start(config: Config, workdir: Path, state: TrainState, images: dict[str, int], command: Sequence[str]) -> None:
    def note() -> None:
        parameters = console.count_parameters(state.params)
        run_record.note_start(workdir, int(state.step), parameters=parameters, images=images, command=command)

    processes.on_first(note)


def _batches(config: Config, examples: Any, start: int, rows: Sequence[int]) -> Any:
    return train_batches(
        examples,
        batch_size=config.batch_size,
        crop_size=config.loaded_size,
        image_size=config.image_size,
        augment=config.augment,
        seed=config.seed,
        start=start,
        workers=config.workers,
        cache_mb=config.cache_mb,
        rows=rows,
    )


def _introduce(config: Config, workdir: Path, state: TrainState, training: int, validation: int, layout: Layout) -> None:
    if jax.process_index() != 0:
        return
    console.print_devices()
    say = console.status.print
    say(f"network      {type(config.model).__name__}, {console.count_parameters(state.params):,} parameters")
    say(
        f"data         {type(config.data).__name__}: {training} training, {validation} {config.eval_split} images, "
        f"{len(config.data.class_names)} classes"
    )
    say(f"run          {workdir}, {config.steps} steps of {config.batch_size} at {config.crop_size[0]} x {config.crop_size[1]}")
    if config.parallel.fsdp > 1:
        (workdir / "sharding.txt").write_text("\n".join(layout.lines) + "\n")
        say(f"sharding     {layout.summary}; which: {workdir / 'sharding.txt'}")
    if jax.process_count() > 1:
        say("processes    if one ends, all end; the same commands again go on from the last checkpoint")
    if state.step:
        say(f"resuming     after step {int(state.step)}")


def show_data(config: Config, workdir: Path) -> Path:
    """Draw an example as training sees it, image and label together: after all transforms, and after each alone."""
    workdir.mkdir(parents=True, exist_ok=True)
    example = config.data.split("train")[0]
    path = workdir / "augmentation.png"
    on_device = (device_augment.on_host(transform) for transform in config.device_augment)
    transforms = (*pipeline(config.image_size, config.augment, config.loaded_size), *on_device)
    visualize.save_picture(path, visualize.augmentation_sheet(example, transforms, config.seed, config.data.palette))
    return path


def command_line() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxseg.train", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, metavar="FILE[:RECIPE]", help="config file, and a recipe other than its first")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a field; may be repeated")
    parser.add_argument("--workdir", type=Path, help="default: runs/<config>-<recipe>")
    parser.add_argument(
        "--init",
        metavar="RUN[:STEP]|FILE|hf://OWNER/REPO",
        help="start from another run's parameters or from published weights, as far as they fit; what was taken is listed",
    )
    parser.add_argument("--show-data", action="store_true", help="draw what the augmentation does, and stop")
    sharding.add_process_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    args = command_line().parse_args(argv)
    command = ["jaxseg.train", *(sys.argv[1:] if argv is None else argv)]
    with console.reporting_errors(command):
        sharding.join_from_flags(args)
        console.use_compilation_cache()
        config = load(args.config, args.set)
        workdir = args.workdir or workdirs.default(args.config)
        if args.show_data:
            console.results.print(f"{show_data(config, workdir)}")
            return
        scores = train(config, workdir, args.init, command)
        if jax.process_index() == 0:
            console.results.print(console.score_table(scores, config.data.class_names))
            console.results.print(f"pictures     {workdir / 'pictures'}")
            if (workdir / run_report.NAME).is_file():
                console.results.print(f"report       {workdir / run_report.NAME}")
            console.results.print(f"next         python -m jaxseg.predict --workdir {workdir} IMAGE...")


if __name__ == "__main__":
    main()
