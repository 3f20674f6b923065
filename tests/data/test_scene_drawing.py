import cv2
import numpy as np
import pytest

from jaxseg.data.scene_canvas import SUPERSAMPLE, Canvas, cut, noise, packed, rgb, shade, weighted
from jaxseg.data.scene_cars import CAR, draw_car
from jaxseg.data.scene_drawing import CLASS_NAMES, MIN_SIZE, draw_scene
from jaxseg.data.scene_persons import PERSON, draw_person
from jaxseg.data.scene_view import NEAR, Camera, random_view
from jaxseg.errors import InputError
from jaxseg.types import VOID

SKY, ROAD, BUILDING, TREE = range(4)
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def draw(index, size=(96, 128)):
    return draw_scene(np.random.default_rng([0, 0, index]), size)


@pytest.fixture(scope="module")
def scenes():
    drawn = [draw(index) for index in range(140)]
    return np.stack([image for image, _ in drawn]), np.stack([label for _, label in drawn])


def test_class_indices():
    assert CLASS_NAMES == ("sky", "road", "building", "tree", "car", "person")
    assert (CLASS_NAMES[CAR], CLASS_NAMES[PERSON]) == ("car", "person")


def test_same_random_state_same_scene():
    image, label = draw(3)
    again, label_again = draw(3)
    other, _ = draw(4)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(label, label_again)
    assert (image != other).mean() > 0.5


@pytest.mark.parametrize("size", [(96, 128), (32, 32), (33, 190), (150, 47), (240, 320)])
def test_any_size(size):
    for index in range(3):
        image, label = draw(index, size)
        assert image.shape == (*size, 3)
        assert label.shape == size
        assert image.dtype == label.dtype == np.uint8
        assert set(np.unique(label)) <= {*range(6), VOID}
        assert image.std() > 10


def test_all_is_relative_to_the_height():
    _, small = draw(7, (96, 128))
    _, large = draw(7, (288, 384))
    large = large[1::3, 1::3]
    both = (small != VOID) & (large != VOID)
    assert (small == large)[both].mean() > 0.96  # leaves are finer
    things = (small >= CAR) | (large >= CAR)
    np.testing.assert_array_equal(small[both & things], large[both & things])


@pytest.mark.parametrize("size", [(31, 128), (96, 0)])
def test_too_small_a_size_is_refused(size):
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels is too small.*at least {MIN_SIZE} on both sides"):
        draw(0, size)


def test_classes_are_present_and_imbalanced(scenes):
    _, labels = scenes
    present = np.stack([(labels == k).sum(axis=(1, 2)) > 20 for k in range(6)])
    assert present[PERSON].mean() >= 0.7
    assert (present.mean(axis=1) > 0.7).all()
    assert present.all(axis=0).mean() > 0.6
    share = np.array([(labels == k).mean() for k in range(6)])
    assert share[ROAD] > 8 * share[PERSON] > 0.1
    assert 0.01 < (labels == VOID).mean() < 0.06


def test_the_contours_of_cars_and_persons_are_void(scenes):
    _, labels = scenes
    thing = (labels == CAR) | (labels == PERSON)
    for down, right in NEIGHBOURS[:2]:
        here, there = labels[:, : 96 - down, : 128 - right], labels[:, down:, right:]
        touching = (here != there) & (here != VOID) & (there != VOID)
        touching &= thing[:, : 96 - down, : 128 - right] | thing[:, down:, right:]
        assert not touching.any()
    # Void lies along contours and nowhere else: never two pixels from a thing, up to what a contour covers altogether.
    for label, mask in zip(labels, thing):
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert ((label == VOID) & ~near).sum() <= 0.1 * (label == VOID).sum() + 4


def test_persons_are_large_enough_to_find(scenes):
    _, labels = scenes
    heights = []
    for label in labels:
        _, _, stats, _ = cv2.connectedComponentsWithStats((label == PERSON).astype(np.uint8))
        heights += [height for _, _, _, height, area in stats[1:] if area > 25]
    assert 16 <= np.median(heights) <= 40


def test_cars_stand_on_the_road(scenes):
    _, labels = scenes
    below = []
    for label in labels:
        _, _, stats, _ = cv2.connectedComponentsWithStats((label == CAR).astype(np.uint8))
        for left, top, width, height, area in stats[1:]:
            foot = top + height + 1
            if area > 80 and foot < len(label):
                below += label[foot, left : left + width].tolist()
    below = np.array(below)
    assert (below == ROAD).sum() > 0.9 * ((below != VOID) & (below != CAR) & (below != PERSON)).sum() > 0


def test_sky_is_above_and_road_below(scenes):
    _, labels = scenes
    assert not (labels[:, 60:] == SKY).any()
    assert not (labels[:, :30] == ROAD).any()


def mean_iou_of_pixelwise_classifier(features, labels, bins, num_train):
    """Return the mean IoU of a Bayes classifier by a histogram of each pixel's feature, an index below ``bins``."""
    known = labels != VOID
    train, test = known.copy(), known.copy()
    train[num_train:], test[:num_train] = False, False
    counts = np.bincount(features[train] * 6 + labels[train], minlength=bins * 6).reshape(bins, 6).astype(float)
    prediction = (counts + 0.5 * counts.sum(axis=0) / counts.sum()).argmax(axis=1)[features]
    confusion = np.bincount(labels[test] * 6 + prediction[test], minlength=36).reshape(6, 6)
    hits = np.diag(confusion)
    return (hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)).mean()


