"""What a run is: a frozen tree of real objects, loaded from a config file and overridden from the command line."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, get_args

import optax

from jaxseg import losses, objectives, optimizers, schedules
from jaxseg.config_files import import_config, split_spec
from jaxseg.data.palette import default_palette
from jaxseg.data.source import Source
from jaxseg.device_augment import output_size
from jaxseg.errors import InputError, did_you_mean
from jaxseg.ops.normalise import Normalise
from jaxseg.override import children, override
from jaxseg.parallel import Parallel
from jaxseg.precision import dtypes, with_precision
from jaxseg.types import VOID
from jaxseg.windows import Blending

_AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "accumulate",
    "eval_batch_size",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run. All fields are objects: an editor jumps to the definition of each.

    Attributes:
        model: a Linen module of ``jaxseg.models``, or any of the same contract.
        data: a data source.
        crop_size: height and width of the training batch: images are cropped to it, or padded with VOID.
        steps: length of the run.
        batch_size: of the whole job, over all devices and processes.
        loss: of ``jaxseg.losses``, or any function that the objective can call so; ``functools.partial`` binds arguments.
        objective: of ``jaxseg.objectives``: what a step minimises, by the loss; supervised unless given.
        optimizer: makes an optax transformation of a learning rate schedule.
        schedule: makes the learning rate schedule of ``steps=``.
        augment: transforms of an example, applied in order before the crop.
        load_size: height and width of the images that the loader gives the device, where ``device_augment`` crops them to
            ``crop_size``; ``None`` is ``crop_size``.
        device_augment: transforms of :mod:`jaxseg.device_augment`, applied to each batch on the device, in order.
        image_size: height and width to which every image is resized first, in training, evaluation and prediction
            (predictions are resized back); ``None`` leaves images as they are.
        window: height and width of the windows in which evaluation and prediction see an image; ``None`` is the whole image, up
            to :data:`jaxseg.views.LARGEST_WHOLE` pixels.
        overlap: share of a window's side that the next window sees too, in [0, 1).
        blending: how overlapping windows become one: ``gaussian``, ``mean`` or ``tile``, as :func:`jaxseg.windows.slide` says.
        scales: by which evaluation and prediction resize an image; the probabilities of all are averaged.
        flip: also see every image mirrored, left and right turned around, and average.
        normalise: from stored values to network input.
        precision: ``float32``, ``bfloat16`` or ``float16`` (with dynamic loss scaling) in every module of the network; ``None``
            leaves the dtypes of ``model`` as they are.
        parallel: how the devices are used.
        accumulate: parts of each batch whose gradients are taken one after the other and averaged, for batches that do not fit.
        remat: compute everything but convolutions and matrix products again in the backward pass, to save memory.
        skip_nonfinite: steps in a row with a loss or a gradient that is not finite whose update is skipped; one more stops
            the run.
        ema_decay: of averaged parameters, which evaluation then uses; ``None`` keeps none.
        eval_batch_size: images (or windows) at a time in evaluation.
        eval_split: of ``data``, evaluated during training.
        match_classes: the network's classes are segments without names, as unsupervised training leaves them, of any number;
            evaluation gives each the class of the data that fits best (:mod:`jaxseg.metrics.matching`), in a pass of its own.
        seed: of initialisation, order, augmentation and dropout.
        log_every: steps between lines of scalars.
        eval_every: steps between evaluations; the last step is always evaluated.
        checkpoint_every: steps between checkpoints; every evaluation saves one too.
        keep_checkpoints: latest checkpoints kept, besides the best.
        workers: processes that load data; 0 loads in threads of this one.
        cache_mb: megabytes of decoded training images that each loading process keeps, so that a small data set is decoded once.
    """

    model: Any
    data: Source
    crop_size: tuple[int, int]
    steps: int
    batch_size: int
    loss: Callable[..., Any] = losses.cross_entropy
    objective: objectives.Objective = objectives.supervised
    optimizer: Callable[..., optax.GradientTransformation] = optimizers.adamw
    schedule: Callable[..., optax.Schedule] = schedules.poly
    augment: tuple[Callable[..., Any], ...] = ()
    load_size: tuple[int, int] | None = None
    device_augment: tuple[Callable[..., Any], ...] = ()
    image_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    overlap: float = 1 / 3
    blending: Blending = "gaussian"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    normalise: Normalise = Normalise()
    precision: str | None = None
    parallel: Parallel = Parallel()
    accumulate: int = 1
    remat: bool = False
    skip_nonfinite: int = 0
    ema_decay: float | None = None
    eval_batch_size: int = 8
    eval_split: str = "val"
    match_classes: bool = False
    seed: int = 0
    log_every: int = 50
    eval_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    workers: int = 0
    cache_mb: int = 0

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("workers", "cache_mb", "skip_nonfinite"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)} must be at least 0.")
        for name in ("crop_size", "load_size", "image_size", "window"):
            size = getattr(self, name)
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise InputError(f"{name}={size} must be a height and a width of at least 1.")
        if not 0.0 <= self.overlap < 1.0:
            raise InputError(
                f"overlap={self.overlap} must lie in [0, 1): it is the share of a window that the next one sees too."
            )
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales={self.scales} must be at least one factor above 0, such as (0.75, 1.0, 1.25).")
        if self.blending not in get_args(Blending):
            raise InputError(f"blending={self.blending!r} must be one of {', '.join(get_args(Blending))}.")
        if self.ema_decay is not None and not 0.0 <= self.ema_decay < 1.0:
            raise InputError(f"ema_decay={self.ema_decay} must lie in [0, 1), or be None.")
        if self.precision is not None:
            object.__setattr__(self, "model", with_precision(self.model, self.precision))

    def check(self) -> None:
        """Check what several fields must agree on; apart from ``__init__``, since overrides change one field at a time.

        Raises:
            InputError: naming both fields and the remedy, or the sizes that fit a network with valid convolutions.
        """
        self._check_classes()
        self._check_loaded_size()
        self.parallel.check()
        if self.precision is None and "float16" in dtypes(self.model):
            raise InputError(
                "The network computes in float16, where small gradients vanish unless the loss is scaled. "
                "Take --set precision=float16, which scales it, or bfloat16, which needs no scale."
            )
        if self.window is not None and hasattr(self.model, "output_size"):
            try:
                for side in self.window:
                    self.model.output_size(side)
            except InputError as error:
                raise InputError(f"window={self.window} does not fit this network. {error}") from None
        for owner in ("objective", "model"):
            undone = children(getattr(self, owner)).get("normalise", self.normalise)
            if undone != self.normalise:
                raise InputError(
                    f"{owner}.normalise is {undone}, which undoes another normalisation than {self.normalise} of the config. "
                    "Set both alike."
                )
        for name in ("mean", "std"):
            given = len(getattr(self.normalise, name))
            if given not in (1, self.data.num_channels):
                raise InputError(
                    f"normalise.{name} has {given} values, but the images have {self.data.num_channels} channels. "
                    "Give one value for all, or one per channel."
                )

    def _check_loaded_size(self) -> None:
        made = self.loaded_size
        if self.device_augment:
            made = output_size(self.device_augment, made, self.data.num_channels)
        if made != self.crop_size:
            raise InputError(
                f"load_size={self.load_size} and device_augment make images of {made}, but crop_size={self.crop_size}. "
                f"Let device_augment cut them by RandomCrop({self.crop_size}) or RandomScaleCrop({self.crop_size}) "
                "of jaxseg.device_augment, or set crop_size alike."
            )

    def _check_classes(self) -> None:
        known, classes = self.model.num_classes, len(self.data.class_names)
        if self.match_classes:
            if not 2 <= known < VOID:
                raise InputError(f"model.num_classes={known} must be from 2 to {VOID - 1}, the number of segments to be matched.")
            return
        one_logit = classes == 2 and known == 1
        if known != classes and not one_logit:
            raise InputError(
                f"The network has num_classes={known}, but the data has {classes} classes "
                f"({', '.join(self.data.class_names)}). Set --set model.num_classes={classes}, "
                "or data.num_classes where the data has it."
            )

    @property
    def loaded_size(self) -> tuple[int, int]:
        """Height and width of the images that the loader gives the device."""
        return self.crop_size if self.load_size is None else self.load_size

    @property
    def predicted_names(self) -> tuple[str, ...]:
        """A name for each class that the network predicts: the data's, or numbered segments where those have no names."""
        return tuple(f"segment {i}" for i in range(self.model.num_classes)) if self.match_classes else self.data.class_names

    @property
    def predicted_palette(self) -> tuple[tuple[int, int, int], ...]:
        """An RGB colour for each of :attr:`predicted_names`, 0 to 255."""
        return default_palette(self.model.num_classes) if self.match_classes else self.data.palette

    def make_optimizer(self) -> tuple[optax.GradientTransformation, optax.Schedule]:
        """Return the optimizer and the schedule it follows."""
        schedule = self.schedule(steps=self.steps)
        return self.optimizer(schedule), schedule


def load(spec: str, assignments: Iterable[str] = ()) -> Config:
    """Load a recipe of a config file and override fields of it.

    Args:
        spec: ``configs/setr.py``, or ``configs/setr.py:camvid`` for a recipe other than the first.
        assignments: ``path=value``, as in :func:`jaxseg.override.override`.

    Raises:
        InputError: for a file, a recipe or a field that does not exist, or a value that does not fit.
    """
    path, recipe = split_spec(spec)
    module = import_config(path)
    recipes = tuple(getattr(module, "RECIPES", ()))
    if not recipes or not hasattr(module, "get_config"):
        raise InputError(f"{path} is no config: it must define RECIPES, a tuple of names, and get_config(recipe).")
    if recipe is not None and recipe not in recipes:
        raise InputError(f"{path} has no recipe {recipe!r}.{did_you_mean(recipe, recipes)}")
    config = override(module.get_config(recipe or recipes[0]), assignments)
    config.check()
    return config
