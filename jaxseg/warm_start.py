"""Starting a network from a run's parameters or from published weights: what fits is taken, and what is not is named."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from jaxseg import checkpoints
from jaxseg.errors import InputError
from jaxseg.ops.normalise import Normalise
from jaxseg.step import TrainState
from jaxseg.weights import hub, loading, readers
from jaxseg.weights.matching import Match, layers, match


def start(state: TrainState, source: str, model: Any, normalise: Normalise) -> tuple[TrainState, str]:
    """Start from another run, as :func:`from_run`, or from a file of weights, as :func:`jaxseg.weights.load`.

    Args:
        state: as initialised.
        source: a run's folder, a file of weights or ``hf://owner/repo``.
        model: the network.
        normalise: of the config; the report says where the weights want another.

    Returns:
        The state, and what was taken, in lines for people.

    Raises:
        InputError: if there is no such run or file, or nothing of it fits.
    """
    path = Path(source).expanduser()
    if not source.startswith(hub.PREFIX) and ((path / "checkpoints").is_dir() or not readers.is_weights(path)):
        state, found = from_run(state, source)
        return state, found.report()
    loaded = loading.load(model, source, variables={"params": state.params, **state.model_state})
    return _begin(state, loaded.variables), loaded.report(normalise)


def from_run(state: TrainState, source: str) -> tuple[TrainState, Match]:
    """Start from the checkpoint of another run, for instance FCN-16s from FCN-32s.

    Args:
        state: as initialised.
        source: a run's folder, for its best checkpoint, or ``FOLDER:latest`` or ``FOLDER:STEP``.

    Returns:
        The state with the parameters, running statistics and averaged parameters that fit, and how they fit.

    Raises:
        InputError: if there is no such checkpoint, or nothing of it fits.
    """
    folder, colon, which = source.rpartition(":")
    if not colon or Path(source).is_dir():
        folder, which = source, "best"
    if not (Path(folder).expanduser() / "checkpoints").is_dir():
        raise InputError(
            f"{folder} holds no run of jaxseg, for there is no folder checkpoints in it. Give the --workdir of one, "
            f"or a file of weights ({', '.join(readers.ENDINGS)})."
        )
    given, step = checkpoints.restore_variables(Path(folder).expanduser(), which)
    found = match({"params": state.params, **state.model_state}, given)
    if not found.taken:
        raise InputError(
            f"Nothing of the checkpoint {folder} (step {step}) fits this network: no array has the same name and shape. "
            f"It has {', '.join(layers(found.unused)[:5])} ..."
        )
    return _begin(state, found.variables), found


def _begin(state: TrainState, variables: dict[str, Any]) -> TrainState:
    params = variables["params"]
    ema = None if state.ema is None else jax.tree.map(lambda x: x.copy(), params)
    rest = {name: value for name, value in variables.items() if name != "params"}
    return dataclasses.replace(state, params=params, model_state=rest, ema=ema)
