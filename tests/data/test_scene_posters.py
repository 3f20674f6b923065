import numpy as np
import pytest

from jaxseg.data.scene_drawing import CLASS_NAMES, class_names, draw_scene
from jaxseg.data.scene_posters import POSTER
from jaxseg.data.scenes import Scenes
from jaxseg.types import VOID

CAR = 4


@pytest.fixture(scope="module")
def drawn():
    return [draw_scene(np.random.default_rng([0, 0, i]), (96, 128), posters=True) for i in range(60)]


def test_posters_are_a_seventh_class():
    assert class_names(posters=True)[POSTER] == "poster"
    assert class_names() == CLASS_NAMES
    with_posters = Scenes(posters=True)
    assert with_posters.class_names == ("sky", "road", "building", "tree", "car", "person", "poster")
    assert len(set(with_posters.palette)) == len(with_posters.class_names)


def test_most_scenes_have_some_above_the_street_and_cars_below(drawn):
    labels = np.stack([label for _, label in drawn])
    rows = np.arange(96)[:, None] * np.ones((1, 128))
    assert np.mean([(label == POSTER).any() for label in labels]) > 0.85
    lowest = [rows[label == POSTER].max() for label in labels if (label == POSTER).any()]
    assert max(lowest) <= 48  # the horizon is at half the height at most
    assert max(rows[label == CAR].max() for label in labels if (label == CAR).any()) > 60
    assert set(np.unique(labels)) <= {*range(7), VOID}


def test_the_rest_of_the_scene_stays_as_it_is(drawn):
    for i, (_, label) in enumerate(drawn[:10]):
        _, plain = draw_scene(np.random.default_rng([0, 0, i]), (96, 128))
        around = (label != POSTER) & (label != VOID) & (plain != VOID)
        np.testing.assert_array_equal(label[around], plain[around])


def test_a_poster_shows_the_colours_of_the_street(drawn):
    """In most scenes a poster's mean colour is nearer to the street's than to the sky's: it is cut out of it."""
    nearer = []
    for image, label in drawn:
        if all((label == c).sum() > 50 for c in (POSTER, 0, 1)):
            poster, sky, road = (image[label == c].mean(0) for c in (POSTER, 0, 1))
            nearer.append(np.linalg.norm(poster - road) < np.linalg.norm(poster - sky))
    assert np.mean(nearer) > 0.8
