import pytest

from jaxseg import console
from jaxseg.errors import InputError, did_you_mean


def test_a_users_error_is_one_message_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as stop, console.reporting_errors():
        raise InputError("data [train] is missing")
    assert stop.value.code == 1
    assert capsys.readouterr().err == "Error: data [train] is missing\n"


def test_it_is_found_where_a_loader_wrapped_it(capsys):
    wrapped = RuntimeError("worker failed")
    wrapped.__cause__ = InputError("a.png is truncated")
    with pytest.raises(SystemExit), console.reporting_errors():
        raise wrapped
    assert "a.png is truncated" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError), console.reporting_errors():
        raise KeyError("bug")


def test_interrupting_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as stop, console.reporting_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert "The same command goes on" in capsys.readouterr().err


def test_did_you_mean():
    assert did_you_mean("stps", ("steps", "seed")) == " Did you mean 'steps'?"
    assert did_you_mean("xyz", ("steps", "seed")) == " Known: seed, steps."
    assert did_you_mean("xyz", ()) == " Known: none."
