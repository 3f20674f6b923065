"""A config as a tree that opens and closes, from what a run's folder keeps of it."""

import dataclasses
from typing import Any

#: What a description says that a node is; see :mod:`jaxseg.describe`.
_KINDS = ("object", "partial", "function", "dtype")

#: A tuple of no more characters than this is shown whole, and of longer values so many are shown before they are opened.
_LINE, _PREVIEW = 60, 160


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a config.

    Attributes:
        name: of the field; the number of an item of a tuple.
        text: its value, or the beginning of it where it has parts.
        origin: the module that its class or function is from; may be empty.
        parts: what can be opened; may be none.
    """

    name: str
    text: str
    origin: str = ""
    parts: tuple["Setting", ...] = ()


def settings(description: Any, name: str = "config") -> Setting:
    """Return the tree of what :func:`jaxseg.describe.to_json` made.

    >>> settings({"object": "jaxseg.models.unet:UNet", "width": 16}).text
    'UNet(width=16)'
    """
    if isinstance(description, list):
        parts = tuple(settings(item, str(i)) for i, item in enumerate(description))
        text = "(" + ", ".join(part.text for part in parts) + ("," if len(parts) == 1 else "") + ")"
        flat = len(text) <= _LINE and not any(part.parts for part in parts)
        return Setting(name, text if flat else _shortened(text), parts=() if flat else parts)
    if not isinstance(description, dict):
        return Setting(name, repr(description))
    kind = next(iter(description), "")
    if kind not in _KINDS:
        return Setting(name, repr(description))
    origin, _, what = str(description[kind]).rpartition(":")
    fields = {key: value for key, value in description.items() if key != kind and not (key == "args" and value == [])}
    parts = tuple(settings(value, key) for key, value in fields.items())
    if kind in ("function", "dtype"):
        return Setting(name, what, origin)
    return Setting(name, _shortened(f"{what}({', '.join(f'{part.name}={part.text}' for part in parts)})"), origin, parts)


def _shortened(text: str) -> str:
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
