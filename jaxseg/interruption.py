"""Signals that ask a run to end: finish the step, save, and leave, in all processes after the same step.

Schedulers send SIGTERM (SLURM before the time limit, Kubernetes, spot instances) and people SIGINT, by Ctrl-C. The first one
is noted, and the loop ends after the step under way; a second one ends the process at once. In a job of several processes
any of them may get it: every step each one's note goes into a maximum over all of them, whose result is read some steps
later, when it is there without waiting, and all read the same one after the same step. (JAX has an agreement of its own,
``multihost_utils.reached_preemption_sync_point``. It knows SIGTERM alone, and takes the second signal away.)
"""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg import processes

Item = TypeVar("Item")

#: Signals that ask a run to end.
SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: Steps between asking the other processes and reading their answer: as many as may be under way at once, or more.
_DELAY = 4


class Interrupted(Exception):
    """A signal ended the run, after what it had done was saved.

    Attributes:
        signal: its number.
        step: the last one that was done, of which there is a checkpoint.
    """

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"{signal.Signals(signal_number).name}: step {step} is done and saved.")
        self.signal, self.step = signal_number, step

    def _render_traceback_(self) -> list[str]:  # asked for by IPython: the stop button of a notebook is no error
        return [f"{self} The same cell goes on from there."]

    @property
    def exit_status(self) -> int:
        """128 and the signal's number, as shells have it: 143 for SIGTERM, 130 for SIGINT; not 0, as the run is not finished."""
        return 128 + self.signal


class Signals:
    """The signals that a run gets while this is entered; what handled them before handles them again afterwards.

    Outside the main thread, where Python lets nobody handle signals, it notes none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._evaluated: int | None = None
        self._before: dict[int, Any] = {}
        self._agreement = _Agreement() if jax.process_count() > 1 else None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_received(self, steps: Iterable[Item]) -> Iterator[Item]:
        """Iterate until a process of the job has got a signal; each takes the same number of items before it stops.

        Processes that load data get Ctrl-C as well and end. What the iterator then raises is no error, in a single process.
        """
        iterator = iter(steps)
        while not self._is_over():
            try:
                item = next(iterator)
            except StopIteration:
                return
            except Exception:
                if self.received is None or self._agreement is not None:
                    raise
                return
            yield item

    @contextlib.contextmanager
    def at_once(self, step: int, saved: Callable[[], None]) -> Iterator[None]:
        """Within this a signal need not wait, as for the end of an evaluation: ``step`` is being saved already.

        In a job of several processes it waits all the same, as one that left alone would be missed by the others.

        Args:
            step: the last one that was done.
            saved: returns when it is on disk.

        Raises:
            Interrupted: when the signal comes, or where it came before.
        """
        if self._agreement is not None:
            yield
            return
        self._evaluated = step
        try:
            if self.received is not None:
                raise Interrupted(self.received, step)
            yield
        except Interrupted:
            saved()
            raise
        finally:
            self._evaluated = None

    def interrupted(self, step: int) -> Interrupted:
        """Return the exception for a run that ended after a step; a process that got no signal itself says SIGTERM."""
        return Interrupted(self.received or signal.SIGTERM, step)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:  # a second one: whoever sends it wants no more waiting
            processes.end_workers()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = number
        if self._evaluated is not None:
            raise Interrupted(number, self._evaluated)

    def _is_over(self) -> bool:
        if self._agreement is None:
            return self.received is not None
        return self._agreement.ask(self.received is not None)


class _Agreement:
    """Whether any process of the job wants to end, as all of them knew it some steps ago."""

    def __init__(self) -> None:
        mesh = Mesh(np.asarray(jax.devices()), ("all",))
        self._split = NamedSharding(mesh, PartitionSpec("all"))
        self._any = jax.jit(lambda notes: notes.max(), out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._asked: deque[jax.Array] = deque()

    def ask(self, note: bool) -> bool:
        """Tell the others, and return the answer to what was asked ``_DELAY`` calls ago."""
        notes = np.full(jax.local_device_count(), note, np.int32)
        self._asked.append(self._any(jax.make_array_from_process_local_data(self._split, notes)))
        return len(self._asked) > _DELAY and bool(self._asked.popleft())
