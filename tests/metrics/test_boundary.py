import functools
import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.metrics import BoundaryF1
from jaxseg.metrics.boundary import boundary

RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=(2, 3))
def score_of(prediction, labels, num_classes, tolerance):
    return BoundaryF1.empty(num_classes, tolerance).update(prediction, labels)


def scene(seed, height=40, width=52, classes=4):
    """Blobs: the argmax of blurred noise."""
    noise = np.random.default_rng(seed).normal(size=(height, width, classes)).astype(np.float32)
    return np.argmax(cv2.GaussianBlur(noise, (0, 0), 4), -1).astype(np.int32)


def plain_boundary(mask):
    edge = np.zeros_like(mask)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        for y, x in np.argwhere(mask):
            inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
            edge[y, x] |= inside and not mask[y + dy, x + dx]
    return edge


def plain_score(prediction, labels, classes, tolerance):
    """Csurka et al. with distance transforms."""
    radius, scores = tolerance * math.hypot(*labels.shape), []
    prediction = np.where(labels == 255, 255, prediction)
    for c in range(classes):
        wanted, found = plain_boundary(labels == c), plain_boundary(prediction == c)
        if not wanted.any():
            continue
        if not found.any():
            scores.append(0.0)
            continue
        to_wanted, to_found = (
            cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for b in (wanted, found)
        )
        precision, recall = (to_wanted[found] <= radius + 1e-4).mean(), (to_found[wanted] <= radius + 1e-4).mean()
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return scores


@pytest.mark.parametrize("tolerance", [0.0075, 0.05, 0.0])
@pytest.mark.parametrize("void", [False, True])
def test_it_is_the_papers(tolerance, void):
    labels, prediction = scene(1), scene(2)
    prediction[:, :30] = np.roll(labels, 2, 1)[:, :30]
    if void:
        labels[5:15, 10:30] = 255
    scores = score_of(jnp.asarray(prediction[None]), jnp.asarray(labels[None]), 4, tolerance).scores()
    expected = plain_score(prediction, labels, 4, tolerance)
    np.testing.assert_allclose(scores["boundary_f1"], np.mean(expected), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(scores["boundary_f1_per_class"], expected, rtol=1e-6, atol=1e-7)
    assert 0 < np.mean(expected) < 1


def test_the_score_of_a_data_set_is_the_mean_over_images():
    labels, prediction = np.stack([scene(1), scene(2)]), np.stack([scene(3), scene(2)])
    both = score_of(jnp.asarray(prediction), jnp.asarray(labels), 4, 0.02).scores()["boundary_f1"]
    expected = np.mean([np.mean(plain_score(p, y, 4, 0.02)) for p, y in zip(prediction, labels)])
    assert both == pytest.approx(expected, rel=1e-6)


def test_boundary_pixels_of_a_square_in_the_corner():
    labels = jnp.zeros((1, 5, 5), jnp.int32).at[0, 3:, 3:].set(1)
    expected = np.full((5, 5), -1)
    expected[3, 3:], expected[3:, 3] = 1, 1
    expected[2, 3:], expected[3:, 2] = 0, 0
    np.testing.assert_array_equal(boundary(labels)[0], expected)


def test_void_may_hold_anything_and_its_border_is_a_boundary():
    labels = jnp.zeros((1, 6, 6), jnp.int32).at[:, :, 2:4].set(255).at[:, :, 4:].set(1)
    for content in (0, 1, 255):
        prediction = jnp.where(labels == 255, content, labels)
        assert score_of(prediction, labels, 2, 0.0).scores()["boundary_f1"] == 1.0
    np.testing.assert_array_equal(boundary(labels)[0, 0], [-1, 0, -1, -1, 1, -1])


def test_images_without_a_boundary_do_not_count():
    one_class = jnp.zeros((1, 6, 6), jnp.int32)
    split = one_class.at[:, 3:].set(1)
    empty = score_of(split, one_class, 2, 0.05)
    assert np.isnan(empty.scores()["boundary_f1"])
    assert np.isnan(empty.scores()["boundary_f1_per_class"]).all()
    assert empty.merge(score_of(split, split, 2, 0.05)).scores()["boundary_f1"] == 1.0
    assert score_of(one_class, split, 2, 0.05).scores() == {"boundary_f1": 0.0, "boundary_f1_per_class": [0.0, 0.0]}


def test_errors():
    with pytest.raises(InputError, match=r"tolerance=5.0 is a share of the image's diagonal, in \[0, 1\)"):
        BoundaryF1.empty(3, 5.0)
    with pytest.raises(InputError, match=r"num_classes=0 must be from 1 to 255"):
        BoundaryF1.empty(0)
    with pytest.raises(InputError, match=r"tolerances 0.0075 and 0.1 do not add up"):
        BoundaryF1.empty(3).merge(BoundaryF1.empty(3, 0.1))
    with pytest.raises((InputError, TypeError), match=r"must be the same|labels"):
        BoundaryF1.empty(3).update(jnp.zeros((1, 2, 2), int), jnp.zeros((1, 2, 3), int))
