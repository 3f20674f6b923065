"""Augmentation on the device: what moves together, what ranges hold, and that nothing depends on how a batch is shared."""

import dataclasses
import functools
from collections.abc import Sequence

import chex
import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from commands_data import make_folder
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image

from jaxseg.compilation import compile_training
from jaxseg.config import Config
from jaxseg.data import augment as host
from jaxseg.data.folder import Folder
from jaxseg.data.loading import train_batches
from jaxseg.device_augment import ColorJitter, RandomCrop, RandomFlip, RandomScaleCrop, augment, on_host, output_size
from jaxseg.device_augment.colour import turn_hue
from jaxseg.errors import InputError
from jaxseg.parallel import Parallel
from jaxseg.schedules import constant
from jaxseg.train import show_data
from jaxseg.types import VOID

KEY = jax.random.key(3)
ALL = (RandomScaleCrop((10, 12)), RandomFlip(), ColorJitter(0.4, 0.4), RandomCrop((8, 16)))


def numbered(count=8, height=12, width=14):
    """A batch whose label is a pixel's place (below 255), and whose image and weights say the same."""
    place = np.tile(np.arange(height * width, dtype=np.uint8).reshape(height, width), (count, 1, 1))
    image = np.stack([place, place, place], axis=-1).astype(np.float32) / 255
    return {"image": image, "label": place, "pixel_weights": place.astype(np.float32)}


def noisy(dtype=np.uint8, count=8, height=12, width=14, channels=3):
    rng = np.random.default_rng(0)
    image = rng.random((count, height, width, channels))
    image = image.astype(dtype) if dtype == np.float32 else (image * np.iinfo(dtype).max).astype(dtype)
    return {"image": image, "label": rng.integers(0, 5, (count, height, width)).astype(np.uint8)}


def run(batch, *transforms, key=KEY):
    return jax.device_get(compiled(transforms)(batch, key=key))


@functools.cache
def compiled(transforms):
    return jax.jit(functools.partial(augment, transforms=transforms))


def same_place(batch):
    """Say that image, label and weights of every pixel inside the images are of one place."""
    inside = batch["label"] != VOID
    np.testing.assert_array_equal(np.rint(255 * batch["image"][..., 0])[inside], batch["label"][inside])
    np.testing.assert_array_equal(batch["pixel_weights"][inside], batch["label"][inside])
    np.testing.assert_array_equal(batch["pixel_weights"][~inside], 0)
    return inside


def test_flips_move_everything_and_each_axis_by_its_own_probability():
    before = numbered(64)
    after = run(before, RandomFlip(0.5, 0.5))
    assert same_place(after).all()
    corners = {int(label[0, 0]) for label in after["label"]}
    assert corners == {0, 13, 11 * 14, 11 * 14 + 13}
    np.testing.assert_array_equal(run(before, RandomFlip(1.0, 0.0))["label"], before["label"][:, :, ::-1])
    np.testing.assert_array_equal(run(before, RandomFlip(0.0, 1.0))["label"], before["label"][:, ::-1])
    np.testing.assert_array_equal(run(before, RandomFlip(0.0, 0.0))["image"], before["image"])