def test_colour_alone_fails(scenes):
    images, labels = scenes
    colour = (images.astype(int) // 16) @ np.array([256, 16, 1])
    assert mean_iou_of_pixelwise_classifier(colour, labels.astype(int), 4096, num_train=100) < 0.3


def test_colour_and_position_fail(scenes):
    images, labels = scenes
    colour = (images.astype(int) // 32) @ np.array([64, 8, 1])
    rows, columns = np.mgrid[:96, :128] // 8
    feature = (colour * 12 + rows) * 16 + columns
    assert mean_iou_of_pixelwise_classifier(feature, labels.astype(int), 512 * 192, num_train=100) < 0.5


def test_the_measure_finds_what_is_there():
    labels = np.random.default_rng(0).integers(0, 6, (4, 20, 20))
    assert mean_iou_of_pixelwise_classifier(labels, labels, 6, num_train=2) == 1.0


def test_camera_projects_the_ground_below_the_horizon():
    camera = Camera(focal=100.0, horizon=40.0, vanishing=64.0, height=2.0)
    points = np.array([[0.0, 0.0, 10.0], [1.0, 2.0, 10.0], [0.0, 0.0, NEAR / 2]])
    np.testing.assert_allclose(camera.project(points), [[64, 60], [74, 40], [64, 40 + 200 / NEAR]])


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_those_of_the_pixel_centres(seed):
    corners = np.random.default_rng(seed).uniform(5, 85, (3, 2))
    canvas = Canvas(90, 90)
    canvas.polygons(corners, [3], [rgb(10, 20, 30)], 4)
    assert set(map(tuple, canvas.pixels.reshape(-1, 4))) == {(0, 0, 0, 0), (10, 20, 30, 4)}
    centres = np.stack(np.meshgrid(np.arange(1, 90, 3), np.arange(1, 90, 3)), axis=-1) + 0.5
    a, b = corners, np.roll(corners, -1, axis=0)
    along = (b - a) / np.linalg.norm(b - a, axis=1, keepdims=True)
    offset = centres[..., None, :] - a
    distance = offset[..., 0] * along[:, 1] - offset[..., 1] * along[:, 0]
    inside = (distance >= 0).all(-1) | (distance <= 0).all(-1)
    # OpenCV paints the pixels that the outline touches, too: half a canvas pixel, a sixth of an image pixel.
    clear = (np.abs(distance) > 1).all(-1)
    painted = canvas.pixels[1::SUPERSAMPLE, 1::SUPERSAMPLE, 3] == 4
    np.testing.assert_array_equal(painted[clear], inside[clear])


def test_warp_and_paste_are_cut_off_at_the_border():
    texture = np.full((8, 8, 4), (1, 2, 3, 4), np.uint8)
    canvas = Canvas(20, 30)
    canvas.warp(texture, np.array([[-10.0, -10.0], [15.0, -10.0], [15.0, 10.0], [-10.0, 10.0]]))
    assert (canvas.pixels[:10, :15] == (1, 2, 3, 4)).all()
    assert not canvas.pixels[12:].any()
    for top, left in ((-4, -4), (16, 26), (40, 3), (3, -40)):
        canvas.paste(texture, np.ones((8, 8), np.uint8), top, left)
    assert (canvas.pixels[16:, 26:] == (1, 2, 3, 4)).all()


def test_packed_and_shade_keep_the_class():
    pixels = packed(np.array([[[100.0, 50.0, 300.0]]]), 5).view(np.uint8).reshape(1, 1, 4)
    np.testing.assert_array_equal(pixels[0, 0], [100, 50, 255, 5])
    np.testing.assert_array_equal(shade(pixels, np.array([[64]], np.uint8))[0, 0], [50, 25, 128, 5])


def test_noise_has_about_unit_deviation():
    field = noise(np.random.default_rng(0), 200, 300, (20, 30))
    assert field.shape == (200, 300)
    assert abs(field.mean()) < 0.15
    assert 0.7 < field.std() < 1.3


def test_cut_repeats_a_small_tile():
    tile = np.arange(12).reshape(3, 4)
    piece = cut(np.random.default_rng(0), tile, 7, 9)
    assert piece.shape == (7, 9)
    np.testing.assert_array_equal(piece[:4, :5], piece[3:, 4:])


def test_weighted_follows_the_shares():
    rng = np.random.default_rng(0)
    counts = np.bincount([weighted(rng, (0.2, 0.0, 0.8)) for _ in range(2000)], minlength=3)
    np.testing.assert_allclose(counts / 2000, [0.2, 0, 0.8], atol=0.03)


@pytest.mark.parametrize(("yaw", "wide"), [(0.0, False), (np.pi, False), (np.pi / 2, True), (-np.pi / 2, True)])
def test_a_car_is_solid_and_longer_than_wide(yaw, wide):
    view = random_view(np.random.default_rng(1), 200, 400)
    draw_car(view, (200 - view.camera.vanishing) * 9 / view.camera.focal, 9.0, yaw)
    mask = (view.canvas.pixels[..., 3] == CAR).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    assert len(contours) == 1
    assert mask.sum() > 0.8 * cv2.contourArea(cv2.convexHull(contours[0]))
    _, _, width, height = cv2.boundingRect(mask)
    assert (width > 2 * height) == wide


def test_a_person_stands_upright_on_the_ground():
    view = random_view(np.random.default_rng(1), 300, 300)
    draw_person(view, 0.0, 8.0, 1.75)
    _, top, width, height = cv2.boundingRect((view.canvas.pixels[..., 3] == PERSON).astype(np.uint8))
    foot = view.camera.project(np.array([0.0, 0.0, 8.0]))[1]
    assert abs(top + height - foot) < 2
    assert abs(height - 1.75 * view.camera.focal / 8) < 6
    assert height > 1.5 * width
