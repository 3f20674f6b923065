"""A function as ONNX, by jax2onnx, for runtimes other than JAX.

Made for jax2onnx 0.17.1 (https://github.com/enpasos/jax2onnx), which needs no TensorFlow: ``pip install 'jaxseg[onnx]'``. Limits:

    - height and width are fixed; the batch size may be open
    - float32 alone: half precision is refused
    - all networks of jaxseg but CRF as RNN, whose mean field gathers in a way that jax2onnx does not convert
    - one file of at most 2 GB, protobuf's limit

The file is data, a graph of operators of ONNX's own set, with no custom ones among them.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jax import Array

from jaxseg.errors import InputError
from jaxseg.exporting.pipeline import Signature
from jaxseg.exporting.primitives import convertible

#: Version of ONNX's operators that are used.
OPSET = 21

INSTALL = "pip install 'jaxseg[onnx]'"


def to_onnx(function: Callable[[Array], dict[str, Array]], signature: Signature, facts: Mapping[str, Any]) -> bytes:
    """Return a function of images as the bytes of an ONNX model.

    Args:
        function: pure, such as :func:`jaxseg.exporting.pipeline.pipeline` returns.
        signature: of it; its size must be given.
        facts: kept in the model as one JSON text, ``jaxseg`` of its ``metadata_props``.

    Raises:
        InputError: without jax2onnx, for images of any size, or a network that is not converted.
    """
    if signature.size is None:
        raise InputError("size=any, but ONNX is made for one size: give --size HEIGHT WIDTH, or take --format stablehlo.")
    convert = _converter()
    shape = jax.export.symbolic_shape(",".join(str(n) for n in signature.dimensions("batch", "h", "w")))
    images = jax.ShapeDtypeStruct(shape, jnp.dtype(signature.dtype))
    names = sorted(signature.outputs)  # the order of a dictionary's leaves
    computation = convertible(function, images)
    try:
        with _quiet():
            model = convert(
                computation,
                inputs=[images],
                model_name="jaxseg",
                opset=OPSET,
                input_names=["images"],
                output_names=names,
            )
    except Exception as error:
        raise InputError(
            f"jax2onnx does not convert this network ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]}). Take "
            "--format stablehlo."
        ) from error
    entry = model.metadata_props.add()
    entry.key, entry.value = "jaxseg", json.dumps(facts)
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the converter says of its own intermediate values to itself."""
    log = logging.getLogger("onnx_ir.serde")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _converter() -> Callable[..., Any]:
    try:
        from jax2onnx import to_onnx as convert
    except ImportError as error:
        raise InputError(f"--format onnx needs jax2onnx and onnxruntime ({error}): {INSTALL}") from error
    return convert