def test_crops_are_windows_of_the_image_anywhere_in_it():
    after = run(numbered(256), RandomCrop((4, 5)))
    assert after["image"].shape == (256, 4, 5, 3)
    assert same_place(after).all()
    starts = after["label"][:, 0, 0].astype(int)
    assert set(starts // 14) == set(range(9))
    assert set(starts % 14) == set(range(10))
    steps = np.arange(4)[:, None] * 14 + np.arange(5)
    np.testing.assert_array_equal(after["label"], starts[:, None, None] + steps)


def test_images_smaller_than_the_crop_are_placed_at_random_in_void():
    before = numbered(64)
    after = run(before, RandomCrop((20, 6)))
    inside = same_place(after)
    assert set(inside.sum(axis=1)[:, 0]) == {12}
    assert set(np.argmax(inside[:, :, 0], axis=1)) == set(range(9))
    mean = before["image"][0].mean(axis=(0, 1))
    np.testing.assert_allclose(after["image"][~inside], np.broadcast_to(mean, after["image"][~inside].shape), rtol=1e-5)


def test_fill_is_one_value_or_one_per_channel():
    after = run(noisy(), RandomCrop((20, 14), fill=(1, 2, 3)))
    void = after["label"] == VOID
    assert void.any()
    np.testing.assert_array_equal(after["image"][void], np.broadcast_to([1, 2, 3], (void.sum(), 3)))
    assert (run(noisy(), RandomCrop((20, 14), fill=7))["image"][void] == 7).all()


def test_scale_of_one_is_a_crop_of_whole_pixels():
    assert same_place(run(numbered(), RandomScaleCrop((8, 9), 1.0, 1.0))).all()


@pytest.mark.parametrize("factors", [(0.4, 0.9), (1.2, 3.0)])
def test_scaled_image_and_label_keep_their_places(factors):
    """Both show the place that they were read at: the label the nearest pixel, the image (a ramp) the exact one."""
    height, width = 40, 50
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([rows, columns, rows], -1).astype(np.float32)[None].repeat(32, 0)
    for axis, plane in enumerate((rows, columns)):
        batch = {"image": ramp, "label": plane.astype(np.uint8)[None].repeat(32, 0)}
        after = run(batch, RandomScaleCrop((24, 30), *factors))
        label, image = after["label"], after["image"][..., axis]
        # Beyond half a (widened) pixel from the border a ramp is reproduced exactly.
        length = (height, width)[axis]
        inner = (label != VOID) & (label > 3) & (label < length - 4)
        assert inner.mean() > 0.1
        assert np.abs(image - label)[inner].max() <= 0.5 + 1e-3
        inner = np.delete(inner, 0, axis + 1) & np.delete(inner, -1, axis + 1)
        scales = 1 / np.diff(image, axis=axis + 1)[inner]
        assert factors[0] - 1e-2 <= scales.min() < scales.max() <= factors[1] + 1e-2
    assert ((label == VOID).any()) == (factors[0] < 0.75)


def test_shrinking_averages_instead_of_skipping():
    """Stripes one pixel wide become grey, as on the host."""
    stripes = np.tile(np.arange(64) % 2 * 255, (64, 1)).astype(np.uint8)[None, ..., None].repeat(3, -1)
    batch = {"image": stripes, "label": np.zeros((1, 64, 64), np.uint8)}
    after = run(batch, RandomScaleCrop((14, 14), 0.25, 0.25))
    assert np.abs(after["image"].astype(int) - 127).max() <= 12


def jittered(before, **strengths):
    after = run({"image": before, "label": np.zeros(before.shape[:3], np.uint8)}, ColorJitter(**strengths))
    assert after["image"].dtype == before.dtype
    return after["image"]


def factors_of(before, after, centre):
    """The factor of each image in ``factor * before + (1 - factor) * centre``, after a check that it is one."""
    away = before - centre
    factors = np.array([(a * d).sum() / (d * d).sum() for a, d in zip(after - centre, away)])
    np.testing.assert_allclose(after - centre, factors[:, None, None, None] * away, atol=1e-5)
    return factors


LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_colour_change_is_the_hosts_with_a_factor_for_every_image(name):
    before = 0.4 + 0.2 * noisy(np.float32, 64)["image"]  # nothing is clipped
    luma = before @ LUMA[:, None]
    centre = {"brightness": 0, "contrast": luma.mean(axis=(1, 2), keepdims=True), "saturation": luma}[name]
    factors = factors_of(before, jittered(before, **{name: 0.4}), centre)
    assert 0.6 <= factors.min() < 0.7
    assert 1.3 < factors.max() <= 1.4
    assert len(set(factors.round(4))) > 60


def test_hue_is_turned_as_opencv_does():
    image = noisy(np.float32)["image"]
    turns = np.linspace(-0.5, 0.5, len(image)).astype(np.float32)
    turned = np.asarray(turn_hue(jnp.asarray(image), jnp.asarray(turns)))
    for before, after, turn in zip(image, turned, turns):
        hsv = cv2.cvtColor(before, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
        np.testing.assert_allclose(after, cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), atol=1e-4)


def test_grey_pixels_have_no_hue_and_no_gradient_of_zero_division():
    grey = jnp.full((2, 3, 3, 3), 0.5)
    np.testing.assert_allclose(turn_hue(grey, jnp.asarray([0.2, -0.3])), grey)


def test_hue_stays_in_its_range():
    red = np.broadcast_to(np.float32([1, 0, 0]), (64, 2, 2, 3)).copy()
    after = jittered(red, hue=0.1)
    assert (after[..., 0] == 1).all()
    turns = after[:, 0, 0, 1] - after[:, 0, 0, 2]  # red turns by x to green 6 x, or to blue
    assert 0.5 < np.abs(turns).max() <= 0.6 + 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_full_jitter_keeps_type_and_range_and_is_near_the_hosts_in_distribution(dtype):
    before = noisy(dtype, 64)["image"]
    after = jittered(before, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1).astype(np.float64)
    transform = host.ColorJitter(0.3, 0.3, 0.3, 0.1)
    rng = np.random.default_rng(0)
    empty = np.zeros(before.shape[1:3], np.uint8)
    theirs = np.stack([transform({"image": x, "label": empty, "name": "x"}, rng)["image"] for x in before]).astype(np.float64)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    assert after.min() >= 0
    assert after.max() <= top
    for ours, other in ((after.mean(), theirs.mean()), (after.std(), theirs.std())):
        assert abs(ours - other) < 0.04 * top


def test_value_range_is_respected():
    before = (noisy(np.uint16)["image"] // 16).astype(np.uint16)
    assert jittered(before, brightness=1.0, value_range=(0, 4095)).max() <= 4095


def test_other_numbers_of_channels_have_no_saturation_and_hue():
    before = 0.4 + 0.2 * noisy(np.float32, channels=5)["image"]
    np.testing.assert_array_equal(jittered(before, saturation=0.5, hue=0.2), before)
    mean = before.mean(axis=(1, 2), keepdims=True)
    factors_of(before, jittered(before, contrast=0.4), mean)


def test_nothing_to_jitter_leaves_the_bits():
    before = noisy()["image"]
    np.testing.assert_array_equal(jittered(before), before)


def test_everything_together_is_drawn_anew_for_every_key_and_transform():
    before = noisy()
    one, again, other = run(before, *ALL), run(before, *ALL), run(before, *ALL, key=jax.random.key(4))
    assert set(one) == {"image", "label"}
    assert one["image"].shape == (8, 8, 16, 3)
    np.testing.assert_array_equal(one["image"], again["image"])
    assert (one["image"] != other["image"]).any()
    twice = run(numbered(64), RandomFlip(1.0), RandomFlip(0.5))
    same = run(numbered(64), RandomFlip(0.5), RandomFlip(0.5))
    assert 0 < (twice["label"] == same["label"]).all(axis=(1, 2)).sum() < 64


def test_how_many_devices_share_the_batch_changes_no_bit():
    before, results = noisy(), []
    for count in (1, 8):
        mesh = Mesh(np.asarray(jax.devices()[:count]), ("data",))
        placed = jax.device_put(before, NamedSharding(mesh, PartitionSpec("data")))
        results.append(run(placed, *ALL))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_the_row_of_an_image_decides_not_its_place_in_the_array():
    """Two processes hold rows 0, 2, 4 ... and 1, 3, 5 ...; under pmap each device sees one part alone."""
    before = noisy()
    whole = run(before, *ALL)
    order = np.concatenate([np.arange(0, 8, 2), np.arange(1, 8, 2)])
    shuffled = {**{name: value[order] for name, value in before.items()}, "row": order.astype(np.int32)}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[order], b), whole, run(shuffled, *ALL))
    parts = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), shuffled)
    apart = jax.pmap(lambda part: augment(part, ALL, KEY), devices=jax.devices()[:4])(parts)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[order], b.reshape(8, *b.shape[2:])), whole, jax.device_get(apart))


