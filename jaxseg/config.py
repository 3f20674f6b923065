"""What a run is: a frozen tree of real objects, loaded from a config file and overridden from the command line."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import optax

from jaxseg import losses, optimizers, schedules
from jaxseg.data.source import Source
from jaxseg.errors import InputError, did_you_mean
from jaxseg.ops.normalise import Normalise
from jaxseg.override import override


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run. All fields are objects: an editor jumps to the definition of each.

    Attributes:
        model: a Linen module of ``jaxseg.models``, or any of the same contract.
        data: a data source.
        crop_size: height and width of the training batch: images are cropped to it, or padded with VOID.
        steps: length of the run.
        batch_size: of the whole job, over all devices and processes.
        loss: of ``jaxseg.losses``, or any function of that signature; ``functools.partial`` binds arguments.
        optimizer: makes an optax transformation of a learning rate schedule.
        schedule: makes the learning rate schedule of ``steps=``.
        augment: transforms of an example, applied in order before the crop.
        image_size: height and width to which every image is resized first, in training, evaluation and prediction
            (predictions are resized back); ``None`` leaves images as they are.
        window: height and width of the windows in which evaluation and prediction see an image; ``None`` is the whole image.
        normalise: from stored values to network input.
        ema_decay: of averaged parameters, which evaluation then uses; ``None`` keeps none.
        eval_batch_size: images (or windows) at a time in evaluation.
        eval_split: of ``data``, evaluated during training.
        seed: of initialisation, order, augmentation and dropout.
        log_every: steps between lines of scalars.
        eval_every: steps between evaluations; the last step is always evaluated.
        checkpoint_every: steps between checkpoints; every evaluation saves one too.
        keep_checkpoints: latest checkpoints kept, besides the best.
        workers: processes that load data; 0 loads in threads of this one.
    """

    model: Any
    data: Source
    crop_size: tuple[int, int]
    steps: int
    batch_size: int
    loss: Callable[..., Any] = losses.cross_entropy
    optimizer: Callable[..., optax.GradientTransformation] = optimizers.adamw
    schedule: Callable[..., optax.Schedule] = schedules.poly
    augment: tuple[Callable[..., Any], ...] = ()
    image_size: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    normalise: Normalise = Normalise()
    ema_decay: float | None = None
    eval_batch_size: int = 8
    eval_split: str = "val"
    seed: int = 0
    log_every: int = 50
    eval_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_batch_size", "log_every", "eval_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.workers < 0:
            raise InputError(f"workers={self.workers} must be at least 0.")
        for name in ("crop_size", "image_size", "window"):
            size = getattr(self, name)
            if size is not None and min(size) < 1:
                raise InputError(f"{name}={size} must be a height and a width of at least 1.")
        if self.ema_decay is not None and not 0.0 <= self.ema_decay < 1.0:
            raise InputError(f"ema_decay={self.ema_decay} must lie in [0, 1), or be None.")

    def check(self) -> None:
        """Check what several fields must agree on; apart from ``__init__``, since overrides change one field at a time.

        Raises:
            InputError: naming both fields and the remedy.
        """
        classes = len(self.data.class_names)
        one_logit = classes == 2 and self.model.num_classes == 1
        if self.model.num_classes != classes and not one_logit:
            raise InputError(
                f"The network has num_classes={self.model.num_classes}, but the data has {classes} classes "
                f"({', '.join(self.data.class_names)}). Set --set model.num_classes={classes}, "
                "or data.num_classes where the data has it."
            )
        for name in ("mean", "std"):
            given = len(getattr(self.normalise, name))
            if given not in (1, self.data.num_channels):
                raise InputError(
                    f"normalise.{name} has {given} values, but the images have {self.data.num_channels} channels. "
                    "Give one value for all, or one per channel."
                )

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


def split_spec(spec: str) -> tuple[Path, str | None]:
    """Return the file and the recipe (``None`` for the default) that ``FILE[:RECIPE]`` names."""
    file, colon, recipe = spec.rpartition(":")
    return (Path(file), recipe) if colon and file.endswith(".py") else (Path(spec), None)


def import_config(path: Path) -> ModuleType:
    """Import a config file by its path.

    Raises:
        InputError: if there is no such file, naming those beside it.
    """
    if not path.is_file():
        beside = [p.name for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        raise InputError(f"There is no config file {path}.{did_you_mean(path.name, beside)}")
    name = f"jaxseg_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported: a config is a Python file, ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
