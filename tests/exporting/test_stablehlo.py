"""StableHLO for several platforms, with sides that are open."""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import ops
from jaxseg.errors import InputError
from jaxseg.exporting.pipeline import Signature
from jaxseg.exporting.stablehlo import to_stablehlo

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)


def convolved(images):
    return {"logits": ops.conv2d(images.astype(jnp.float32), jnp.asarray(KERNEL), padding=2, atrous_rate=2)}


@pytest.mark.parametrize(("batch", "size"), [(None, (32, 32)), (2, (32, 32)), (None, None)])
def test_our_convolution_is_lowered_for_all_platforms_without_custom_calls(batch, size):
    content = to_stablehlo(convolved, Signature(size, 3, batch=batch))
    exported = jax.export.deserialize(bytearray(content))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    calls = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert calls <= {"shape_assertion"}
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    got = jax.jit(exported.call)(images)["logits"]
    np.testing.assert_allclose(got, convolved(jnp.asarray(images))["logits"], rtol=1e-5, atol=1e-3)


def test_an_artifact_refuses_other_images():
    exported = jax.export.deserialize(bytearray(to_stablehlo(convolved, Signature(None, 3))))
    with pytest.raises(ValueError, match="Division had remainder 1"):
        exported.call(jnp.zeros((1, 33, 32, 3), jnp.uint8))


def test_what_is_made_for_one_size_says_so():
    def fixed(images):
        return {
            "logits": images.astype(jnp.float32)[..., None].sum(-1) * np.ones(int(images.shape[1]), np.float32)[:, None, None]
        }

    with pytest.raises(InputError, match=r"cannot be exported for images of any multiple of 32.*Give --size HEIGHT WIDTH"):
        to_stablehlo(fixed, Signature(None, 3))


@pytest.mark.parametrize("platforms", [(), ("cpu", "gpu")])
def test_platforms_are_known(platforms):
    with pytest.raises(InputError, match="must be some of cpu, cuda, rocm, tpu"):
        to_stablehlo(convolved, Signature((8, 8), 3), platforms)
