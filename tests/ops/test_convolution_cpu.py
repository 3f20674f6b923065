import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxseg.ops import convolution_cpu, convolution_gemm, convolution_winograd
from jaxseg.ops.convolution_native import Geometry, native


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def two(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def operands(geometry, c, o, b=2):
    x, kernel = draw(b, *geometry.size, c), draw(*geometry.window, c // geometry.groups, o, seed=1)
    g = draw(b, *geometry.output_size, o, seed=2)
    return {"output": (x, kernel), "input": (g, kernel), "kernel": (x, g)}


def assert_faces_agree(geometry, c, o, faces, tolerance=1e-5, b=2):
    @jax.jit
    def run(pairs):
        fixed = {face: {"face": face, "geometry": geometry} for face in pairs}
        return {face: (faces(*pair, **fixed[face]), native(*pair, **fixed[face])) for face, pair in pairs.items()}

    for face, (got, want) in jax.device_get(run(operands(geometry, c, o, b))).items():
        assert got.shape == want.shape, face
        scale = np.abs(want).max() + 1e-3
        np.testing.assert_allclose(got / scale, want / scale, atol=tolerance, err_msg=f"{face} {geometry}")


@st.composite
def geometries(draw):
    window, strides, rate = draw(two(1, 5)), draw(two(1, 3)), draw(two(1, 3))
    sides, more = draw(st.tuples(two(0, 4), two(0, 4))), draw(two(0, 7))
    size = [max(r * (k - 1) + 1 - sum(p), 1) + m for k, r, p, m in zip(window, rate, sides, more)]
    c, o, groups = draw(st.sampled_from([(3, 4, 1), (5, 2, 1), (9, 2, 1), (4, 6, 2), (3, 6, 3)]))
    return Geometry(tuple(size), window, strides, sides, rate, groups), c, o


@settings(max_examples=12, deadline=None, derandomize=True)
@given(geometries())
def test_every_face_of_any_geometry_is_xlas(case):
    assert_faces_agree(*case, convolution_cpu.face)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(size=two(5, 22), sides=st.tuples(two(0, 3), two(0, 3)), rate=two(1, 2))
def test_winograd_is_exact_for_any_size_padding_and_rate(size, sides, rate):
    faces = {
        "output": convolution_winograd.output,
        "input": convolution_winograd.input_gradient,
        "kernel": convolution_winograd.kernel_gradient,
    }
    geometry = Geometry(size, (3, 3), (1, 1), sides, rate)
    assert_faces_agree(geometry, 3, 4, lambda a, b, *, face, geometry: faces[face](a, b, geometry), tolerance=3e-5)


def test_winograds_error_is_as_documented():
    geometry = Geometry((32, 32), (3, 3), sides=((1, 1), (1, 1)))
    x, kernel = (np.asarray(v, np.float64) for v in operands(geometry, 128, 128, 1)["output"])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    want = sum(padded[:, i : i + 32, j : j + 32] @ kernel[i, j] for i in range(3) for j in range(3))
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    got = jax.jit(lambda x, k: convolution_winograd.output(x, k, geometry))(x, kernel)
    worst = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
    direct = np.abs(np.asarray(native(x, kernel, face="output", geometry=geometry), np.float64) - want).max() / np.abs(want).max()
    assert direct < 2e-6 < worst * 2
    assert worst < 2e-5


@pytest.mark.parametrize(
    ("case", "size", "window", "options", "channels"),
    [
        ("winograd", 32, 3, {"sides": ((1, 1), (1, 1))}, (128, 128)),
        ("winograd at a rate", 32, 3, {"sides": ((2, 2), (2, 2)), "rate": (2, 2)}, (128, 128)),
        ("columns of few pixels", 8, 3, {"sides": ((1, 1), (1, 1))}, (128, 768)),
        ("a large rate, mostly padding", 12, 3, {"sides": ((8, 8), (8, 8)), "rate": (8, 8)}, (64, 16)),
        ("only the centre is seen", 8, 3, {"sides": ((9, 9), (9, 9)), "rate": (9, 9)}, (8, 8)),
        ("products first", 12, 3, {"sides": ((1, 1), (1, 1))}, (64, 8)),
        ("a stem", 32, 7, {"sides": ((3, 3), (3, 3)), "strides": (2, 2)}, (3, 16)),
        ("a deconvolution", 32, 16, {"sides": ((4, 4), (4, 4)), "strides": (8, 8)}, (5, 5)),
    ],
)
def test_the_shapes_that_networks_use(case, size, window, options, channels):
    geometry = Geometry((size, size), (window, window), **options)
    assert_faces_agree(geometry, *channels, convolution_cpu.face, tolerance=3e-5)


def test_bands_of_rows_add_up(monkeypatch):
    monkeypatch.setattr(convolution_gemm, "COLUMNS", 1)
    monkeypatch.setattr(convolution_gemm, "BAND", 1000)
    monkeypatch.setattr(convolution_gemm, "BAND_PIXELS", 1)
    for strides, rate in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 3))):
        geometry = Geometry((23, 17), (3, 3), strides, ((1, 2), (0, 1)), rate)
        lhs, rhs = operands(geometry, 3, 4)["kernel"]
        got = jax.jit(lambda a, b, g=geometry: convolution_gemm.kernel_gradient(a, b, g))
        assert "while" in got.lower(lhs, rhs).as_text()
        np.testing.assert_allclose(got(lhs, rhs), native(lhs, rhs, face="kernel", geometry=geometry), atol=2e-4)


@pytest.mark.parametrize(
    ("size", "window", "options", "channels"),
    [
        (32, 3, {"sides": ((1, 1), (1, 1))}, (64, 64)),
        (32, 3, {"sides": ((1, 1), (1, 1)), "strides": (2, 2)}, (64, 64)),
        (32, 7, {"sides": ((3, 3), (3, 3)), "strides": (2, 2)}, (3, 64)),
        (32, 1, {"strides": (2, 2)}, (256, 512)),
        (32, 3, {"sides": ((12, 12), (12, 12)), "rate": (12, 12)}, (2048, 256)),
        (32, 3, {"sides": ((1, 1), (1, 1)), "groups": 256}, (256, 256)),
        (256, 64, {"sides": ((16, 16), (16, 16)), "strides": (32, 32)}, (21, 21)),
    ],
)
def test_xlas_slow_gradients_are_never_emitted(size, window, options, channels):
    """On the CPU a gradient to a kernel is no convolution, and none is dilated."""
    geometry = Geometry((size, size), (window, window), **options)
    for face, pair in jax.eval_shape(lambda: operands(geometry, *channels)).items():
        text = jax.jit(lambda a, b, face=face: convolution_cpu.face(a, b, face=face, geometry=geometry)).lower(*pair).as_text()
        assert "lhs_dilate = [2" not in text
        assert face != "kernel" or "stablehlo.convolution" not in text
