"""The folder of a run: which one, whether it can be written, and whether it belongs to this config."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from jaxseg import describe, processes
from jaxseg.config import Config
from jaxseg.config_files import import_config, split_spec
from jaxseg.console import status
from jaxseg.errors import InputError
from jaxseg.evaluation import json_scores

#: Seconds until a host may see what another has written to the disk that they share.
_SHARED_DISK_DELAY = 10.0


def default(spec: str) -> Path:
    """Return ``runs/<config>-<recipe>`` for ``configs/setr.py:camvid``."""
    path, recipe = split_spec(spec)
    return Path("runs") / f"{path.stem}-{recipe or import_config(path).RECIPES[0]}"


def open_run(workdir: Path, config: Config) -> None:
    """Make the folder, or check that it holds a run of the same network, and keep the config in it.

    Raises:
        InputError: if the folder cannot be written, is not the same for all processes of a job, or holds a run of another
            network, naming what differs.
    """
    processes.on_first(lambda: _open(workdir, config))
    deadline = time.monotonic() + _SHARED_DISK_DELAY
    while not (workdir / "config.json").is_file():
        if time.monotonic() > deadline:
            raise InputError(
                f"Process {jax.process_index()} does not see {workdir / 'config.json'}, which process 0 has written. "
                "Give a --workdir on a disk that all hosts share."
            )
        time.sleep(0.1)


def _open(workdir: Path, config: Config) -> None:
    description = describe.to_json(config)
    file = workdir / "config.json"
    if file.is_file():
        changes = describe.differences(describe.read_json(file), description)
        network = [line for line in changes if line.startswith(("model", "optimizer:", "ema_decay")) and not _keeps_arrays(line)]
        if network:
            raise InputError(
                f"{workdir} holds a run of another network or optimizer:\n  " + "\n  ".join(network) + "\n"
                "Give another --workdir, or remove that one to start anew."
            )
        for line in changes:
            status.print(f"changed since the run began: {line}")
    write_json(file, description)


def finish_run(workdir: Path, config: Config, step: int, scores: dict[str, Any]) -> None:
    """Write the final scores to ``scores.json``."""
    if jax.process_index() == 0:
        names = config.data.class_names
        write_json(workdir / "scores.json", {"step": step, "split": config.eval_split, **json_scores(scores, names)})


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all, and the folder that it lies in.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        write_text(path, json.dumps(content, indent=1))
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error.strerror}). Give another folder: --workdir DIR.") from error


def write_text(path: Path, content: str) -> None:
    """Write a file whole or not at all, and the folder that it lies in; an :class:`OSError` of the disk passes through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    try:
        with os.fdopen(unfinished, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave an empty file under the final name
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)  # or it would go on filling a full disk
        raise


def _keeps_arrays(change: str) -> bool:
    """Say whether a change of the network leaves its arrays as they are, so that a run may go on with it."""
    return change.partition(":")[0].rpartition(".")[2] in ("dtype", "remat", "dropout", "attention_dropout", "drop_path")
