"""The input pipeline of a config: images per second, what each of its stages costs, and which one holds the others up."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxseg import device_augment
from jaxseg.benchmarks.timing import cores, interleaved
from jaxseg.config import Config, load
from jaxseg.data.augment import ColorJitter, RandomFlip, RandomScale
from jaxseg.data.decode import decode_image, decode_label
from jaxseg.data.loading import pipeline, stack, train_batches
from jaxseg.data.scenes import Scenes
from jaxseg.data.source import Example
from jaxseg.models import UNet
from jaxseg.override import override

#: Examples that each stage is timed on.
EXAMPLES = 32

#: Seconds that a whole pipeline is timed for, after as many batches as may have been waiting.
SECONDS = 4.0

#: What helps against a stage, by the first word of its name.
REMEDIES = {
    "reading": "put the files on a local disk, or in one archive or array_record file",
    "decoding": "keep decoded images in memory where they fit (cache_mb), store them no larger than image_size, or as JPEG",
    "batching": "take smaller crops, and keep images uint8",
    "transfer": "take smaller crops, and keep images uint8",
}
_REMEDY_OF_TRANSFORMS = "crop before it, do it on the device (device_augment), or give more workers"


def rows(
    rounds: int,
    only: str | None,
    with_lax: bool,
    with_torch: bool,
    *,
    config: Config | None = None,
    workers: Sequence[int] = (0, 1, 2),
    steps_per_second: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure the stages of a pipeline one by one, then all of it, and say in words what is slowest.

    Stages are timed in one thread, on files that the system has cached. ``ratio_pillow`` is the time of decoding over Pillow's
    of the same files; ``ratio_torch`` that of the whole pipeline over the same reading and transforms in PyTorch's ``DataLoader``
    with as many processes, which without any has no threads either.

    Args:
        rounds: how often each stage is timed; the shortest counts.
        only: measure what has this in its name.
        with_lax: of no meaning here.
        with_torch: compare with PyTorch's loader.
        config: whose pipeline; of drawn scenes by default.
        workers: numbers of processes, 0 being threads.
        steps_per_second: of the accelerator to be fed; adds what it needs.
    """
    del with_lax
    config = drawn_scenes() if config is None else config
    examples = config.data.split("train")
    stages = [row for row in _stages(config, examples, rounds) if only is None or only in row["name"]]
    yield from stages
    rates = {}
    for count in workers:
        name = f"{count} worker process{'es' * (count > 1)}" if count else "threads"
        if only is None or only in name:
            row = _whole(name, config, examples, count, with_torch)
            rates[count] = row["images_per_second"]
            yield row
    if only is None:
        yield _verdict(config, stages, rates, steps_per_second)


def drawn_scenes() -> Config:
    """Return the config whose pipeline is measured by default: drawn scenes, scaled, flipped and jittered."""
    return Config(
        model=UNet(num_classes=6),
        data=Scenes(),
        crop_size=(96, 128),
        augment=(RandomScale(0.5, 2.0), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, 0.05)),
        steps=1,
        batch_size=16,
    )


def chosen(spec: str | None, assignments: Sequence[str]) -> Config:
    """Return the config of the command's flags, :func:`drawn_scenes` by default, with fields overridden."""
    return override(drawn_scenes(), assignments) if spec is None else load(spec, assignments)


