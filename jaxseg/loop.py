"""The loop of training: batches go in, the state changes, scores and checkpoints come out."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxseg import visualize
from jaxseg.checkpoints import Checkpoints
from jaxseg.compilation import OverMesh, OverReplicas
from jaxseg.config import Config
from jaxseg.evaluation import Evaluation, evaluate
from jaxseg.inference import Predictor
from jaxseg.interruption import Signals
from jaxseg.reporting import Report
from jaxseg.step import TrainState


@dataclasses.dataclass(frozen=True)
class Loop:
    """What a run's loop works with.

    Attributes:
        config: of the run.
        training: from :func:`jaxseg.compilation.compile_training`.
        checkpoints: of the run, entered.
        report: of the run, entered.
        signals: entered; one of them ends the loop.
        validation: the evaluation split.
    """

    config: Config
    training: OverMesh | OverReplicas
    checkpoints: Checkpoints
    report: Report
    signals: Signals
    validation: Any

    def run(self, state: TrainState, batches: Iterable[dict[str, Any]]) -> tuple[Predictor, Evaluation]:
        """Train until ``config.steps``.

        Args:
            state: as checkpoints have it; it is used up.
            batches: from the state's step on, without end.

        Returns:
            The network after the last step, and what it scores.

        Raises:
            InputError: for losses that are not finite, bad files, or a disk that cannot be written.
            Interrupted: after a signal, when the step is done and saved.
        """
        config, start = self.config, int(state.step)
        found: Evaluation | None = None
        step, state = start, self.training.spread(state)
        if start and self._is_evaluated(start) and start not in self.checkpoints.ranking:
            found = self._score(state, step)  # the run ended in this evaluation
        for step, batch in self.signals.until_received(zip(range(start + 1, config.steps + 1), batches)):
            names = batch.pop("name")
            state, scalars = self.training.update(state, batch)
            self.report.add(step, scalars, names)
            if step == start + 1:
                self.report.restart_clock()  # it was compiled meanwhile
            saving = self._is_evaluated(step) or step % config.checkpoint_every == 0
            if saving or step % config.log_every == 0:
                self.report.flush()
                self.checkpoints.check()
            if saving:
                self.checkpoints.save(self.training.canonical(state))
            if self._is_evaluated(step):
                found = self._score(state, step)
            if saving:
                self.report.restart_clock()
        if step < config.steps:
            self.report.flush()
            self.checkpoints.save(self.training.canonical(state))
            self.checkpoints.wait()
            raise self.signals.interrupted(step)
        predictor = Predictor.of_state(config, self.training.variables(state))
        return predictor, found or evaluate(predictor, self.validation)

    def _is_evaluated(self, step: int) -> bool:
        return step == self.config.steps or step % self.config.eval_every == 0

    def _score(self, state: TrainState, step: int) -> Evaluation:
        """Score the network on the evaluation split, draw its first images, and rank the checkpoint."""
        with self.signals.at_once(step, self.checkpoints.wait):
            predictor = Predictor.of_state(self.config, self.training.variables(state))
            found = evaluate(predictor, self.validation)
            split, scores = self.config.eval_split, found.scores
            self.report.scalars(step, {f"{split}/{k}": v for k, v in scores.items() if isinstance(v, float)})
            figures = f"mIoU {100 * scores['miou']:.2f}  pixel accuracy {100 * scores['pixel_accuracy']:.2f}"
            self.report.say(f"step {step:>6}  {split} {figures}")
            if jax.process_index() == 0:
                places = np.linspace(0, len(self.validation) - 1, min(4, len(self.validation))).astype(int)
                some = [self.validation[i] for i in places]
                sheet = visualize.prediction_sheet(
                    [e["image"] for e in some],
                    [e["label"] for e in some],
                    [found.named(predictor.predict(e["image"])) for e in some],
                    self.config.data.palette,
                    self.config.data.class_names,
                )
                self.report.picture(step, split, sheet)
        self.checkpoints.rank(step, scores["miou"])
        return found