def test_output_size_computes_nothing():
    assert output_size(ALL, (100_000, 100_000), 3) == (8, 16)
    assert output_size((), (5, 7), 1) == (5, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip(1.5), "horizontal=1.5 is not a probability"),
        (lambda: RandomCrop((0, 5)), r"size=\(0, 5\) must be a tuple \(height, width\)"),
        (lambda: RandomScaleCrop((4, 4), 2.0, 1.0), "minimum=2.0, maximum=1.0: factors must hold"),
        (lambda: ColorJitter(hue=0.7), "hue=0.7 must be from 0 to 0.5"),
        (lambda: ColorJitter(value_range=(1, 0)), r"value_range=\(1, 0\) must be two numbers"),
        (lambda: run(noisy(), RandomCrop((20, 20), fill=(1, 2))), r"fill=\(1, 2\) has 2 values, but the images have 3 channels"),
        (lambda: run(noisy(), RandomCrop((20, 20), fill=300)), "fill=300 does not fit uint8 images, which go from 0 to 255"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(InputError, match=message):
        make()


class Linear(nn.Module):
    """A classifier of pixels."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.num_classes, name="classify")(image)


@dataclasses.dataclass(frozen=True)
class Note:
    """Keeps the shape of what is traced."""

    shapes: list = dataclasses.field(default_factory=list)

    def __call__(self, batch, key):
        self.shapes.append((batch["image"].shape, batch["row"].shape))
        return batch


def tiny(**changes):
    """Training of a tiny network whose images are scaled without void, of which replicas may have more or less."""
    config = Config(
        model=Linear(),
        data=Folder(root="unused", num_classes=3),
        crop_size=(8, 8),
        load_size=(12, 14),
        device_augment=(RandomScaleCrop((8, 8), 1.0, 2.0), RandomFlip(), ColorJitter(0.4)),
        optimizer=optax.sgd,
        schedule=functools.partial(constant, learning_rate=0.1),
        steps=10,
        batch_size=8,
    )
    config = dataclasses.replace(config, **changes)
    config.check()
    return config


def trained(training, state, steps, start=0):
    """Return the state after some steps, as checkpoints have it, on the host."""
    state = training.spread(state)
    batches = train_batches(Examples(), batch_size=8, crop_size=(12, 14), seed=0, start=start)
    for _, batch in zip(range(steps), batches):
        batch.pop("name")
        state, _ = training.update(state, batch)
    return jax.device_get(training.canonical(state))


class Examples(Sequence):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        label = rng.integers(0, 3, (12, 14)).astype(np.uint8)
        return {"image": rng.integers(0, 256, (12, 14, 3)).astype(np.uint8), "label": label, "name": f"n{i}"}


def test_training_augments_alike_under_jit_and_pmap_and_goes_on_in_the_same_bits():
    note = Note()
    transforms = (*tiny().device_augment, note)
    training, state, _ = compile_training(tiny(device_augment=transforms), jax.devices()[:1])
    first = jax.device_get(state)
    whole = trained(training, jax.tree.map(jnp.array, first), 3)
    begun = trained(training, jax.tree.map(jnp.array, first), 2)
    jax.tree.map(np.testing.assert_array_equal, whole, trained(training, jax.tree.map(jnp.array, begun), 1, start=2))
    mapped, state, _ = compile_training(tiny(device_augment=transforms, parallel=Parallel(pmap=True)), jax.devices()[:4])
    chex.assert_trees_all_close(whole.params, trained(mapped, state, 3).params, atol=2e-6)
    assert ((8, 8, 8, 3), (8,)) in note.shapes
    assert ((2, 8, 8, 3), (2,)) in note.shapes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device_augment": ()}, r"load_size=\(12, 14\) and device_augment make images of \(12, 14\), but crop_size=\(8, 8\)"),
        ({"crop_size": (8, 9)}, r"make images of \(8, 8\), but crop_size=\(8, 9\)\. .*RandomCrop\(\(8, 9\)\)"),
        ({"load_size": (0, 3)}, r"load_size=\(0, 3\) must be a height and a width of at least 1"),
        ({"cache_mb": -1}, "cache_mb=-1 must be at least 0"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_pictures_of_it_are_named_after_it():
    example = Examples()[0]
    transform = on_host(RandomCrop((4, 6)))
    made = transform(example, np.random.default_rng(0))
    assert transform.__name__ == "RandomCrop"
    assert made["image"].shape == (4, 6, 3)
    assert made["label"].dtype == np.uint8
    assert made["name"] == "n0"


def test_show_data_has_a_line_for_each_transform_of_the_device(tmp_path):
    data = Folder(root=str(make_folder(tmp_path)), num_classes=2)
    heights = []
    for transforms in ((RandomCrop((8, 8)),), (RandomCrop((8, 8)), RandomFlip(), ColorJitter(0.4))):
        path = show_data(tiny(model=Linear(2), data=data, device_augment=transforms), tmp_path)
        with Image.open(path) as picture:
            heights.append(picture.height)
    assert heights[1] > 1.5 * heights[0]