def _row(name: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    blank = dict.fromkeys(
        ("share", "images_per_second", "per_process", "ratio_pillow", "pillow_ms", "ratio_torch", "torch_ms", "words")
    )
    return {"name": name, "jaxseg_ms": None if seconds is None else 1e3 * seconds, **blank, **more}


def _stages(config: Config, examples: Sequence[Example], rounds: int) -> list[dict[str, Any]]:
    """Time each stage by itself; those that ``cache_mb`` leaves for the first epoch alone have no share."""
    positions = np.unique(np.linspace(0, len(examples) - 1, EXAMPLES).round().astype(int)).tolist()
    seconds, pillow = _reading(examples, positions, config.data.num_channels, rounds)
    waiting = [examples[i] for i in positions]
    once, size = tuple(seconds), _bytes(waiting)  # what a memory would save, and how many bytes of it an example takes
    for number, transform in enumerate(pipeline(config.image_size, config.augment, config.loaded_size)):
        name = type(transform).__name__
        name = name if name not in seconds else f"{name} ({number})"
        seconds[name], waiting = _timed(transform, waiting, rounds)
        if number == 0 and config.image_size is not None:
            once, size = tuple(seconds), _bytes(waiting)
    batch = stack(waiting[: config.batch_size])
    arrays = {key: value for key, value in batch.items() if key != "name"}
    last: dict[str, Callable[[], Any]] = {
        "batching": lambda: stack(waiting[: config.batch_size]),
        "transfer to the device": lambda: jax.device_put(arrays),
    }
    seconds |= {key: value / len(arrays["label"]) for key, value in interleaved(last, rounds).items()}
    remembered = once if len(examples) * size <= config.cache_mb * 10**6 else ()
    total = sum(value for name, value in seconds.items() if name not in remembered)
    found = []
    for name, value in seconds.items():
        compared = {"pillow_ms": 1e3 * pillow[name], "ratio_pillow": value / pillow[name]} if name in pillow else {}
        found.append(_row(name, value, share=None if name in remembered else value / total, **compared))
    if config.device_augment:
        compiled = jax.jit(lambda batch: device_augment.augment(batch, config.device_augment, jax.random.key(0)))
        placed = jax.device_put(arrays)
        spent = interleaved({"": lambda: compiled(placed)}, rounds)[""]
        found.append(_row("device_augment, on the device", spent / len(arrays["label"])))
    return found


def _reading(
    examples: Sequence[Example], positions: list[int], channels: int, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds per image of reading and of decoding, jaxseg's and Pillow's."""
    if not hasattr(examples, "stored"):  # somebody's own source
        runs: dict[str, Callable[[], Any]] = {"reading and decoding": lambda: [examples[i] for i in positions]}
        return {key: value / len(positions) for key, value in interleaved(runs, rounds).items()}, {}
    images, labels = zip(*(examples.stored(i) for i in positions))
    runs = {
        "reading": lambda: [examples.stored(i) for i in positions],
        "decoding the image": lambda: [decode_image(data, num_channels=channels) for data in images],
        "pillow image": lambda: [_by_pillow(data) for data in images],
    }
    if all(_by_pillow(data) is not None for data in labels):
        runs["decoding the label"] = lambda: [decode_label(data) for data in labels]
        runs["pillow label"] = lambda: [_by_pillow(data) for data in labels]
    ours = {key: value / len(positions) for key, value in interleaved(runs, rounds).items()}
    theirs = {f"decoding the {what}": ours.pop(f"pillow {what}") for what in ("image", "label") if f"pillow {what}" in ours}
    return ours, theirs


def _by_pillow(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    except OSError:  # SBD's labels are no images
        return None


def _bytes(examples: list[Example]) -> float:
    return sum(example["image"].nbytes + example["label"].nbytes for example in examples) / len(examples)


def _timed(transform: Callable[..., Example], examples: list[Example], rounds: int) -> tuple[float, list[Example]]:
    """Return the shortest time of a transform per example, and what it makes of them."""
    best = float("inf")
    for _ in range(rounds):
        rng = np.random.default_rng(0)
        start = time.perf_counter()
        for example in examples:
            transform(example, rng)  # let go at once, as in a pipeline: memory taken afresh would cost more than the transform
        best = min(best, (time.perf_counter() - start) / len(examples))
    rng = np.random.default_rng(0)
    return best, [transform(example, rng) for example in examples]


def _whole(name: str, config: Config, examples: Sequence[Example], workers: int, with_torch: bool) -> dict[str, Any]:
    """Time the pipeline that training uses, and PyTorch's loader in its place, one after the other."""
    loader = train_batches(
        examples,
        batch_size=config.batch_size,
        crop_size=config.loaded_size,
        image_size=config.image_size,
        augment=config.augment,
        seed=config.seed,
        workers=workers,
        cache_mb=config.cache_mb,
    )
    # Every process fills a memory of its own, in one epoch of its own batches.
    epochs = len(examples) * max(workers, 1) // config.batch_size + 1 if config.cache_mb else 0
    warm = max(8 * (1 + workers), epochs)
    rate = _rate(loader, config.batch_size, warm)
    compared = {}
    if with_torch:
        from jaxseg.benchmarks import torch_loading

        transforms = pipeline(config.image_size, config.augment, config.loaded_size)
        peer = torch_loading.batches(examples, transforms, config.batch_size, workers)
        theirs = _rate(peer, config.batch_size, warm)
        compared = {"torch_ms": 1e3 / theirs, "ratio_torch": theirs / rate}
    return _row(name, 1 / rate, images_per_second=rate, per_process=rate / max(workers, 1), **compared)


def _rate(batches: Iterator[Any], batch_size: int, warm: int) -> float:
    """Return images per second in steady state, after ``warm`` batches: at least those that were loaded ahead."""
    for _ in range(warm):
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        next(batches)
        count += batch_size
    rate = count / (time.perf_counter() - start)
    getattr(batches, "close", lambda: None)()
    return rate


def _verdict(
    config: Config, stages: list[dict[str, Any]], rates: dict[int, float], steps_per_second: float | None
) -> dict[str, Any]:
    """Say in words what is slowest, what helps, and what a device of so many steps per second needs."""
    worst = max((row for row in stages if row["share"] is not None), key=lambda row: row["share"])
    total = sum(row["jaxseg_ms"] for row in stages if row["share"] is not None)
    remedy = REMEDIES.get(worst["name"].split()[0], _REMEDY_OF_TRANSFORMS)
    words = [
        f"The bottleneck is {worst['name']}: {worst['share']:.0%} of the {total:.2f} ms that an image takes. Remedy: {remedy}."
    ]
    best = max(rates, key=lambda count: rates[count], default=None)
    if best is not None:
        loaded = f"{best} worker process{'es' * (best > 1)}" if best else "threads"
        words.append(f"On {cores()} cores the pipeline gives {rates[best]:,.0f} images/s, with {loaded}.")
    if steps_per_second is not None:
        need = steps_per_second * config.batch_size
        words.append(
            f"{steps_per_second:g} steps per second of {config.batch_size} images need {need:,.0f} images/s: "
            f"{need * total / 1e3:.1f} cores, one process each (--set workers=...)."
        )
    return _row("bottleneck", None, share=worst["share"], words=" ".join(words))
