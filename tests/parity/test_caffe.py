"""Caffe's networks: their authors' definitions written out in PyTorch's functions, with random blobs in an ``.npz``.

Caffe does not run here; what is compared is the definition, layer by layer, on its own layouts and names.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from references import apply, close, image, torch

from jaxseg import weights
from jaxseg.models import DeconvNet, DeepLabV1, DeepLabV2, FCN8s, FCN16s, FCN32s, SegNet, UNet
from jaxseg.models.backbones import VGG16
from jaxseg.ops.normalise import CAFFE

F = torch.nn.functional

WIDTHS = (3, 4, 5, 6, 6)
COUNTS = (2, 2, 3, 3, 3)
MEAN_BGR = (104.00699, 116.66877, 122.67892)


class Blobs:
    """Makes random blobs as layers ask for them, keeps them, and computes the layers."""

    def __init__(self, seed=0, norm_blobs=2):
        self.arrays, self.random, self.norm_blobs = {}, np.random.default_rng(seed), norm_blobs

    def _blob(self, name, shape, deviation):
        if name not in self.arrays:
            self.arrays[name] = (deviation * self.random.normal(size=shape)).astype(np.float32)
        return torch.tensor(self.arrays[name])

    def conv(self, name, x, features, side=3, padding=1):
        kernel = self._blob(f"{name}/0", (features, x.shape[1], side, side), (1.5 / x.shape[1] / side**2) ** 0.5)
        return F.conv2d(x, kernel, self._blob(f"{name}/1", (features,), 0.2), padding=padding)

    def deconv(self, name, x, features, side, stride=1, padding=0, bias=True):
        kernel = self._blob(f"{name}/0", (x.shape[1], features, side, side), (1.5 / x.shape[1] / side**2) ** 0.5 * stride)
        return F.conv_transpose2d(
            x, kernel, self._blob(f"{name}/1", (features,), 0.2) if bias else None, stride=stride, padding=padding
        )

    def norm(self, name, x):
        shape, some = (x.shape[1],), (1, -1, 1, 1)
        scale, shift = self._blob(f"{name}/0", shape, 1.0).reshape(some), self._blob(f"{name}/1", shape, 0.2).reshape(some)
        if self.norm_blobs == 4:
            self.arrays.setdefault(f"{name}/3", self.random.uniform(0.5, 1.5, shape).astype(np.float32))
            mean, variance = self._blob(f"{name}/2", shape, 0.2), torch.tensor(self.arrays[f"{name}/3"])
            x = (x - mean.reshape(some)) / torch.sqrt(variance.reshape(some) + 1e-5)
        return scale * x + shift


def bgr(image):
    """What their programs make of an RGB image in 8-bit units: channels reversed, mean off."""
    x = image[..., ::-1] - np.asarray(MEAN_BGR)
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, 3, 1)), dtype=torch.float32)


def picture(*size):
    return np.random.default_rng(3).integers(0, 256, (1, *size, 3)).astype(np.uint8)


def load(model, blobs, tmp_path):
    np.savez(tmp_path / "caffe.npz", **blobs.arrays)
    loaded = weights.load(model, tmp_path / "caffe.npz")
    assert loaded.match.missing == loaded.match.other_shape == loaded.match.unused == ()
    return loaded


def encoder(blobs, x, norm=None, first_padding=1):
    """VGG16's convolutions; gives every pooled map, and where its maxima were in a map of which size."""
    found = []
    for stage, (width, count) in enumerate(zip(WIDTHS, COUNTS), start=1):
        for n in range(1, count + 1):
            x = blobs.conv(f"conv{stage}_{n}", x, width, padding=first_padding if (stage, n) == (1, 1) else 1)
            x = torch.relu(x if norm is None else blobs.norm(norm.format(f"{stage}_{n}"), x))
        size = x.shape[2:]
        x, places = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        found.append((x, places, size))
    return found


