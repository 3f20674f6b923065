"""TensorBoard's file of a run, written at once: an error of the disk reaches the run, instead of ending a thread unseen."""

import contextlib
import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class EventFile:
    """One file of events in a folder of TensorBoard's."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """Begin a file; what earlier ones say of ``first_step`` and later steps is void."""
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        # The version has to be the file's second event, without which TensorBoard drops no steps.
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
        self._writer.flush()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write scalars under their names; an :class:`OSError` of the disk passes through."""
        for name, value in values.items():
            self._write(Event(step=step, summary=summary.scalar(name, value)))
        self._writer.flush()

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Write a picture under its name; an :class:`OSError` of the disk passes through."""
        self._write(Event(step=step, summary=summary.image(name, picture, dataformats="HWC")))
        self._writer.flush()

    def close(self) -> None:
        """Close the file; an :class:`OSError` of the disk passes through."""
        try:
            self._writer.close()
        except OSError:
            with contextlib.suppress(OSError):  # it says the same again
                self._writer._py_recordio_writer.close()
            raise

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
