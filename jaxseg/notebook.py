"""Whether a person reads in a notebook, where standard error is painted as an error and nothing moves the cursor."""

import sys


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook: of Jupyter, Colab or an editor; False in IPython's terminal."""
    ipython = sys.modules.get("IPython")  # not imported: who runs in a kernel has it
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
