"""Trained networks as files that need no jaxseg: StableHLO for JAX, ONNX for everything else.

jaxseg.exporting.pipeline      a run as one pure function, from stored pixel values to classes
jaxseg.exporting.stablehlo     that function as bytes of ``jax.export``
jaxseg.exporting.onnx          that function as bytes of ONNX, by jax2onnx
jaxseg.exporting.primitives    the same function in primitives that jax2onnx converts
jaxseg.exporting.description   what goes along: class names, colours, sizes, versions, checksum
jaxseg.exporting.comparison    a written file against the predictor, on images
jaxseg.exporting.reader        runs such a file without jaxseg; also a script
"""
