"""What holds for every transform: image, label and further planes move together, whatever the dtype and the channels."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxseg.data import augment
from jaxseg.data.augment import (
    BorderWeights,
    ColorJitter,
    ElasticDeformation,
    GaussianBlur,
    GaussianNoise,
    MirrorMargin,
    RandomCrop,
    RandomFlip,
    RandomRotate90,
    RandomRotation,
    RandomScale,
    Resize,
)
from jaxseg.errors import InputError
from jaxseg.types import VOID

GEOMETRIC = (
    Resize((37, 53)),
    Resize((120, 40)),
    RandomScale(0.4, 2.5),
    RandomScale(0.5, 2.0, step=0.25),
    RandomCrop((48, 48)),
    RandomCrop((110, 24), max_class_share=0.5),
    RandomFlip(0.5, 0.5),
    RandomRotate90(),
    RandomRotation(45.0, 1.0, fill=0.0),
    RandomRotation(180.0, 1.0, border="mirror"),
    ElasticDeformation(sigma=3.0),
    ElasticDeformation(grid=4, sigma=2.0, border="void", fill=0.0),
    MirrorMargin(7),
)
PHOTOMETRIC = (ColorJitter(0.4, 0.4, 0.4, 0.1), GaussianBlur(probability=1.0), GaussianNoise(probability=1.0))
WEIGHTS = (BorderWeights(),)
EVERY = GEOMETRIC + PHOTOMETRIC + WEIGHTS
IDENTITY = (
    Resize((64, 80)),
    RandomScale(1.0, 1.0),
    MirrorMargin(0),
    BorderWeights(),
    RandomCrop((64, 80)),
    RandomFlip(0.0, 0.0),
    RandomRotation(0.0, 1.0),
    RandomRotation(30.0, 0.0),
    ElasticDeformation(sigma=0.0),
    ElasticDeformation(probability=0.0),
    ColorJitter(),
    GaussianBlur(probability=0.0),
    GaussianNoise(sigma=(0.0, 0.0), probability=1.0),
    GaussianNoise(probability=0.0),
)


def make_example(seed=0, height=64, width=80, channels=3, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, channels), dtype=np.float32)
    if dtype != np.float32:
        image = (image * np.iinfo(dtype).max).astype(dtype)
    label = rng.choice(np.array([0, 1, 2, 3, VOID], np.uint8), (-(-height // 16), -(-width // 16)))
    label = label.repeat(16, axis=0).repeat(16, axis=1)[:height, :width].copy()
    return {"image": image, "label": label, "name": "drawn"}


def names(transform):
    return repr(transform).split(", value_range")[0]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=names)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(40, 100), width=st.integers(40, 100))
def test_image_label_and_planes_follow_the_same_mapping(transform, seed, height, width):
    # Every pixel carries its own coordinates in the image (interpolated) and in the planes (nearest): they agree to half a pixel.
    # The third channel tells where the fill value was mixed in.
    rows, columns = np.indices((height, width))
    example = {
        "image": np.stack([rows, columns, np.ones_like(rows)], axis=-1).astype(np.float32),
        "label": columns.astype(np.uint8),
        "name": "coordinates",
        "rows": rows.astype(np.float32),
        "inside": np.ones((height, width), np.float32),
    }
    result = transform(example, np.random.default_rng(seed))
    sure = (result["label"] != VOID) & (result["image"][..., 2] > 0.999)
    assert np.array_equal(result["inside"] == 0, result["label"] == VOID)
    assert sure.mean() > 0.1
    across = result["label"][sure].astype(np.float32) - result["image"][sure, 1]
    down = result["rows"][sure] - result["image"][sure, 0]
    assert np.abs(across).max() <= 0.55
    assert np.abs(down).max() <= 0.55


@pytest.mark.parametrize("transform", GEOMETRIC, ids=names)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3, 5]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_colour_agrees_with_class_away_from_boundaries(transform, seed, channels, dtype):
    example = make_example(seed, channels=channels, dtype=dtype)
    colors = make_example(seed + 1, height=256, width=1, channels=channels, dtype=dtype)["image"][:, 0]
    example["image"] = colors[example["label"]]
    result = transform(example, np.random.default_rng(seed))
    windows = np.lib.stride_tricks.sliding_window_view(result["label"], (5, 5))
    label = result["label"][2:-2, 2:-2]
    sure = (windows == label[..., None, None]).all(axis=(2, 3)) & (label != VOID)
    scale = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    error = np.abs(result["image"][2:-2, 2:-2][sure].astype(np.float64) - colors[label[sure]]) / scale
    assert sure.any()
    assert error.max() <= 1.01 / 255
    assert set(np.unique(result["label"])) <= {*np.unique(example["label"]), VOID}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_contract(transform, channels, dtype):
    example = make_example(channels=channels, dtype=dtype)
    before = {"image": example["image"].copy(), "label": example["label"].copy()}
    first = transform(example, np.random.default_rng(5))
    second = transform(example, np.random.default_rng(5))
    assert np.array_equal(example["image"], before["image"])
    assert np.array_equal(example["label"], before["label"])
    assert np.array_equal(first["image"], second["image"])
    assert np.array_equal(first["label"], second["label"])
    assert first["image"].dtype == dtype
    assert first["image"].shape == (*first["label"].shape, channels)
    assert first["label"].dtype == np.uint8
    assert first["name"] == "drawn"


@pytest.mark.parametrize("transform", GEOMETRIC, ids=names)
def test_every_channel_moves_as_it_would_alone(transform):
    example = make_example(channels=7)
    together = transform(example, np.random.default_rng(2))
    for channel in range(7):
        alone = transform({**example, "image": example["image"][..., channel : channel + 1]}, np.random.default_rng(2))
        np.testing.assert_allclose(together["image"][..., channel], alone["image"][..., 0], atol=1)


@pytest.mark.parametrize("transform", IDENTITY, ids=names)
def test_identity_settings(transform):
    example = make_example()
    result = transform(example, np.random.default_rng(0))
    assert np.array_equal(result["image"], example["image"])
    assert np.array_equal(result["label"], example["label"])


@pytest.mark.parametrize("transform", PHOTOMETRIC, ids=names)
def test_photometric_transforms_leave_all_but_the_image(transform):
    example = {**make_example(), "pixel_weights": np.ones((64, 80), np.float32)}
    result = transform(example, np.random.default_rng(0))
    assert not np.array_equal(result["image"], example["image"])
    assert result["label"] is example["label"]
    assert result["pixel_weights"] is example["pixel_weights"]


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_results_vary_with_the_generator(transform):
    results = {transform(make_example(), np.random.default_rng(seed))["image"].tobytes() for seed in range(12)}
    certain = isinstance(transform, Resize | MirrorMargin | BorderWeights)
    assert len(results) == 1 if certain else len(results) > 1


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_transforms_are_values(transform):
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform
    assert hash(again) == hash(transform)


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_one_pixel_is_enough(transform):
    result = transform(make_example(height=1, width=1), np.random.default_rng(0))
    assert result["image"].shape[:2] == result["label"].shape


@pytest.mark.parametrize(
    "transform", [t for t in EVERY if not isinstance(t, RandomFlip | RandomRotate90 | BorderWeights)], ids=names
)
def test_unknown_dtypes_are_refused(transform):
    example = {**make_example(), "image": np.zeros((64, 80, 3))}
    with pytest.raises(InputError, match=r"dtype float64: it must be uint8, uint16 or float32.*astype\(np.float32\)"):
        transform(example, np.random.default_rng(0))


def test_every_transform_is_tested():
    exported = {name for name in augment.__all__ if name[0].isupper()}
    assert exported == {type(transform).__name__ for transform in EVERY}
