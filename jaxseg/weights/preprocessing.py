"""What an image went through before a published network saw it: it belongs to the weights, and travels with them."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseg.ops.normalise import Normalise

#: Under which safetensors' metadata has it, as JSON.
KEY = "preprocessing"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images became the network's input where it was trained.

    Attributes:
        normalise: the same for our images, RGB and in units of [0, 1], whatever the order and the range were there: the first
            convolution of a network that read BGR is reversed when it is loaded.
        channel_order: there, ``"RGB"`` or ``"BGR"``.
        value_range: there, before the mean was subtracted: ``(0, 1)`` or ``(0, 255)``.
        crop_size: height and width that it was trained or evaluated with; ``None`` where that is not known.
    """

    normalise: Normalise
    channel_order: str = "RGB"
    value_range: tuple[float, float] = (0.0, 1.0)
    crop_size: tuple[int, int] | None = None

    def of_channels(self, channels: int) -> "Preprocessing":
        """Return it for images of another number of channels, as :class:`jaxseg.weights.layouts.Stem` makes the kernel for them.

        More channels take the values in turn, fewer their mean.
        """
        mean, std = (_of_channels(values, channels) for values in (self.normalise.mean, self.normalise.std))
        return dataclasses.replace(self, normalise=Normalise(mean, std))

    def metadata(self) -> dict[str, str]:
        """Return it as safetensors' metadata, of weights that read RGB in [0, 1]."""
        fields = {
            "mean": self.normalise.mean,
            "std": self.normalise.std,
            "channel_order": "RGB",
            "value_range": (0.0, 1.0),
            "crop_size": self.crop_size,
        }
        return {KEY: json.dumps(fields)}


def _of_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) in (1, channels):
        return values
    if channels < len(values):
        return (sum(values) / len(values),) * channels
    return tuple(values[n % len(values)] for n in range(channels))


def find(metadata: Mapping[str, str], path: Path) -> Preprocessing | None:
    """Return what the file itself, or a ``config.json`` or ``preprocessor_config.json`` beside it, says of preprocessing."""
    if KEY in metadata:
        return _of_fields(_parse(metadata[KEY]))
    for name in ("preprocessor_config.json", "config.json"):
        beside = path.parent / name
        if beside.is_file():
            fields = _parse(beside.read_text())
            found = _of_fields(fields.get("pretrained_cfg", fields))
            if found is not None:
                return found
    return None


def _of_fields(fields: Any) -> Preprocessing | None:
    """Read jaxseg's fields, timm's ``pretrained_cfg`` or a processor's of transformers."""
    mean = fields.get("mean", fields.get("image_mean"))
    std = fields.get("std", fields.get("image_std"))
    if not mean or not std:
        return None
    scaled = fields.get("value_range") or (0.0, 1.0 if fields.get("do_rescale", True) else 255.0)
    top = float(scaled[1])
    normalise = Normalise(tuple(float(m) / top for m in mean), tuple(float(s) / top for s in std))
    order = str(fields.get("channel_order", "RGB"))
    return Preprocessing(normalise, order, (float(scaled[0]), top), _size(fields))


def _size(fields: Mapping[str, Any]) -> tuple[int, int] | None:
    given = fields.get("crop_size") or fields.get("input_size") or fields.get("size")
    if isinstance(given, Mapping):
        given = (given.get("height"), given.get("width")) if "height" in given else given.get("shortest_edge")
    if isinstance(given, int):
        return given, given
    if isinstance(given, (list, tuple)) and len(given) >= 2 and all(isinstance(n, int) for n in given):
        return int(given[-2]), int(given[-1])
    return None


def _parse(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
