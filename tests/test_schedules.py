import math

import pytest

from jaxseg import schedules
from jaxseg.errors import InputError


def test_poly_is_deeplabs_formula():
    schedule = schedules.poly(steps=100, learning_rate=0.01)
    for t in (0, 1, 50, 99, 100):
        assert float(schedule(t)) == pytest.approx(0.01 * (1 - t / 100) ** 0.9, rel=1e-5, abs=1e-9)


def test_cosine_halves_in_the_middle_and_ends_at_its_end():
    schedule = schedules.cosine(steps=100, learning_rate=0.1, end=0.02)
    assert float(schedule(50)) == pytest.approx(0.06, rel=1e-5)
    assert float(schedule(25)) == pytest.approx(0.02 + 0.08 * (1 + math.cos(math.pi / 4)) / 2, rel=1e-5)
    assert float(schedule(100)) == pytest.approx(0.02, rel=1e-5)


@pytest.mark.parametrize("make", [schedules.poly, schedules.cosine, schedules.constant])
def test_warmup_rises_linearly_and_the_run_keeps_its_length(make):
    schedule = make(steps=110, learning_rate=0.1, warmup_steps=10, warmup_start=0.01)
    assert float(schedule(0)) == pytest.approx(0.01)
    assert float(schedule(5)) == pytest.approx(0.055)
    assert float(schedule(10)) == pytest.approx(0.1)
    without = make(steps=100, learning_rate=0.1)
    assert float(schedule(70)) == pytest.approx(float(without(60)))


@pytest.mark.parametrize("make", [schedules.poly, schedules.cosine, schedules.constant])
def test_refuses_a_warmup_as_long_as_the_run(make):
    with pytest.raises(
        InputError, match=r"warmup_steps=100 must be at least 0 and less than steps=100. Set schedule.warmup_steps"
    ):
        make(steps=100, learning_rate=0.1, warmup_steps=100)


def test_step_decay_is_a_staircase():
    schedule = schedules.step_decay(steps=6000, learning_rate=0.001, every=2000)
    for t, rate in ((0, 1e-3), (1999, 1e-3), (2000, 1e-4), (3999, 1e-4), (4000, 1e-5), (5999, 1e-5)):
        assert float(schedule(t)) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("every", [0, 100, 200])
def test_step_decay_refuses_a_first_stair_as_long_as_the_run(every):
    with pytest.raises(InputError, match=f"every={every} must be above 0 and less than steps=100. Set schedule.every lower"):
        schedules.step_decay(steps=100, learning_rate=0.1, every=every)
