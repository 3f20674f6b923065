"""Published weights into our variables."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxseg.errors import InputError
from jaxseg.ops.normalise import Normalise
from jaxseg.weights import formats, hub, preprocessing, readers, table
from jaxseg.weights.matching import Match, flat, layers, match, name_of
from jaxseg.weights.preprocessing import Preprocessing
from jaxseg.weights.sources import FORMATS
from jaxseg.weights.table import Converted

#: What our own names start with.
COLLECTIONS = ("params/", "batch_stats/")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What became of a file.

    Attributes:
        variables: the network's, those of the file where they fit.
        match: what was taken, what kept its initial value, and what of the file is not in the network.
        title: what the file looks like.
        changed: our names of arrays that were made to fit: stems of other channels, tables of positions on another grid.
        preprocessing: of images where the weights were trained, for the channels that this network reads; ``None`` where neither
            the file nor its kind says it.
    """

    variables: dict[str, PyTree]
    match: Match
    title: str
    changed: tuple[str, ...]
    preprocessing: Preprocessing | None

    @property
    def normalise(self) -> Normalise | None:
        """What a config needs as ``normalise`` for these weights; ``None`` where it is not known."""
        return None if self.preprocessing is None else self.preprocessing.normalise

    def report(self, normalise: Normalise | None = None) -> str:
        """Return lines for people.

        Args:
            normalise: of the config that the weights are for: another than theirs is named, with the remedy.
        """
        lines = [self.title, self.match.report()]
        if self.changed:
            lines.append(f"made to fit: {', '.join(layers(self.changed))}")
        if self.preprocessing is None:
            lines.append("normalisation of these weights: not known; see where they are from")
        elif normalise is None:
            lines.append(f"images for these weights: {self.preprocessing.normalise}")
        elif not _same(normalise, self.preprocessing.normalise):
            theirs = self.preprocessing.normalise
            lines.append(
                f"WARNING: these weights were trained with other images than the config's {normalise}. Set "
                f'--set "normalise.mean={_plain(theirs.mean)}" --set "normalise.std={_plain(theirs.std)}"'
            )
        return "\n".join(lines)


def load(
    model: Any,
    path: str | Path,
    *,
    variables: Mapping[str, PyTree] | None = None,
    num_channels: int = 3,
    seed: int = 0,
) -> Loaded:
    """Load published weights into a network, as far as they fit.

    >>> from jaxseg import weights                                                          # doctest: +SKIP
    >>> loaded = weights.load(DeepLabV3(num_classes=11, backbone=ResNet(50)), "resnet50.pth")   # doctest: +SKIP
    >>> print(loaded.report())                                                              # doctest: +SKIP
    >>> logits = model.apply(loaded.variables, loaded.normalise(image))                     # doctest: +SKIP

    Args:
        model: of ``jaxseg.models`` or ``jaxseg.models.backbones``. A classifier's file fills the backbone of a segmentation
            network.
        path: a file, a folder that holds one, the index of a sharded one, or ``hf://owner/repo`` on the Hub.
        variables: the network's, whose values stay where the file has none; initialised where not given.
        num_channels: of the image, for that initialisation.
        seed: of that initialisation.

    Raises:
        InputError: for a file that cannot be read, is of an unknown kind, or of which nothing fits; it says what it looks like.
    """
    file = readers.read(hub.download(str(path)) if str(path).startswith(hub.PREFIX) else Path(path))
    own = _shapes(model, num_channels) if variables is None else variables
    title, converted, default = _convert(model, file, {name: tuple(leaf.shape) for name, leaf in flat(own).items()})
    found = match(own, converted.arrays)
    if not found.taken:
        raise InputError(
            f"Nothing of {path} fits this {type(model).__name__}. It looks like {title}; of another shape: "
            f"{', '.join(found.other_shape[:3]) or 'nothing'}; not in this network: "
            f"{', '.join(layers((*found.unused, *converted.unused))[:5]) or 'nothing'}."
        )
    if variables is None:
        absent = {name.partition(" ")[0] for name in found.missing + found.other_shape}
        found = dataclasses.replace(found, variables=_fill(found.variables, absent, model, num_channels, seed))
    found = dataclasses.replace(found, unused=found.unused + converted.unused)
    changed = tuple(name for name in converted.changed if name in found.taken)
    images = preprocessing.find(file.metadata, file.path) or default
    if images is not None and converted.channels is not None:
        images = images.of_channels(converted.channels)
    return Loaded(found.variables, found, title, changed, images)


def _convert(model: Any, file: readers.File, own: Mapping[str, tuple[int, ...]]) -> tuple[str, Converted, Preprocessing | None]:
    """Return what the file looks like, its arrays as ours, and the preprocessing of its kind."""
    if all(name.startswith(COLLECTIONS) for name in file.arrays):
        return "weights that jaxseg saved", Converted(_placed(model, file.arrays, own), (), ()), None
    alike = [kind for kind in FORMATS if kind.recognises(file.arrays)]
    if not alike:
        raise InputError(
            f"{file.path} is of no known source. It has {len(file.arrays)} arrays: {', '.join(list(file.arrays)[:5])} ... Known: "
            f"{', '.join(kind.title for kind in FORMATS)}."
        )
    for kind in alike:
        rows = kind.rows(model, file.arrays.keys())
        if rows is not None:
            weights = {name: value for name, value in file.arrays.items() if kind.weighs(name)}
            return f"{kind.title}", table.load(rows, own, weights), kind.preprocessing
    raise InputError(
        f"{file.path} looks like {alike[0].title}, which is for {', '.join(kind.fits for kind in alike)}: this "
        f"{type(model).__name__} has none."
    )


def _placed(model: Any, arrays: Mapping[str, np.ndarray], own: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return arrays under our names, of the network or, where none of them fits it, of the part of it that most of them fit."""
    best, most = dict(arrays), 0
    for path, _ in formats.parts(model):
        placed = {name.replace("/", f"/{path}", 1): value for name, value in arrays.items()}
        fit = sum(own.get(name) == value.shape for name, value in placed.items())
        if fit > most:
            best, most = placed, fit
        if fit and not path:
            break
    return best


def _shapes(model: Any, num_channels: int) -> Any:
    return jax.eval_shape(lambda: _create(model, num_channels, 0))


def _fill(variables: Any, absent: Collection[str], model: Any, num_channels: int, seed: int) -> Any:
    """Return variables whose absent arrays are initialised; only these are computed."""
    if not absent:
        return variables

    def create() -> dict[str, Any]:
        return {name: value for name, value in flat(_create(model, num_channels, seed)).items() if name in absent}

    fresh = jax.jit(create)()
    return jax.tree_util.tree_map_with_path(lambda path, leaf: fresh.get(name_of(path), leaf), variables)


def _create(model: Any, num_channels: int, seed: int) -> Any:
    """Initialise with the auxiliary heads; the image's size does not matter but for valid convolutions."""
    side = model.input_size(64) if hasattr(model, "input_size") else 64
    key = jax.random.key(seed)
    image = jax.ShapeDtypeStruct((1, side, side, num_channels), jnp.float32)
    return model.lazy_init({"params": key, "dropout": key}, image, train=True, mutable=["params", "batch_stats"])


def _same(a: Normalise, b: Normalise) -> bool:
    """Say whether two normalisations do the same; one value stands for all channels."""
    pairs = ((a.mean, b.mean), (a.std, b.std))
    return all((len(x) == len(y) or 1 in (len(x), len(y))) and np.allclose(x, y, rtol=1e-3, atol=1e-5) for x, y in pairs)


def _plain(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)},)"
