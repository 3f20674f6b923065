"""ONNX models by jax2onnx, run by onnxruntime; skipped without them, and failed in CI, where ``JAXSEG_PARITY=1``."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from required import import_or_skip

from jaxseg import ops
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.exporting import comparison, onnx
from jaxseg.exporting.pipeline import Signature, pipeline
from jaxseg.exporting.primitives import convertible
from jaxseg.inference import Predictor
from jaxseg.models import SegNet, UNet
from jaxseg.models.backbones import VGG16

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import_or_skip("jax2onnx", why="pip install 'jaxseg[onnx]'")
    onnxruntime = import_or_skip("onnxruntime", why="pip install 'jaxseg[onnx]'")


def session(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def predictor(model):
    config = Config(model=model, data=Folder(root="unused", num_classes=3), crop_size=(32, 32), steps=1, batch_size=1)
    return Predictor.of_state(config, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


@pytest.mark.parametrize(
    "model",
    [UNet(3, width=2, depth=1), UNet(3, width=2, depth=1, padding="valid"), SegNet(3, VGG16(True, (2, 2, 3, 3, 3), (1,) * 5))],
    ids=["unet", "unet-valid", "segnet"],
)
def test_a_model_for_any_batch_says_what_the_predictor_says(model, tmp_path):
    p, signature = predictor(model), Signature((30, 40), 3, outputs=("labels", "confidence", "logits"))
    content = onnx.to_onnx(pipeline(p, signature), signature, {"classes": ["a", "b", "c"]})
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    compared = comparison.compare(path, p, comparison.batches(signature), signature.outputs)
    assert compared["images"] == 4
    assert set(compared["differences"]) == {"labels", "confidence", "logits"}
    loaded = session(content)
    assert [(i.name, i.shape, i.type) for i in loaded.get_inputs()] == [("images", ["batch", 30, 40, 3], "tensor(uint8)")]
    assert {o.name: o.type for o in loaded.get_outputs()}["labels"] == "tensor(uint8)"
    assert json.loads(loaded.get_modelmeta().custom_metadata_map["jaxseg"]) == {"classes": ["a", "b", "c"]}


def converted(function, *shape):
    """Return what onnxruntime makes of a function of float32 images, and what the function itself does."""
    signature = Signature(shape[1:3], shape[3], "float32")
    images = np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)
    content = onnx.to_onnx(lambda x: {"labels": function(x), "confidence": x + 1}, signature, {})
    names = [output.name for output in session(content).get_outputs()]
    found = dict(zip(names, session(content).run(None, {"images": images})))
    np.testing.assert_allclose(found["confidence"], images + 1)  # names go with their values
    return found["labels"], function(jnp.asarray(images))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0), (0, 0)), mode="edge"),
        lambda x: lax.pad(x, jnp.float32(-7), ((0, 0, 0), (-1, 2, 0), (3, -2, 0), (0, 0, 0))),
        lambda x: ops.conv_transpose2d(x, jnp.ones((4, 4, 3, 2)), strides=2, padding=1),
        lambda x: ops.conv2d(x, jnp.ones((3, 3, 1, 3)), padding=((2, 0), (1, 3)), groups=3),
        lambda x: ops.resize(x, (9, 20)),
    ],
    ids=["edge", "negative padding", "transposed", "depthwise", "resize"],
)
def test_what_jax2onnx_does_not_convert_itself(function):
    got, want = converted(function, 2, 6, 8, 3)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_other_primitives_compute_the_same():
    def function(x):
        return {
            "a": ops.conv2d(x, jnp.ones((3, 3, 3, 2)), padding=1),
            "b": lax.pad(x, jnp.float32(1), ((0, 0, 0), (1, -1, 1)) * 2),
        }

    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 8, 3)), jnp.float32)
    got = convertible(function, jax.ShapeDtypeStruct(images.shape, images.dtype))(images)
    for found, want in zip(got, jax.tree.leaves(function(images)), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_what_is_not_converted_is_explained():
    signature = Signature((8, 8), 3, "float32")

    def calls_python(x):
        return {"labels": jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x), "confidence": x}

    with pytest.raises(InputError, match=r"jax2onnx does not convert this network \(.*Take --format stablehlo"):
        onnx.to_onnx(calls_python, signature, {})
