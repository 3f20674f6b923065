import jax
import jax.numpy as jnp
import pytest

from jaxseg import sharding
from jaxseg.errors import InputError
from jaxseg.parallel import Parallel, lay_out, split_largest_axis

STATE = {
    "conv": {"kernel": jnp.zeros((3, 3, 64, 128)), "bias": jnp.zeros(128)},
    "odd": jnp.zeros((63, 129)),
    "step": jnp.zeros(()),
}


@pytest.mark.parametrize(
    ("shape", "parts", "axis"),
    [
        ((3, 3, 64, 128), 8, 3),
        ((3, 3, 128, 64), 8, 2),
        ((64, 64), 4, 1),  # the last of equals
        ((4096, 21), 8, 0),
        ((128,), 8, None),  # small
        ((63, 129), 8, None),  # nothing divides
        ((), 2, None),
    ],
)
def test_the_longest_axis_that_divides(shape, parts, axis):
    assert split_largest_axis("any", shape, parts) == axis


def test_lays_a_state_out_and_says_how():
    layout = lay_out(STATE, sharding.device_mesh(8, fsdp=4))
    assert layout.shardings["conv"]["kernel"].shard_shape((3, 3, 64, 128)) == (3, 3, 64, 32)
    assert layout.shardings["odd"].is_fully_replicated
    assert "conv/kernel (3, 3, 64, 128): axis 3 in 4 parts" in layout.lines
    assert "step (): whole" in layout.lines
    assert layout.summary.startswith("1 of 4 arrays split over 4 devices; each holds 32.")


def test_without_fsdp_everything_is_whole():
    layout = lay_out(STATE, sharding.device_mesh(8))
    assert all(s.is_fully_replicated for s in jax.tree.leaves(layout.shardings))


def test_a_rule_of_ones_own():
    def rule(name, shape, parts):
        return 2 if name == "conv/kernel" else None

    layout = lay_out(STATE, sharding.device_mesh(8, fsdp=8), rule)
    assert layout.shardings["conv"]["kernel"].shard_shape((3, 3, 64, 128)) == (3, 3, 8, 128)
    with pytest.raises(
        InputError, match=r"parallel.rule wants to split axis 0 of conv/bias \(128,\) into 3.*divides evenly, or None"
    ):
        lay_out(STATE, sharding.device_mesh(3, jax.devices()[:3], fsdp=3), lambda name, shape, parts: 0 if shape else None)


def test_refuses_no_devices():
    with pytest.raises(InputError, match=r"parallel.fsdp=0 must be at least 1"):
        Parallel(fsdp=0)
