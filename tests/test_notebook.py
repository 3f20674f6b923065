"""What a notebook's kernel is shown: plain lines in the cell's output, and errors of the user without a traceback."""

import sys
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jaxseg import console
from jaxseg.errors import InputError
from jaxseg.interruption import Interrupted
from jaxseg.notebook import in_notebook


def shell(monkeypatch, found):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: found))


def test_a_kernel_is_a_notebook_and_a_terminal_is_none(monkeypatch):
    shell(monkeypatch, SimpleNamespace(kernel=object()))
    assert in_notebook()
    shell(monkeypatch, SimpleNamespace())
    assert not in_notebook()
    shell(monkeypatch, None)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_notebook_is_shown_plain_lines_on_standard_output(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels set it
    shell(monkeypatch, SimpleNamespace(kernel=object()))
    status = console.make_console(stderr=True)
    status.print("[bold]step[/] 1")
    assert not status.is_terminal  # or progress bars would move its cursor
    assert not status.is_jupyter
    assert tuple(capsys.readouterr()) == ("step 1\n", "")


def test_elsewhere_status_goes_to_standard_error(monkeypatch, capsys):
    shell(monkeypatch, None)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console.make_console(stderr=True).print("step 1")
    console.make_console().print("mIoU")
    assert tuple(capsys.readouterr()) == ("mIoU\n", "step 1\n")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (InputError("steps=0 must be at least 1."), "InputError: steps=0 must be at least 1."),
        (Interrupted(2, 40), "SIGINT: step 40 is done and saved. The same cell goes on from there."),
    ],
)
def test_a_cell_shows_the_message_alone(error, shown, capsys):
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        raise error
    except Exception:
        shell.showtraceback()
    written = capsys.readouterr()
    assert (written.out + written.err).strip() == shown