@pytest.mark.parametrize(("kind", "strides"), [(FCN32s, 32), (FCN16s, 16), (FCN8s, 8)])
def test_fcn(kind, strides, tmp_path):
    """100 zeros around the image, and the authors' crops."""
    image, blobs, classes = picture(75, 66), Blobs(), 4
    maps = encoder(blobs, bgr(image), first_padding=100)
    x = torch.relu(blobs.conv("fc6", maps[4][0], 7, side=7, padding=0))
    x = blobs.conv("score_fr", torch.relu(blobs.conv("fc7", x, 7, side=1, padding=0)), classes, side=1, padding=0)
    for stage, name, offset in ((3, "upscore2", 5), (2, "upscore_pool4", 9))[: {32: 0, 16: 1, 8: 2}[strides]]:
        x = blobs.deconv(name, x, classes, 4, stride=2, bias=False)
        score = blobs.conv(f"score_pool{stage + 1}", maps[stage][0], classes, side=1, padding=0)
        x = x + score[:, :, offset : offset + x.shape[2], offset : offset + x.shape[3]]
    final, offset = {32: ("upscore", 19), 16: ("upscore16", 27), 8: ("upscore8", 31)}[strides]
    x = blobs.deconv(final, x, classes, 2 * strides, stride=strides, bias=False)
    want = x[:, :, offset : offset + 75, offset : offset + 66]
    model = kind(classes, VGG16(widths=WIDTHS, first_padding=100), fc_features=7, padding="pad 100")
    loaded = load(model, blobs, tmp_path)
    assert loaded.title == "VGG16, FCN or DeepLab of Caffe"
    assert loaded.normalise == CAFFE
    assert loaded.preprocessing.channel_order == "BGR"
    close(apply(model, loaded.variables, np.asarray(loaded.normalise(jnp.asarray(image)))), want.movedim(1, 3).numpy())


@pytest.mark.parametrize("norm_blobs", [2, 4])
def test_segnet(norm_blobs, tmp_path):
    image, blobs = picture(67, 50), Blobs(norm_blobs=norm_blobs)
    x = torch.tensor(np.ascontiguousarray(np.moveaxis(image[..., ::-1], 3, 1)), dtype=torch.float32)
    maps = encoder(blobs, x, "conv{}_bn")
    x = maps[4][0]
    for stage in (5, 4, 3, 2, 1):
        _, places, size = maps[stage - 1]
        x = F.max_unpool2d(x, places, 2, output_size=size)
        for n in range(COUNTS[stage - 1], 0, -1):
            width = WIDTHS[stage - 1] if n > 1 else WIDTHS[stage - 2]
            if (stage, n) == (1, 1):
                continue
            x = torch.relu(blobs.norm(f"conv{stage}_{n}_D_bn", blobs.conv(f"conv{stage}_{n}_D", x, width)))
    want = blobs.conv("conv1_1_D", x, 4)
    model = SegNet(4, VGG16(batch_norm=True, widths=WIDTHS))
    loaded = load(model, blobs, tmp_path)
    assert loaded.title == "SegNet of Caffe"
    close(apply(model, loaded.variables, np.asarray(loaded.normalise(jnp.asarray(image)))), want.movedim(1, 3).numpy())


