"""Every network as StableHLO for all platforms with an open batch size, and those that take any size with open sides.

Run on their own, for the types that other tests check know whole numbers as sizes, and symbols are none:

    pytest -n 0 -m slow --jaxtyping-packages=jaxseg.errors,beartype.beartype tests/models/test_exported_networks.py
"""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import NETWORKS, initialise

from jaxseg.errors import InputError
from jaxseg.exporting.pipeline import Signature
from jaxseg.exporting.stablehlo import to_stablehlo

#: What these are built of depends on the size while they are traced.
FIXED = {"crf-rnn", "deconvnet", "pspnet", "deeplab-v2", "upernet-swin", "deeplab-v3+-swin", "fcn-swin"}

SIGNATURES = {"one size": Signature((32, 64), 3), "any size": Signature(None, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
def test_a_network_is_exported(name, signature):
    model = NETWORKS[name]
    variables = initialise(model, (1, 32, 64, 3))

    def function(images):
        return {"logits": model.apply(variables, images.astype(jnp.float32) / 255)}

    if signature.size is None and name in FIXED:
        with pytest.raises(InputError, match=r"cannot be exported for images of any multiple of 32.*Give --size HEIGHT WIDTH"):
            to_stablehlo(function, signature)
        return
    exported = jax.export.deserialize(bytearray(to_stablehlo(function, signature)))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert set(re.findall(r"custom_call @(\w+)", exported.mlir_module())) <= {"shape_assertion"}
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype(np.uint8)
    got, want = jax.jit(exported.call)(images)["logits"], jax.jit(function)(images)["logits"]
    np.testing.assert_allclose(got, want, atol=1e-4 * max(1, float(jnp.abs(want).max())))
