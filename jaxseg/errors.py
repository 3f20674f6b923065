"""The error of jaxseg that is about the user's input, not about a bug."""

import difflib


class InputError(ValueError):
    """Something that the user gave is wrong, and the message says what, where and how to mend it.

    The commands print the message alone and exit with code 1, and notebooks show the message alone; everything else that is
    raised is a bug and keeps its traceback.
    """

    def _render_traceback_(self) -> list[str]:  # asked for by IPython
        return [f"{type(self).__name__}: {self}"]


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return `` Did you mean 'x'?`` where a known name is close to ``name``, else the list of the known names."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known)) or 'none'}."