def test_deconvnet(tmp_path):
    image, blobs = picture(224, 224), Blobs()
    maps = encoder(blobs, bgr(image), "bn{}")
    x = torch.relu(blobs.norm("bnfc6", blobs.conv("fc6", maps[4][0], 7, side=7, padding=0)))
    x = torch.relu(blobs.norm("bnfc7", blobs.conv("fc7", x, 7, side=1, padding=0)))
    x = torch.relu(blobs.norm("fc6-deconv-bn", blobs.deconv("fc6-deconv", x, WIDTHS[4], 7)))
    for stage in (5, 4, 3, 2, 1):
        _, places, size = maps[stage - 1]
        x = F.max_unpool2d(x, places, 2, output_size=size)
        for n in range(1, COUNTS[stage - 1] + 1):
            width = WIDTHS[stage - 1] if n < COUNTS[stage - 1] else WIDTHS[max(stage - 2, 0)]
            name = f"{stage}_{n}"
            x = torch.relu(blobs.norm(f"debn{name}", blobs.deconv(f"deconv{name}", x, width, 3, padding=1)))
    want = blobs.conv("seg-score-voc", x, 4, side=1, padding=0)
    model = DeconvNet(4, VGG16(batch_norm=True, widths=WIDTHS), width=7)
    loaded = load(model, blobs, tmp_path)
    assert loaded.title == "DeconvNet of Caffe"
    close(apply(model, loaded.variables, np.asarray(loaded.normalise(jnp.asarray(image)))), want.movedim(1, 3).numpy())


@pytest.mark.parametrize("new", ["", "new"])
def test_unet(new, tmp_path):
    """One grey channel, valid convolutions, ReLU behind up-convolutions, the enlarged map first."""
    blobs, depth, width, grey = Blobs(), 2, 4, image(60, 76, channels=1, batch=1)
    upper, lower = ("_NEW", "_New") if new else ("", "")
    x, skips = torch.tensor(np.moveaxis(grey, 3, 1)), []
    for level in range(depth + 1):
        for part in ("a-b", "b-c"):
            x = torch.relu(blobs.conv(f"conv_d{level}{part}", x, width * 2**level, padding=0))
        if level < depth:
            skips.append(x)
            x = F.max_pool2d(x, 2)
    for level, below in ((1, "d2c"), (0, "u1d")):
        upper_end, end = (upper, lower) if level == 0 else ("", "")
        x = torch.relu(blobs.deconv(f"upconv_{below}_u{level}a{upper_end}", x, width * 2**level, 2, stride=2))
        top, left = ((a - b) // 2 for a, b in zip(skips[level].shape[2:], x.shape[2:]))
        x = torch.cat([x, skips[level][:, :, top : top + x.shape[2], left : left + x.shape[3]]], dim=1)
        for part in ("b-c", "c-d"):
            x = torch.relu(blobs.conv(f"conv_u{level}{part}{end}", x, width * 2**level, padding=0))
    want = blobs.conv(f"conv_u0d-score{lower}", x, 3, side=1, padding=0)
    model = UNet(3, width, depth, padding="valid", up_relu=True)
    np.savez(tmp_path / "caffe.npz", **blobs.arrays)
    loaded = weights.load(model, tmp_path / "caffe.npz", num_channels=1)
    assert loaded.match.missing == loaded.match.other_shape == loaded.match.unused == ()
    assert loaded.normalise is None
    close(apply(model, loaded.variables, grey), want.movedim(1, 3).numpy())


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (DeepLabV1(4, VGG16(widths=WIDTHS, output_stride=8, pool_window=3), fc_features=7), ("fc6", "fc7", "fc8_voc12")),
        (
            DeepLabV2(4, VGG16(widths=WIDTHS, output_stride=8, pool_window=3), (6, 12), 7, scales=(1.0,)),
            ("fc6_1", "fc7_1", "fc8_voc12_1", "fc6_2", "fc7_2", "fc8_voc12_2"),
        ),
    ],
)
def test_deeplab_names(model, names, tmp_path):
    blobs = Blobs()
    x = encoder(blobs, bgr(picture(32, 32)))[4][0]
    for name in names:
        if name.startswith("fc6"):
            y = x
        y = blobs.conv(name, y, 4 if "fc8" in name else 7, side=3 if "fc6" in name else 1)
    loaded = load(model, blobs, tmp_path)
    kernel = loaded.variables["params"]["fc"]["fc6"] if "fc6" in names else loaded.variables["params"]["aspp"]["fc1"]["fc6"]
    np.testing.assert_array_equal(np.asarray(kernel["kernel"]).transpose(3, 2, 0, 1), blobs.arrays[f"{names[0]}/0"])
