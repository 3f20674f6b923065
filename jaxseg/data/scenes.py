"""Street scenes that jaxseg draws itself: the data set that needs no download."""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

import cv2
import numpy as np

from jaxseg.data.scene_drawing import CLASS_NAMES, MIN_SIZE
from jaxseg.data.source import Example
from jaxseg.errors import InputError, did_you_mean

_SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Drawn street scenes with six classes, made once and cached.

    Sky, road, building, tree, car and person in perspective, with textures, shadows, occlusion, changing light and weather, blur and
    noise; a thin VOID contour around cars and persons. The classes' colours overlap, so that a classifier of single pixels fails.

    Attributes:
        root: folder of the cache, in TFDS's layout; ``~`` is expanded.
        size: height and width of every scene, each at least 32.
        train_size: number of training scenes; a larger number begins with the same scenes.
        val_size: number of validation scenes.
        test_size: number of test scenes.
        seed: of all drawing.
    """

    root: str = "~/.cache/jaxseg/data"
    size: tuple[int, int] = (96, 128)
    train_size: int = 2000
    val_size: int = 200
    test_size: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.size) < MIN_SIZE:
            raise InputError(f"size={self.size}: both sides of a scene must be at least {MIN_SIZE}.")
        for split in _SPLITS:
            count = getattr(self, f"{split}_size")
            if count < 1:
                raise InputError(f"{split}_size={count} must be at least 1.")
        if self.seed < 0:
            raise InputError(f"seed={self.seed} must be at least 0.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Sky, road, building, tree, car, person."""
        return CLASS_NAMES

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """The colours that Cityscapes gives these classes."""
        return ((70, 130, 180), (128, 64, 128), (110, 110, 110), (107, 142, 35), (20, 40, 190), (220, 20, 60))

    @property
    def num_channels(self) -> int:
        """RGB."""
        return 3

    def split(self, name: str) -> Sequence[Example]:
        """Return the scenes of ``train``, ``val`` or ``test``; draw all of them first where that has not been done.

        Raises:
            InputError: for another split, or a ``root`` that cannot be written.
        """
        if name not in _SPLITS:
            raise InputError(f"The scenes have no split {name!r}.{did_you_mean(name, _SPLITS)}")
        root = Path(self.root).expanduser()
        return _SceneSplit(self._prepare(root), name)

    def _prepare(self, root: Path) -> Path:
        """Draw the scenes if they are not there, and return their folder."""
        import tensorflow_datasets as tfds  # slow to import, and read here alone

        from jaxseg.data.scenes_builder import ScenesBuilder, scenes_config

        counts = (self.train_size, self.val_size, self.test_size)
        config = scenes_config(self.size, counts, self.seed)
        with _quiet(tfds):
            builder = ScenesBuilder(data_dir=root, config=config, file_format="array_record")
            folder = Path(str(builder.data_path))
            if _complete(folder):
                return folder
            print(f"drawing {sum(counts):,} scenes of {self.size[0]} x {self.size[1]}, once, into {folder}", file=sys.stderr)
            try:
                builder.download_and_prepare()
            except OSError as error:
                # Another process may have finished the same scenes first: TFDS moves a complete folder into place.
                if not _complete(folder):
                    raise InputError(
                        f"The scenes cannot be kept in {root} ({error.strerror or error}). Give a folder that can be written: "
                        "--set data.root=DIR."
                    ) from error
        return folder


class _SceneSplit(Sequence):
    """Random access to the scenes of one split; opens its files where it is used, in any thread or process."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._source: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_split": self._split, "_source": None}

    def _open(self) -> Any:
        if self._source is None:
            import tensorflow_datasets as tfds

            stored = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
            with _quiet(tfds):
                self._source = tfds.builder_from_directory(self._folder).as_data_source(split=self._split, decoders=stored)
        return self._source

    def __len__(self) -> int:
        return len(self._open())

    @overload
    def __getitem__(self, index: SupportsIndex) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Example | Sequence:
        """Decode a scene, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index.__index__()
        if not -len(self) <= i < len(self):
            raise IndexError(f"scene {i} of {len(self)}")
        stored = self._open()[i % len(self)]
        image = cv2.imdecode(np.frombuffer(stored["image"], np.uint8), cv2.IMREAD_COLOR)
        label = cv2.imdecode(np.frombuffer(stored["label"], np.uint8), cv2.IMREAD_GRAYSCALE)
        return Example(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), label=label, name=str(stored["name"].decode()))


def _complete(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


@contextlib.contextmanager
def _quiet(tfds: Any) -> Iterator[None]:
    """Keep TFDS's progress bars and its notes about metadata off the screen."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(before)
