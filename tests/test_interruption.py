import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest

from jaxseg import interruption
from jaxseg.interruption import Interrupted, Signals


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")])
def test_the_step_under_way_is_finished_and_the_handlers_come_back(number, status, name):
    before = signal.getsignal(number)
    done = []
    with Signals() as signals:
        for step in signals.until_received(itertools.count(1)):
            if step == 3:
                send(number)
            done.append(step)
    assert done == [1, 2, 3]
    assert signal.getsignal(number) is before
    stop = signals.interrupted(3)
    assert stop.exit_status == status
    assert str(stop) == f"{name}: step 3 is done and saved."


def test_without_a_signal_every_step_is_done():
    with Signals() as signals:
        assert list(signals.until_received(range(3))) == [0, 1, 2]
    assert signals.received is None


def test_a_loader_that_the_signal_ended_too_is_no_error():
    def steps(signal_first):
        yield 1
        if signal_first:
            send(signal.SIGINT)
        raise RuntimeError("a worker process ended")

    with Signals() as signals:
        assert list(signals.until_received(steps(signal_first=True))) == [1]
    with Signals() as signals, pytest.raises(RuntimeError, match="a worker process ended"):
        list(signals.until_received(steps(signal_first=False)))


def test_an_evaluation_is_left_at_once_when_the_step_is_on_disk():
    events = []

    def evaluate(signals):
        with signals.at_once(5, saved=lambda: events.append("saved")):
            send(signal.SIGTERM)
            events.append("went on")

    with Signals() as signals, pytest.raises(Interrupted, match="SIGTERM: step 5 is done and saved"):
        evaluate(signals)
    assert events == ["saved"]


def test_an_evaluation_does_not_begin_after_a_signal():
    events = []
    with Signals() as signals:
        send(signal.SIGTERM)
        with pytest.raises(Interrupted), signals.at_once(5, saved=lambda: events.append("saved")):
            events.append("began")
    assert events == ["saved"]


SECOND = """
import os, signal, sys, time
from jaxseg.interruption import Signals
with Signals() as signals:
    print("ready", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print("first", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_the_process_at_once():
    with subprocess.Popen([sys.executable, "-c", SECOND], stdout=subprocess.PIPE, text=True) as process:
        for word in ("ready\n", "first\n"):
            assert process.stdout.readline() == word
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM
        assert time.monotonic() - sent < 20


def test_outside_the_main_thread_signals_stay_as_they_are():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run():
        with Signals() as signals:
            seen.append(signal.getsignal(signal.SIGTERM))
            seen.extend(signals.until_received([1]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before, 1]


def test_processes_agree_on_the_answer_of_some_steps_ago(monkeypatch):
    """Every device's note counts, and none reads the answer before the others can have given theirs."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with Signals() as signals:
        done = []
        for step in signals.until_received(range(1, 100)):
            done.append(step)
            if step == 10:
                send(signal.SIGTERM)
    assert done == list(range(1, 11 + interruption._DELAY))
    with Signals() as waiting, waiting.at_once(3, saved=lambda: pytest.fail("left alone")):
        send(signal.SIGTERM)  # an evaluation of several processes goes on: the others would miss this one
    assert waiting.received == signal.SIGTERM
