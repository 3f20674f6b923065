import argparse

import jax
import numpy as np
import pytest

from jaxseg import sharding
from jaxseg.errors import InputError


def test_a_batch_is_split_and_a_state_copied():
    mesh = sharding.device_mesh(16)
    placed = sharding.place_batch({"image": np.arange(16.0).reshape(16, 1)}, mesh)["image"]
    assert [shard.data.shape for shard in placed.addressable_shards] == [(2, 1)] * 8
    np.testing.assert_array_equal(placed, np.arange(16.0).reshape(16, 1))
    copied = jax.device_put(np.ones(3), sharding.replicated(mesh))
    assert len(copied.addressable_shards) == 8
    assert copied.is_fully_replicated


def test_refuses_a_batch_that_does_not_split():
    with pytest.raises(InputError, match=r"batch_size=12 does not split evenly over 8 devices. Take 8 or 16: --set batch_size="):
        sharding.device_mesh(12)


def join(*flags):
    parser = argparse.ArgumentParser()
    sharding.add_process_flags(parser)
    sharding.join_from_flags(parser.parse_args(flags))


def test_flags_that_mean_nothing_alone_are_refused():
    for flags in (["--num-processes", "2"], ["--process-id", "0"]):
        with pytest.raises(InputError, match=r"--num-processes and --process-id need --coordinator HOST:PORT, or --distributed"):
            join(*flags)
