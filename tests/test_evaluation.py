"""Evaluation of segments without names: they get those of the classes they lie on."""

import dataclasses
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.config import Config
from jaxseg.errors import InputError
from jaxseg.evaluation import evaluate, pool_logits
from jaxseg.inference import Predictor
from jaxseg.models import UNet
from jaxseg.models.wnet import WNet
from jaxseg.objectives import segment_and_reconstruct
from jaxseg.ops.normalise import Normalise


@dataclasses.dataclass(frozen=True)
class Patches:
    """Images of which every pixel is its label."""

    root: str = ""
    class_names: tuple[str, ...] = ("sky", "road", "tree")
    num_channels: int = 1
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (9, 9, 9), (99, 99, 99))

    def split(self, name):
        rng = np.random.default_rng(0)
        examples = []
        for i in range(5):
            label = rng.integers(0, 3, (6, 8)).astype(np.uint8)
            examples.append({"image": label[..., None].copy(), "label": label, "name": str(i)})
            label[0] = 255
        return examples


class Mapping(Predictor):
    """Answers with a segment for each value of the image, by a table."""

    table = ()

    def labels(self, images):
        return np.asarray(self.table, np.uint8)[images[..., 0]]

    def stripes(self, images, key=None):
        logits = np.log(np.eye(self.config.model.num_classes, dtype=np.float32)[self.labels(images)] * 0.9 + 0.02)
        yield range(images.shape[2]), iter([logits])


def config(**fields):
    given = {
        "model": UNet(num_classes=3),
        "data": Patches(),
        "crop_size": (6, 8),
        "steps": 1,
        "batch_size": 1,
        "eval_batch_size": 2,
    }
    return Config(**{**given, **fields})


def found(table, thorough=False, **fields):
    predictor = type("Tabled", (Mapping,), {"table": table})(config(**fields), {})
    return evaluate(predictor, predictor.config.data.split("val"), thorough=thorough)


@pytest.mark.parametrize(("segments", "table"), [(3, (2, 0, 1)), (7, (5, 0, 3)), (7, (6, 6, 1))])
@pytest.mark.parametrize("thorough", [False, True])
def test_segments_are_scored_by_the_class_they_are_given(segments, table, thorough):
    result = found(table, thorough, model=WNet(num_classes=segments), match_classes=True)
    perfect = len(set(table)) == 3
    assert (result.scores["miou"] == 1.0) == perfect
    assert result.confusion.num_classes == 3
    assert result.scores["images"] == 5
    if perfect:
        assert [result.classes[s] for s in table] == [0, 1, 2]
        assert result.named(np.array(table)).tolist() == [0, 1, 2]
        if thorough:
            assert result.scores["boundary_f1"] == 1.0
            assert result.scores["calibration_error"] < 0.15


def test_without_matching_classes_are_taken_by_their_number():
    result = found((2, 0, 1))
    assert result.scores["miou"] == 0.0
    assert result.classes is None
    assert result.named(np.array([2, 0])).tolist() == [2, 0]
    assert found((0, 1, 2)).scores["miou"] == 1.0


def test_fewer_segments_than_classes_leave_a_class_without():
    result = found((1, 0, 0), model=WNet(num_classes=2), match_classes=True)
    assert result.scores["iou"][0] == 1.0
    assert sorted(result.scores["iou"])[0] == 0.0


def test_a_label_that_is_no_class_is_refused_though_there_are_more_segments():
    predictor = type("Tabled", (Mapping,), {"table": (0, 1, 2)})(config(model=WNet(num_classes=9), match_classes=True), {})
    examples = predictor.config.data.split("val")
    examples[0]["label"][3, 3] = 5
    with pytest.raises(InputError, match="1 pixels have a label that is neither a class"):
        evaluate(predictor, examples)


def test_the_probability_of_a_class_is_that_of_its_segments():
    logits = np.random.default_rng(0).normal(size=(1, 2, 3, 5)).astype(np.float32)
    q = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    pooled = np.asarray(pool_logits(jnp.asarray(logits), np.array([1, 0, 1, 1, 3]), 4))
    got = np.exp(pooled) / np.exp(pooled).sum(-1, keepdims=True)
    np.testing.assert_allclose(got, np.stack([q[..., 1], q[..., [0, 2, 3]].sum(-1), 0 * q[..., 0], q[..., 4]], -1), atol=1e-6)


def test_config_checks_the_number_of_segments_and_what_undoes_the_normalisation():
    config(model=WNet(num_classes=64), match_classes=True, data=Patches(num_channels=3)).check()
    with pytest.raises(InputError, match=r"num_classes=64, but the data has 3 classes"):
        config(model=WNet(num_classes=64)).check()
    with pytest.raises(InputError, match=r"model.num_classes=1 must be from 2 to 254"):
        config(model=WNet(num_classes=1), match_classes=True).check()
    other = partial(segment_and_reconstruct, normalise=Normalise(std=(0.1,)))
    with pytest.raises(InputError, match=r"objective.normalise is Normalise\(mean=.* Set both alike"):
        config(objective=other, data=Patches(num_channels=3)).check()


def test_segments_without_names_are_numbered():
    named, numbered = config(), config(model=WNet(num_classes=64), match_classes=True)
    assert named.predicted_names == named.data.class_names
    assert named.predicted_palette == named.data.palette
    assert numbered.predicted_names[63] == "segment 63"
    assert len(set(numbered.predicted_palette)) == len(numbered.predicted_names) == 64
