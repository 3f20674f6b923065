import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.losses import reconstruction_error, soft_normalised_cut

RNG = np.random.default_rng(7)
LOGITS = RNG.normal(size=(2, 7, 9, 3)).astype(np.float32)
IMAGE = RNG.uniform(0, 40, (2, 7, 9, 3)).astype(np.float32)


@functools.cache
def compiled(function, options):
    return jax.jit(function(functools.partial(soft_normalised_cut, **dict(options))))


def cut(logits, image, function=lambda loss: loss, **options):
    return compiled(function, tuple(options.items()))(logits, image)


def of_all_pairs(logits, image, radius=5.0, sigma_intensity=10.0, sigma_position=4.0):
    """The paper's formula in double precision, with the whole matrix of weights, one image at a time."""
    values = []
    for one, colours in zip(np.asarray(logits, float), np.asarray(image, float)):
        q = np.exp(one) / np.exp(one).sum(-1, keepdims=True)
        q, colours = q.reshape(-1, q.shape[-1]), colours.reshape(-1, colours.shape[-1])
        places = np.argwhere(np.ones(one.shape[:2]))
        far = ((places[:, None] - places[None]) ** 2).sum(-1)
        apart = ((colours[:, None] - colours[None]) ** 2).sum(-1)
        w = np.where(np.sqrt(far) < radius, np.exp(-apart / sigma_intensity**2 - far / sigma_position**2), 0)
        values.append(q.shape[-1] - sum((q[:, k] @ w @ q[:, k]) / (w @ q[:, k]).sum() for k in range(q.shape[-1])))
    return np.mean(values)


@pytest.mark.parametrize(
    "options", [{}, {"radius": 1.0}, {"radius": 2.5, "sigma_intensity": 30.0, "sigma_position": 1.5}, {"radius": 20.0}], ids=str
)
def test_it_is_the_formula_over_all_pairs(options):
    np.testing.assert_allclose(cut(LOGITS, IMAGE, **options), of_all_pairs(LOGITS, IMAGE, **options), rtol=1e-5)


def test_gradient_is_that_of_the_formula_over_all_pairs():
    gradient = cut(LOGITS, IMAGE, function=jax.grad)
    for place in [(0, 0, 0, 0), (0, 3, 4, 1), (1, 6, 8, 2), (1, 2, 0, 1)]:
        step = np.zeros(LOGITS.shape)
        step[place] = 1e-5
        slope = (of_all_pairs(LOGITS + step, IMAGE) - of_all_pairs(LOGITS - step, IMAGE)) / 2e-5
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-3, atol=1e-7)


def test_the_image_is_data():
    assert not jax.grad(soft_normalised_cut, argnums=1)(jnp.asarray(LOGITS), jnp.asarray(IMAGE)).any()


def test_two_regions_that_differ_are_cut_for_nothing():
    image = np.zeros((1, 8, 10, 1), np.float32)
    image[:, :, 5:] = 200
    logits = 40 * np.concatenate([image < 100, image > 100], -1).astype(np.float32)
    assert abs(cut(logits, image)) < 1e-5
    assert cut(logits, np.zeros_like(image)) > 0.3
    assert cut(np.roll(logits, 2, axis=2), image) > 0.3


@pytest.mark.parametrize("kind", ["equal", "one for all"])
def test_a_segmentation_that_says_nothing_has_one_less_than_the_number_of_segments(kind):
    logits = np.zeros((2, 6, 7, 4), np.float32)
    if kind == "one for all":
        logits[..., 2] = 1e4
    np.testing.assert_allclose(cut(logits, IMAGE[:, :6, :7]), 3, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_it_lies_between_nothing_and_the_number_of_segments_and_its_gradient_is_finite(scale):
    value, gradient = cut(scale * LOGITS, IMAGE, function=jax.value_and_grad)
    assert 0 <= value <= 3
    assert np.isfinite(gradient).all()


def test_the_order_of_the_segments_does_not_matter():
    np.testing.assert_allclose(cut(LOGITS[..., [2, 0, 1]], IMAGE), cut(LOGITS, IMAGE), rtol=1e-6)


def test_a_batch_is_the_mean_of_its_images():
    alone = [cut(LOGITS[i : i + 1], IMAGE[i : i + 1]) for i in range(2)]
    assert abs(alone[0] - alone[1]) > 1e-4
    np.testing.assert_allclose(cut(LOGITS, IMAGE), np.mean(alone), rtol=1e-6)


def test_descending_finds_the_regions():
    """From noise to the two halves of a picture, with nothing but the picture."""
    image = np.zeros((1, 8, 12, 1), np.float32)
    image[:, :, 5:] = 100
    image = jnp.asarray(image + 3 * RNG.normal(size=image.shape), jnp.float32)
    step = jax.jit(lambda x: x - 40 * jax.grad(soft_normalised_cut)(x, image))
    logits = jnp.asarray(RNG.normal(size=(1, 8, 12, 2)) * 0.1 + np.linspace(-0.2, 0.2, 12)[:, None] * [1, -1], jnp.float32)
    before = cut(logits, image)
    for _ in range(200):
        logits = step(logits)
    found = np.argmax(np.asarray(logits), -1)
    assert cut(logits, image) < 0.2 * before
    assert (found[:, :, :5] == found[0, 0, 0]).all()
    assert (found[:, :, 5:] == 1 - found[0, 0, 0]).all()


def test_bfloat16_logits_are_computed_with_in_float32():
    low = jnp.asarray(LOGITS, jnp.bfloat16)
    value = soft_normalised_cut(low, jnp.asarray(IMAGE))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, of_all_pairs(low.astype(jnp.float32), IMAGE), rtol=1e-5)


def test_reconstruction_error_is_the_mean_square():
    x, y = RNG.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(reconstruction_error(jnp.asarray(x), jnp.asarray(y)), ((x - y) ** 2).mean(), rtol=1e-6)


def test_errors():
    logits, image = jnp.asarray(LOGITS), jnp.asarray(IMAGE)
    with pytest.raises(InputError, match=r"Logits of shape \(2, 7, 9, 1\) .*: a cut needs both at one size, and two segments"):
        soft_normalised_cut(logits[..., :1], image)
    with pytest.raises((InputError, TypeError)):
        soft_normalised_cut(logits[:, 1:], image)
    for name in ("radius", "sigma_intensity", "sigma_position"):
        with pytest.raises(InputError, match=f"{name}=0.0 must be positive"):
            soft_normalised_cut(logits, image, **{name: 0.0})
    with pytest.raises((InputError, TypeError)):
        reconstruction_error(image[..., :1], image)
