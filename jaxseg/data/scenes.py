"""Street scenes that jaxseg draws itself: the data set that needs no download."""

import contextlib
import dataclasses
import fcntl
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

from absl import logging
from rich.console import Console
from rich.progress import Progress

from jaxseg.data.decode import decode_image, decode_label
from jaxseg.data.prepared import check_features
from jaxseg.data.scene_drawing import MIN_SIZE, class_names
from jaxseg.data.source import Example
from jaxseg.errors import InputError, did_you_mean
from jaxseg.notebook import in_notebook

_SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Drawn street scenes with six classes, or seven, made once and cached.

    Sky, road, building, tree, car and person in perspective, with textures, shadows, occlusion, changing light and weather, blur
    and noise; a thin VOID contour around cars and persons. The classes' colours overlap, so that a classifier of single pixels
    fails: :class:`jaxseg.data.scenes_builder.ScenesBuilder`, the TFDS builder behind it, has the numbers.

    Scene i of a split depends on (seed, split, i) alone.

    Attributes:
        root: folder of the cache, in TFDS's layout; ``~`` is expanded. Each set of the other fields has its own subfolder.
        size: height and width of every scene, each at least 32.
        train_size: number of training scenes; a larger number begins with the same scenes.
        val_size: number of validation scenes.
        test_size: number of test scenes.
        seed: of all drawing.
        posters: also hangs posters above the street, a seventh class. A poster is a cut-out of the street with a car on it: what
            tells it from the street itself is where in the scene it is.

    Raises:
        InputError: for a size, number or seed out of range.
    """

    root: str = "~/.cache/jaxseg/data"
    size: tuple[int, int] = (96, 128)
    train_size: int = 2000
    val_size: int = 200
    test_size: int = 200
    seed: int = 0
    posters: bool = False

    def __post_init__(self) -> None:
        if min(self.size) < MIN_SIZE:
            raise InputError(f"size={self.size} is too small: a scene needs at least {MIN_SIZE} pixels on both sides.")
        for split in _SPLITS:
            count = getattr(self, f"{split}_size")
            if count < 1:
                raise InputError(f"{split}_size={count} must be at least 1.")
        if self.seed < 0:
            raise InputError(f"seed={self.seed} must be at least 0.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Sky, road, building, tree, car, person, and poster where there are posters."""
        return class_names(self.posters)

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """The colours that Cityscapes gives these classes, but for brighter buildings and cars."""
        six = ((70, 130, 180), (128, 64, 128), (110, 110, 110), (107, 142, 35), (20, 40, 190), (220, 20, 60))
        return (*six, (250, 170, 30)) if self.posters else six

    @property
    def num_channels(self) -> int:
        """RGB."""
        return 3

    def split(self, name: str) -> Sequence[Example]:
        """Return the scenes of ``train``, ``val`` or ``test``; draw those of all three first where that has not been done.

        Several processes may do so at once: one draws, and the others wait for it.

        Raises:
            InputError: for another split, or a ``root`` that cannot be read or written.
        """
        if name not in _SPLITS:
            raise InputError(f"The scenes have no split {name!r}.{did_you_mean(name, _SPLITS)}")
        try:
            folder = self._prepare(Path(self.root).expanduser())
        except OSError as error:
            problem = error.strerror or error
            raise InputError(
                f"The scenes cannot be kept in {self.root} ({problem}). Give another folder by --set data.root=DIR."
            ) from error
        return SceneSplit(folder, name)

    def _prepare(self, root: Path) -> Path:
        # Draw the scenes if they are not there, and return their folder.
        from jaxseg.data.scenes_builder import ScenesBuilder, scenes_config  # TFDS takes half a second to import

        counts = (self.train_size, self.val_size, self.test_size)
        config = scenes_config(self.size, counts, self.seed, self.posters)
        folder = root / ScenesBuilder.name / config.name / str(ScenesBuilder.VERSION)
        if _complete(folder):
            return folder
        with _alone(folder.parent) as certain:
            if not _complete(folder):
                if certain:
                    _remove_leftovers(folder)
                where = sys.stdout if in_notebook() else sys.stderr
                print(f"Drawing {sum(counts):,} scenes of {self.size[0]}x{self.size[1]}, once, into {folder}", file=where)
                listed = ScenesBuilder.builder_configs.get(config.name, config)  # TFDS refuses equals of those it lists
                with _quiet():
                    builder = ScenesBuilder(data_dir=root, config=listed, file_format="array_record")
                _generate(builder, folder, sum(counts))
        return folder


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # TFDS warns of a configuration that is not in its list, and announces a download on standard output.
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


def _complete(folder: Path) -> bool:
    # TFDS moves the folder into place when all is written.
    return (folder / "dataset_info.json").is_file()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    # Wait for other processes and threads that write into the folder; say whether that is certain.
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with its process, however that ends
        except OSError:  # some network file systems have no locks
            yield False
        else:
            yield True


def _remove_leftovers(folder: Path) -> None:
    # Of processes that were killed.
    for leftover in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _generate(builder: Any, folder: Path, count: int) -> None:
    import tensorflow_datasets as tfds

    console = Console(stderr=True)
    shown = console.is_terminal and not in_notebook()
    bar = Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False, disable=not shown)
    with bar, _quiet():
        task = bar.add_task("scenes", total=count)
        builder.on_scene = lambda: bar.advance(task)
        tfds.disable_progress_bar()
        try:
            builder.download_and_prepare()
        except OSError:
            if not _complete(folder):  # else another process, which no lock could stop, was first
                raise
        finally:
            tfds.enable_progress_bar()


def _damaged(folder: Path, error: Exception) -> InputError:
    # TFDS and array_record raise anything on bad data.
    return InputError(f"The scenes in {folder} are damaged ({error}). Remove this folder, and they are drawn again.")


class SceneSplit(Sequence[Example]):
    """Random access to the scenes of one split; can be read from several threads, and pickled."""

    def __init__(self, folder: Path, split: str) -> None:
        import tensorflow_datasets as tfds

        stored = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
        self._folder = folder
        check_features(folder)
        try:
            self._source = tfds.builder_from_directory(folder).as_data_source(split=split, decoders=stored)
        except Exception as error:
            raise _damaged(folder, error) from error

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Example | list[Example]:
        """Decode a scene, or several.

        Raises:
            IndexError: beyond the last scene.
            InputError: if the cache is damaged.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        stored = self._record(index)
        name = stored["name"].decode()
        image = decode_image(stored["image"], num_channels=3, name=name)
        return Example(image=image, label=decode_label(stored["label"], name=name), name=name)

    def stored(self, index: int) -> tuple[bytes, bytes]:
        """Return a scene's image and label, not decoded: what reading costs apart from decoding."""
        record = self._record(index)
        return record["image"], record["label"]

    def _record(self, index: SupportsIndex) -> dict[str, bytes]:
        number, size = index.__index__(), len(self)
        if not -size <= number < size:
            raise IndexError(f"scene {number} of {size}")
        try:
            return self._source[number % size]
        except Exception as error:
            raise _damaged(self._folder, error) from error
