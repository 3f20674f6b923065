"""A dense CRF behind a predictor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import crf, predict
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.evaluation import evaluate
from jaxseg.inference import Predictor
from jaxseg.models import UNet
from jaxseg.refinement import RefinedPredictor, eight_bit, refine, unary_of

GIVEN = crf.Parameters(w1=3.0, sigma_alpha=8.0, sigma_beta=20.0, w2=1.0, sigma_gamma=1.0, iterations=4)
IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)


def predictor_of(**fields):
    model = UNet(**{"num_classes": 3, "width": 2, "depth": 1, **fields})
    classes = max(model.num_classes, 2)
    config = Config(model=model, data=Folder(root="unused", num_classes=classes), crop_size=(16, 16), steps=1, batch_size=1)
    return Predictor.of_state(config, model.init(jax.random.key(5), jnp.zeros((1, 16, 16, 3))))


def test_its_probabilities_are_the_marginals():
    plain = predictor_of()
    refined = RefinedPredictor.of(plain, GIVEN)
    logits = plain.logits(IMAGE[None])[0]
    want = crf.mean_field(-jax.nn.log_softmax(jnp.asarray(logits)), IMAGE, **GIVEN.arguments())
    got = refined.logits(IMAGE[None])[0]
    np.testing.assert_allclose(np.exp(got), want, atol=1e-5)
    np.testing.assert_array_equal(refined.predict(IMAGE), np.asarray(want).argmax(-1))
    assert not np.allclose(np.exp(got), jax.nn.softmax(logits), atol=1e-2)
    turned = IMAGE[::-1]  # images of a batch are refined side by side, each for itself
    together = refined.logits(np.stack([turned, IMAGE]))
    np.testing.assert_array_equal(together, np.stack([refined.logits(turned[None])[0], got]))


def test_one_logit_stays_one():
    logits = np.random.default_rng(1).normal(size=(16, 20, 1)).astype(np.float32)
    got = refine(logits, IMAGE, GIVEN)
    two = refine(np.concatenate([0 * logits, logits], -1), IMAGE, GIVEN)
    assert got.shape == logits.shape
    np.testing.assert_allclose(1 / (1 + np.exp(-got[..., 0])), np.exp(two[..., 1]), atol=1e-5)
    np.testing.assert_allclose(np.exp(-unary_of(logits)).sum(-1), np.ones((16, 20)), atol=1e-6)
    binary = RefinedPredictor.of(predictor_of(num_classes=1), GIVEN)
    np.testing.assert_array_equal(binary.predict(IMAGE), binary.logits(IMAGE[None])[0, ..., 0] > 0)


def test_the_mean_of_draws_is_refined():
    plain = predictor_of(dropout=0.5)
    drawn, refined = plain.sample(IMAGE, samples=2), RefinedPredictor.of(plain, GIVEN).sample(IMAGE, samples=2)
    want = crf.mean_field(-np.log(drawn.probabilities), IMAGE, **GIVEN.arguments())
    np.testing.assert_allclose(refined.probabilities, want, atol=1e-5)
    np.testing.assert_array_equal(refined.variance, drawn.variance)
    assert refined.entropy.min() >= 0


def test_scores_are_those_of_the_refined_labels():
    rng = np.random.default_rng(2)
    examples = [{"image": IMAGE, "label": rng.integers(0, 3, (16, 20)).astype(np.uint8), "name": str(i)} for i in range(2)]
    refined = RefinedPredictor.of(predictor_of(), GIVEN)
    right = np.mean([(refined.predict(e["image"]) == e["label"]).mean() for e in examples])
    for thorough in (False, True):
        assert evaluate(refined, examples, thorough=thorough).scores["pixel_accuracy"] == pytest.approx(right)


def test_stored_values_become_eight_bit():
    np.testing.assert_array_equal(eight_bit(IMAGE), IMAGE)
    np.testing.assert_allclose(eight_bit(IMAGE.astype(np.uint16) * 257), IMAGE, rtol=1e-6)
    np.testing.assert_allclose(eight_bit(IMAGE.astype(np.float32) / 255), IMAGE, rtol=1e-6)
    with pytest.raises(InputError, match="An image of int64: the CRF takes uint8, uint16, or float"):
        eight_bit(IMAGE.astype(np.int64))


def test_predict_writes_the_refined_mask(tmp_path, monkeypatch, capsys):
    import json

    import cv2

    plain = predictor_of()
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE[..., ::-1])
    monkeypatch.setattr(predict, "load", lambda *_, **__: plain)
    spec = f"--crf={GIVEN}"
    predict.main(["--workdir", str(tmp_path), "--output", str(tmp_path / "out"), spec, "--json", str(tmp_path / "a.png")])
    mask = cv2.imread(json.loads(capsys.readouterr().out)["mask"], cv2.IMREAD_UNCHANGED)
    want = RefinedPredictor.of(plain, GIVEN).predict(IMAGE)
    assert (want != plain.predict(IMAGE)).any()
    if mask.ndim == 2:
        np.testing.assert_array_equal(mask, want)
    else:
        palette = np.asarray(plain.config.predicted_palette, np.uint8)
        np.testing.assert_array_equal(mask[..., ::-1], palette[want])
