"""Learning rate schedules: pure functions of the run's length that return an ``optax.Schedule``.

Every schedule takes ``steps``, the length of the run, which ``train`` gives it; a config binds the rest:
``schedule=functools.partial(poly, learning_rate=0.01, warmup_steps=500)``.
"""

import optax

from jaxseg.errors import InputError


def poly(
    *, steps: int, learning_rate: float, power: float = 0.9, end: float = 0.0, warmup_steps: int = 0, warmup_start: float = 0.0
) -> optax.Schedule:
    """Polynomial decay of DeepLab: ``(learning_rate - end) (1 - t / T)^power + end``, after a linear warm-up.

    Source: Chen et al., DeepLab v2 (https://arxiv.org/abs/1606.00915), section 4.1.2, there called "poly".

    Args:
        steps: length of the run, warm-up included.
        learning_rate: after the warm-up.
        power: 0.9 in the DeepLab papers; 1 is linear decay.
        end: learning rate at the last step.
        warmup_steps: steps of linear rise from ``warmup_start``.
        warmup_start: learning rate at step 0 of the warm-up.

    Raises:
        InputError: if the warm-up is not shorter than the run.
    """
    decay = optax.polynomial_schedule(learning_rate, end, power, transition_steps=_after_warmup(steps, warmup_steps))
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_start)


def cosine(
    *, steps: int, learning_rate: float, end: float = 0.0, warmup_steps: int = 0, warmup_start: float = 0.0
) -> optax.Schedule:
    """Half a cosine from ``learning_rate`` to ``end``: ``end + (learning_rate - end) (1 + cos(pi t / T)) / 2``.

    Source: Loshchilov and Hutter, SGDR (https://arxiv.org/abs/1608.03983), Eq. 5, without restarts.

    Args:
        steps: length of the run, warm-up included.
        learning_rate: after the warm-up.
        end: learning rate at the last step.
        warmup_steps: steps of linear rise from ``warmup_start``.
        warmup_start: learning rate at step 0 of the warm-up.

    Raises:
        InputError: if the warm-up is not shorter than the run.
    """
    alpha = end / learning_rate if learning_rate else 0.0
    decay = optax.cosine_decay_schedule(learning_rate, _after_warmup(steps, warmup_steps), alpha=alpha)
    return _with_warmup(decay, learning_rate, warmup_steps, warmup_start)


def step_decay(*, steps: int, learning_rate: float, every: int, factor: float = 0.1) -> optax.Schedule:
    """A staircase: ``learning_rate * factor^floor(t / every)``, Caffe's policy "step".

    Args:
        steps: length of the run.
        learning_rate: at first.
        every: steps from one stair to the next.
        factor: of each stair.

    Raises:
        InputError: if the first stair is longer than the run, so that the rate would never fall.
    """
    if not 0 < every < steps:
        raise InputError(f"every={every} must be above 0 and less than steps={steps}. Set schedule.every lower, or steps higher.")
    return optax.exponential_decay(learning_rate, every, factor, staircase=True)


def constant(*, steps: int, learning_rate: float, warmup_steps: int = 0, warmup_start: float = 0.0) -> optax.Schedule:
    """One learning rate throughout, after a linear warm-up.

    Args:
        steps: length of the run, warm-up included.
        learning_rate: after the warm-up.
        warmup_steps: steps of linear rise from ``warmup_start``.
        warmup_start: learning rate at step 0 of the warm-up.

    Raises:
        InputError: if the warm-up is not shorter than the run.
    """
    _after_warmup(steps, warmup_steps)
    return _with_warmup(optax.constant_schedule(learning_rate), learning_rate, warmup_steps, warmup_start)


def _after_warmup(steps: int, warmup_steps: int) -> int:
    if not 0 <= warmup_steps < steps:
        raise InputError(
            f"warmup_steps={warmup_steps} must be at least 0 and less than steps={steps}. "
            "Set schedule.warmup_steps lower, or steps higher."
        )
    return steps - warmup_steps


def _with_warmup(decay: optax.Schedule, learning_rate: float, warmup_steps: int, warmup_start: float) -> optax.Schedule:
    if warmup_steps == 0:
        return decay
    warmup = optax.linear_schedule(warmup_start, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])
