"""Images in windows, at scales and mirrored, against the same done by hand; and how often and how much is computed."""

import dataclasses
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxseg import config as configs
from jaxseg import ops, views
from jaxseg.config import Config
from jaxseg.data.augment import resize_image
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.models import UNet
from jaxseg.ops.normalise import Normalise
from jaxseg.row_blocks import gather
from jaxseg.windows import padded_side


class Near(nn.Module):
    """Two convolutions: a score sees 5 x 5 pixels, two in every direction, and zeros beyond the image."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), name="a")(image))
        return nn.Conv(self.num_classes, (3, 3), name="b")(x)


def predictor(model, **fields):
    config = Config(
        model=model,
        data=Folder(root="unused", num_classes=max(model.num_classes, 2)),
        crop_size=(32, 32),
        steps=1,
        batch_size=1,
        normalise=Normalise((0.5,), (0.25,)),
        **{"eval_batch_size": 2, **fields},
    )
    return Predictor.of_state(config, model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


def changed(p, **fields):
    return dataclasses.replace(p, config=dataclasses.replace(p.config, **fields))


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


NEAR = predictor(Near())


@pytest.mark.parametrize("size", [(96, 128), (200, 331), (65, 40)])
def test_tiled_windows_are_the_whole_image_where_the_field_of_view_fits_in_the_overlap(size):
    picture = image(*size)
    whole = NEAR.logits(picture[None])
    tiled = changed(NEAR, window=(64, 64), overlap=0.2, blending="tile")  # half the overlap is 6 pixels, and 2 are seen
    np.testing.assert_allclose(tiled.logits(picture[None]), whole, atol=1e-5)
    np.testing.assert_array_equal(tiled.predict(picture), NEAR.predict(picture))


def test_so_are_they_for_a_network_with_poolings_that_sees_further():
    """U-Net of depth 2 sees 22 pixels in every direction; with too small an overlap it can be told apart."""
    p, picture = predictor(UNet(num_classes=3, width=4, depth=2)), image(150, 200)
    whole = p.logits(picture[None])
    enough = changed(p, window=(96, 96), overlap=0.5, blending="tile").logits(picture[None])
    too_small = changed(p, window=(96, 96), overlap=0.1, blending="tile").logits(picture[None])
    np.testing.assert_allclose(enough, whole, atol=1e-5)
    assert np.abs(too_small - whole).max() > 1e-3


def seen_at(p, picture, scale, mirrored):
    """Probabilities of one view, by hand: resize, mirror, pad, apply, cut, mirror back, resize back."""
    height, width = (round(side * scale) for side in picture.shape[:2])
    small = resize_image(picture, (height, width))
    small = small[:, ::-1] if mirrored else small
    small = np.pad(small, ((0, padded_side(height) - height), (0, padded_side(width) - width), (0, 0)), mode="edge")
    logits = p.config.model.apply(p.variables, p.config.normalise(jnp.asarray(small[None])))[:, :height, :width]
    logits = logits[:, :, ::-1] if mirrored else logits
    return softmax(np.asarray(ops.resize(logits, picture.shape[:2]))[0], axis=-1)


@pytest.mark.parametrize(("scales", "flip"), [((1.0,), True), ((0.5,), False), ((0.5, 1.0, 1.5), False), ((0.75, 1.25), True)])
def test_scales_and_mirrored_images_are_averaged(scales, flip):
    picture = image(45, 71)
    p = changed(NEAR, scales=scales, flip=flip)
    expected = np.mean([seen_at(p, picture, s, m) for s in scales for m in ((False, True) if flip else (False,))], axis=0)
    np.testing.assert_allclose(softmax(p.logits(picture[None])[0], axis=-1), expected, atol=1e-5)
    found = p.segment(picture)
    np.testing.assert_array_equal(found.labels, expected.argmax(-1))
    np.testing.assert_array_equal(found.labels, p.predict(picture))
    np.testing.assert_allclose(found.confidence, expected.max(-1), atol=1e-5)


def test_scales_and_mirrored_images_in_windows_in_tiles_and_of_resized_images():
    picture = image(300, 70)  # more rows than a block
    p = changed(NEAR, scales=(0.5, 1.0), flip=True)
    whole = p.logits(picture[None])
    for fields in ({"window": (64, 64)}, {"window": (64, 64), "image_size": (300, 70)}):
        tiled = changed(p, overlap=0.2, blending="tile", **fields)
        np.testing.assert_allclose(tiled.logits(picture[None]), whole, atol=1e-4)
    valid = predictor(UNet(num_classes=2, width=2, depth=1, padding="valid"), scales=(0.5, 1.0), flip=True)
    np.testing.assert_allclose(changed(valid, window=(64, 64)).logits(picture[None]), valid.logits(picture[None]), atol=1e-4)


def test_some_scales_whole_and_others_in_windows(monkeypatch):
    picture = image(90, 70)
    p = changed(NEAR, scales=(0.5, 1.0), blending="tile", overlap=0.2)
    whole = p.logits(picture[None])
    monkeypatch.setattr(views, "LARGEST_WHOLE", 64 * 64)
    monkeypatch.setattr(views, "OWN_WINDOW", (64, 64))
    np.testing.assert_allclose(p.logits(picture[None]), whole, atol=1e-4)


def test_flip_makes_prediction_commute_with_mirroring():
    picture, p = image(40, 64), changed(NEAR, flip=True)
    np.testing.assert_allclose(p.logits(picture[None, :, ::-1])[:, :, ::-1], p.logits(picture[None]), atol=1e-5)


def test_a_batch_is_a_row_of_images():
    pictures = np.stack([image(40, 50, seed) for seed in range(3)])
    for fields in ({"scales": (0.5, 1.0), "flip": True}, {"window": (32, 32), "flip": True}):
        p = changed(NEAR, **fields)
        np.testing.assert_array_equal(p.labels(pictures), np.stack([p.predict(picture) for picture in pictures]))


def test_confidence_of_one_logit_is_that_of_the_chosen_class():
    p, picture = predictor(Near(1)), image(33, 47)
    positive = 1 / (1 + np.exp(-p.logits(picture[None])[0, ..., 0]))
    found = p.segment(picture)
    np.testing.assert_array_equal(found.labels, positive > 0.5)
    np.testing.assert_allclose(found.confidence, np.maximum(positive, 1 - positive), atol=1e-6)
    assert found.confidence.dtype == np.float32


def test_views_and_stripes_draw_dropout_of_their_own(monkeypatch):
    """The image repeats itself, so that with one key for all its two stripes, and its two views, would be the same."""
    p = predictor(UNet(num_classes=2, width=2, depth=1), window=(64, 64), overlap=0.0)
    picture = np.tile(image(64, 64), (1, 2, 1))
    key = jax.random.key(1)
    drawn = p.logits(picture[None], key)[0]
    monkeypatch.setattr(views, "STRIPE_COLUMNS", 64)
    striped = p.logits(picture[None], key)[0]
    assert np.abs(striped[:, :64] - striped[:, 64:]).max() > 1e-3
    assert np.abs(drawn[:, :64] - drawn[:, 64:]).max() > 1e-3
    both = changed(p, scales=(1.0, 1.0)).logits(picture[None], key)[0]  # twice the same view
    assert np.abs(softmax(both, axis=-1) - softmax(striped, axis=-1)).max() > 1e-3
    found = changed(p, scales=(0.5, 1.0), flip=True).sample(image(40, 40), samples=2)
    assert found.variance.max() > 0
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("side", [*range(1, 70), 500, 512, 513, 1000, 1024, 1080, 2048, 2500, 8191])
def test_padding_is_little_and_by_the_largest_stride(side):
    padded = padded_side(side)
    assert padded % 32 == 0
    assert side <= padded < max(side + 32, side * 1.125)


def test_few_sizes_are_compiled():
    """All sides from 513 to 1024 share 8 paddings, so that a folder of photographs compiles few programs."""
    assert len({padded_side(side) for side in range(513, 1025)}) == 8
    before = views.apply._cache_size()
    for height in range(33, 64):
        NEAR.predict(image(height, 128 - height))
    assert views.apply._cache_size() - before <= 1


def test_windows_compile_once_for_all_sizes():
    p = changed(NEAR, window=(24, 40))
    before = views.apply._cache_size()
    for size in ((24, 41), (100, 30), (31, 77), (50, 50)):
        p.predict(image(*size))
    assert views.apply._cache_size() - before <= 1


def test_large_images_are_seen_in_windows_by_themselves(monkeypatch):
    monkeypatch.setattr(views, "LARGEST_WHOLE", 90 * 90)
    monkeypatch.setattr(views, "OWN_WINDOW", (64, 64))
    picture = image(90, 91)
    [(columns, blocks)] = changed(NEAR, blending="tile").stripes(picture[None])
    assert columns == range(91)
    assert [block.shape[1:3] for block in blocks] == [(96, 91)]
    assert views.View(NEAR.config, NEAR.variables).is_whole(picture[None, :, :90])
    assert not views.View(NEAR.config, NEAR.variables).is_whole(picture[None])
    valid = UNet(num_classes=2, width=2, depth=1, padding="valid")
    p = predictor(valid)
    monkeypatch.setattr(views, "LARGEST_WHOLE", 96 * 96)
    in_tiles = p.logits(image(120, 130)[None])
    monkeypatch.setattr(views, "LARGEST_WHOLE", 1000 * 1000)
    np.testing.assert_allclose(in_tiles, p.logits(image(120, 130)[None]), atol=1e-4)


def test_memory_does_not_grow_with_the_height():
    """Logits of 64 classes of the higher image would take 64 MB; what is held beside its labels does not grow."""
    p = predictor(Near(64), window=(64, 64))
    peaks = []
    for height in (1024, 4096):
        picture = image(height, 64)
        p.predict(picture)
        tracemalloc.start()
        p.predict(picture)
        peaks.append(tracemalloc.get_traced_memory()[1] - height * 64)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 30e6


def test_bad_settings_are_named():
    with pytest.raises(InputError, match=r"scales=\(1.0, 0.0\) must be at least one factor above 0, such as"):
        changed(NEAR, scales=(1.0, 0.0))
    with pytest.raises(InputError, match=r"scales=\(\) must be at least one"):
        changed(NEAR, scales=())
    for scales in ((float("nan"),), (float("inf"), 1.0)):
        with pytest.raises(InputError, match="must be at least one factor above 0"):
            changed(NEAR, scales=scales)
    for typed in ({"window": (64,)}, {"blending": "foo"}):  # by the type checker of the tests even before
        with pytest.raises((InputError, TypeError)):
            changed(NEAR, **typed)
    with pytest.raises(InputError, match=r"window=\(65, 65\) does not fit this network"):
        changed(predictor(VALID), window=(65, 65)).config.check()
    with pytest.raises(InputError, match=r"overlap=1.0 must lie in \[0, 1\)"):
        changed(NEAR, overlap=1.0)
    with pytest.raises(InputError, match=r"blending"):
        configs.override(NEAR.config, ["blending=average"])
    assert configs.override(NEAR.config, ["scales=(0.5,1)", "flip=True", "blending=tile"]).scales == (0.5, 1)


def test_blocks_cover_the_image():
    picture = image(600, 40)
    p = changed(NEAR, window=(64, 64))
    [(columns, blocks)] = p.stripes(picture[None])
    blocks = list(blocks)
    assert [block.shape[1] for block in blocks] == [256] * 3
    np.testing.assert_array_equal(gather([(columns, iter(blocks))], (1, 600, 40)), p.logits(picture[None]))


VALID = UNet(num_classes=2, width=2, depth=1, padding="valid")


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (NEAR.config.model, {"window": (64, 64)}),
        (NEAR.config.model, {"window": (64, 48), "scales": (0.6, 1.0, 1.3), "flip": True, "blending": "mean"}),
        (NEAR.config.model, {"window": (64, 64), "image_size": (80, 150), "blending": "tile"}),
        (VALID, {"window": (64, 64), "flip": True}),
    ],
)
def test_stripes_of_wide_images_are_the_image(model, fields, monkeypatch):
    p, picture = predictor(model, **fields), image(70, 200)
    at_once = p.logits(picture[None])
    monkeypatch.setattr(views, "STRIPE_COLUMNS", 60)
    assert [columns for columns, _ in p.stripes(picture[None])] == [range(i, i + 50) for i in range(0, 200, 50)]
    np.testing.assert_allclose(p.logits(picture[None]), at_once, atol=1e-5)
    np.testing.assert_array_equal(p.predict(picture), at_once[0].argmax(-1))


def test_stripes_of_scales_that_are_seen_whole_and_of_such_that_are_not(monkeypatch):
    p, picture = changed(NEAR, scales=(0.5, 1.0), blending="tile", overlap=0.2), image(90, 130)
    whole = p.logits(picture[None])
    monkeypatch.setattr(views, "LARGEST_WHOLE", 64 * 70)
    monkeypatch.setattr(views, "OWN_WINDOW", (64, 64))
    monkeypatch.setattr(views, "STRIPE_COLUMNS", 70)
    np.testing.assert_allclose(p.logits(picture[None]), whole, atol=1e-4)
