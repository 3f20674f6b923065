import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from jaxseg.data.augment import ElasticDeformation, RandomRotation
from jaxseg.data.augment.warp import _bicubic_weights, _check_border
from jaxseg.errors import InputError
from jaxseg.types import VOID


class Drawn(np.random.Generator):
    """A generator whose uniform draws are known."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def uniform(self, *_):
        return self.value


def coordinates(height, width):
    rows, columns = np.indices((height, width))
    image = np.stack([rows, columns], axis=-1).astype(np.float32)
    return {"image": image, "label": (rows // 8 % 2 + 2 * (columns // 8 % 2)).astype(np.uint8), "name": "coordinates"}


@pytest.mark.parametrize(("angle", "turns"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
def test_rotation_by_right_angles_is_exact(angle, turns):
    example = coordinates(41, 41)
    result = RandomRotation(180.0, 1.0)(example, Drawn(angle))
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(result["image"][inner], np.rot90(example["image"], turns)[inner], atol=1e-3)
    assert np.array_equal(result["label"][inner], np.rot90(example["label"], turns)[inner])


def test_rotation_turns_about_the_centre_and_keeps_lengths():
    result = RandomRotation(45.0, 1.0)(coordinates(61, 81), Drawn(30.0))
    np.testing.assert_allclose(result["image"][30, 40], [30, 40], atol=0.05)
    step = result["image"][30, 50] - result["image"][30, 40]
    np.testing.assert_allclose(step, [10 * np.sin(np.pi / 6), 10 * np.cos(np.pi / 6)], atol=0.1)


def test_rotation_keeps_the_area_that_stays_inside():
    label = np.zeros((101, 101), np.uint8)
    label[30:70, 30:70] = 1
    example = {"image": label[..., None], "label": label, "name": "square"}
    for angle in (5.0, 20.0, 45.0):
        result = RandomRotation(45.0, 1.0)(example, Drawn(angle))
        assert abs((result["label"] == 1).sum() - 1600) < 40


def test_rotation_leaves_void_and_fill_in_the_corners():
    example = coordinates(40, 40)
    example["image"] += 100
    result = RandomRotation(45.0, 1.0)(example, Drawn(45.0))
    assert (result["label"][[0, 0, -1, -1], [0, -1, 0, -1]] == VOID).all()
    np.testing.assert_allclose(result["image"][0, 0], example["image"].mean(axis=(0, 1)), rtol=1e-5)
    filled = RandomRotation(45.0, 1.0, fill=(3.0, 4.0))(example, Drawn(45.0))
    assert filled["image"][0, 0].tolist() == [3.0, 4.0]
    assert 0.1 < (result["label"] == VOID).mean() < 0.25


def test_mirrored_borders_invent_no_void():
    for transform in (RandomRotation(180.0, 1.0, border="mirror"), ElasticDeformation(sigma=4.0)):
        result = transform(coordinates(40, 56), np.random.default_rng(3))
        assert VOID not in result["label"]
        assert result["image"].min() >= 0


def test_rotation_angles_and_probability():
    example = coordinates(21, 21)
    angles, still = [], 0
    for seed in range(400):
        result = RandomRotation(20.0, 0.5)(example, np.random.default_rng(seed))
        step = result["image"][10, 15] - result["image"][10, 10]
        angles.append(np.degrees(np.arctan2(step[0], step[1])))
        still += np.array_equal(result["image"], example["image"])
    assert np.abs(angles).max() <= 20.5
    assert min(angles) < -17 < 17 < max(angles)
    assert 150 < still < 250


def test_elastic_displacements_are_the_drawn_vectors_at_the_grid_points():
    example = coordinates(101, 121)
    result = ElasticDeformation(grid=3, sigma=5.0)(example, np.random.default_rng(11))
    vectors = np.random.default_rng(11).normal(0.0, 5.0, (2, 3, 3))
    np.testing.assert_allclose(result["image"][50, 60] - [50, 60], vectors[:, 1, 1], atol=0.05)


def test_elastic_deformation_has_the_spread_it_is_given_and_is_smooth():
    example, moved = coordinates(129, 129), []
    for seed in range(300):
        image = ElasticDeformation(sigma=4.0)(example, np.random.default_rng(seed))["image"]
        moved.append(image[64, 64] - 64)
        inner = image[20:-20, 20:-20]
        assert np.abs(np.diff(inner[..., 0], axis=0) - 1).max() < 0.6
    assert abs(np.std(moved) - 4.0) < 0.4
    assert abs(np.mean(moved)) < 0.4


def test_elastic_voids_beyond_the_border_if_asked():
    result = ElasticDeformation(sigma=6.0, border="void", fill=9.0)(coordinates(64, 64), np.random.default_rng(0))
    outside = result["label"] == VOID
    assert 0 < outside.mean() < 0.5
    assert (result["image"][outside] == 9.0).any()


@pytest.mark.parametrize("points", [2, 3, 4, 7])
def test_bicubic_weights_interpolate_and_reproduce_lines(points):
    weights = _bicubic_weights(12 * (points - 1) + 1, points)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights[::12], np.eye(points), atol=1e-6)
    np.testing.assert_allclose(weights @ np.arange(points), np.linspace(0, points - 1, len(weights)), atol=1e-5)


def test_bicubic_weights_are_cubic_not_linear():
    points = np.linspace(0, 6, 7)
    fine = np.linspace(0, 6, 601)
    inside = (fine >= 1) & (fine <= 5)
    wave = _bicubic_weights(601, 7) @ np.sin(points)
    linear = RegularGridInterpolator((points,), np.sin(points))(fine[:, None])
    assert np.abs(wave - np.sin(fine))[inside].max() < 0.3 * np.abs(linear - np.sin(fine))[inside].max()
    np.testing.assert_allclose((_bicubic_weights(601, 7) @ points**2)[inside], fine[inside] ** 2, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomRotation(200.0), "degrees=200.0 must be from 0 to 180"),
        (lambda: RandomRotation(-1.0), "degrees=-1.0 must be from 0 to 180"),
        (lambda: RandomRotation(10.0, 2.0), "probability=2.0 is not a probability"),
        (lambda: _check_border("wrap"), "border='wrap' is unknown: give 'void' .* or 'mirror'"),
        (lambda: ElasticDeformation(grid=1), "grid=1 must be at least 2: it counts the points per side"),
        (lambda: ElasticDeformation(sigma=-1.0), "sigma=-1.0 must be 0 or more"),
        (lambda: ElasticDeformation(probability=-0.5), "probability=-0.5 is not a probability"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()
