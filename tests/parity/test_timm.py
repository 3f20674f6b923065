"""ViT, DeiT, Swin, ResNet and Xception-65 of timm: weights converted, values, features and one training step compared."""

import functools

import numpy as np
import pytest
from references import (
    apply,
    close,
    compare_step,
    converted,
    from_torch,
    image,
    image_loss,
    outputs,
    projection_loss,
    randomise,
    require,
    reverse,
    their_image_loss,
    their_projection_loss,
    to_torch,
    torch,
)

from jaxseg import weights
from jaxseg.models.backbones import ResNet, Swin, SwinClassifier, ViT, ViTClassifier, Xception65

timm = require("timm")


def small_vit(size=(64, 64), pooling="class", **options):
    sizes = {"patch_size": 16, "depth": 3, "num_heads": 4}
    network = timm.models.VisionTransformer(img_size=size, embed_dim=32, mlp_ratio=2.5, num_classes=7, **sizes, **options)
    backbone = ViT(width=32, hidden=80, image_size=size, class_token=True, **sizes)
    return randomise(network), ViTClassifier(7, backbone, pooling)


def all_tokens(backbone):
    fields = {name: getattr(backbone, name) for name in ("patch_size", "width", "depth", "num_heads", "hidden", "image_size")}
    return ViT(**fields, class_token=True, feature_depths=tuple(range(1, backbone.depth + 1)))


def test_vit(tmp_path):
    network, model = small_vit()
    x = image(64, 64)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "ViT of timm"
    tokens, out = outputs(network, [f"blocks.{n}" for n in range(3)], x)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(all_tokens(model.backbone), inside, x, method=ViT.tokens), tokens, strict=True):
        close(got, want)
    close(apply(model, loaded.variables, x), out)
    reverse(loaded.variables, model, "timm", network, tmp_path)


def test_vit_of_oblong_grid(tmp_path):
    network, model = small_vit((48, 80))
    x = image(48, 80)
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])
    reverse(loaded.variables, model, "timm", network, tmp_path)


def test_vit_that_pools_the_mean(tmp_path):
    """Of the normalised tokens; by default timm normalises their mean, and that norm is named as not taken."""
    network, model = small_vit(pooling="mean", global_pool="avg", fc_norm=False)
    x = image(64, 64)
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])
    torch.save(small_vit(pooling="mean", global_pool="avg")[0].state_dict(), tmp_path / "default.pth")
    loaded = weights.load(model, tmp_path / "default.pth")
    assert loaded.match.missing == ("params/norm/bias", "params/norm/scale")
    assert loaded.match.unused == ("fc_norm.weight", "fc_norm.bias")


@pytest.mark.parametrize("size", [(96, 80), (75, 130), (40, 33)])
def test_vit_at_another_size(size, tmp_path):
    """timm resizes the positions' table at run time, bicubically; we do so once, when the weights are loaded."""
    network, _ = small_vit(dynamic_img_size=True, dynamic_img_pad=True)
    _, model = small_vit(size)
    x = image(*size)
    loaded = converted(network, model, tmp_path)
    assert loaded.changed == ("params/backbone/position_embedding",)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_base_patch16_224", "deit_tiny_patch16_224"])
def test_vit_of_its_true_size(name, tmp_path):
    network, x = randomise(timm.create_model(name)), image(224, 224, batch=1)
    model = ViTClassifier(1000, ViT.of_size("B" if "base" in name else "Ti", class_token=True))
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])


def test_distilled_deit_lacks_its_second_token(tmp_path):
    """Two rows of its table are tokens'; the second token and its head are named as not taken."""
    network = timm.models.deit.VisionTransformerDistilled(
        img_size=64, patch_size=16, embed_dim=32, depth=3, num_heads=4, mlp_ratio=2.5, num_classes=7
    )
    _, model = small_vit()
    unused = ("dist_token", "head_dist.bias", "head_dist.weight")
    loaded = converted(randomise(network), model, tmp_path, unused=unused)
    table = loaded.variables["params"]["backbone"]["position_embedding"]
    np.testing.assert_array_equal(np.asarray(table).reshape(16, 32), network.pos_embed[0, 2:].detach().numpy())


def test_vit_training_step(tmp_path):
    network, model = small_vit((32, 32))
    x, y = image(32, 32, batch=4), np.array([1, 6, 0, 3])
    compare_step(network, their_image_loss(y), model, image_loss(y), x, tmp_path)


def small_swin(size):
    sizes = {"depths": (2, 2), "num_heads": (2, 4)}
    network = timm.models.SwinTransformer(img_size=size, embed_dim=12, window_size=7, num_classes=7, drop_path_rate=0.0, **sizes)
    backbone = Swin(12, **sizes, output_norms=False, shrink_window=True, drop_path=0.0)
    return randomise(network), SwinClassifier(7, backbone)


@pytest.mark.parametrize("size", [(112, 168), (56, 112)])
def test_swin(size, tmp_path):
    """Sizes that windows tile; at the second, sides of maps are a window's length or less."""
    network, model = small_swin(size)
    x = image(*size)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "Swin of timm"
    stages, out = outputs(network, ["layers.0", "layers.1"], x, channels_last=True)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(model.backbone, inside, x), stages, strict=True):
        close(got, want)
    close(apply(model, loaded.variables, x), out)
    reverse(loaded.variables, model, "timm", network, tmp_path)


def test_swin_of_the_authors_names(tmp_path):
    """Their files, and timm's before 0.9, have a merging at the end of a stage, and a head without fc."""
    network, model = small_swin((56, 56))
    state = network.state_dict()
    for now, then in {"layers.1.downsample": "layers.0.downsample", "head.fc.": "head."}.items():
        state = {name.replace(now, then): value for name, value in state.items()}
    assert {"layers.0.downsample.norm.weight", "head.weight"} <= state.keys()
    torch.save({"model": state}, tmp_path / "authors.pth")
    loaded = weights.load(model, tmp_path / "authors.pth")
    assert loaded.match.missing == loaded.match.unused == ()
    close(apply(model, loaded.variables, image(56, 56)), outputs(network, [], image(56, 56))[1])


@pytest.mark.slow
def test_swin_of_its_true_size(tmp_path):
    network, x = randomise(timm.create_model("swin_tiny_patch4_window7_224")), image(224, 224, batch=1)
    model = SwinClassifier(1000)
    loaded = converted(network, model, tmp_path)
    close(apply(model, loaded.variables, x), outputs(network, [], x)[1])


def test_swin_training_step(tmp_path):
    network, model = small_swin((56, 56))
    x, y = image(56, 56, batch=4), np.array([1, 6, 0, 3])
    compare_step(network, their_image_loss(y), model, image_loss(y), x, tmp_path)


@pytest.mark.parametrize(
    ("name", "model"), [("resnet18", ResNet(18)), pytest.param("resnet101", ResNet(101), marks=pytest.mark.slow)]
)
def test_resnet(name, model, tmp_path):
    network, x = randomise(timm.create_model(name, num_classes=0)), image(75, 66)
    loaded = converted(network, model, tmp_path)
    with torch.no_grad():
        maps = [from_torch(t) for t in network.eval().forward_intermediates(to_torch(x), intermediates_only=True)]
    for got, want in zip(apply(model, loaded.variables, x), maps, strict=True):
        close(got, want)
    reverse(loaded.variables, model, "timm", network, tmp_path)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_atrous_resnet(output_stride, tmp_path):
    network = randomise(timm.create_model("resnet50", num_classes=0, output_stride=output_stride))
    model, x = ResNet(50, output_stride), image(57, 66)
    loaded = converted(network, model, tmp_path)
    with torch.no_grad():
        want = from_torch(network.eval().forward_features(to_torch(x)))
    close(apply(model, loaded.variables, x)[-1], want)


def test_resnet_training_step(tmp_path):
    network = randomise(timm.create_model("resnet18", num_classes=0, global_pool=""))
    model = ResNet(18)
    compare_step(network, their_projection_loss, model, projection_loss, image(64, 65, batch=4), tmp_path)


@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(32, marks=pytest.mark.slow)])
def test_xception(output_stride, tmp_path):
    network = randomise(timm.create_model("xception65", num_classes=0, output_stride=output_stride))
    model, x = Xception65(output_stride), image(65, 58, batch=1)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "Xception-65 of timm"
    (early,), _ = outputs(network, ["blocks.1.stack.conv2"], x)
    with torch.no_grad():
        want = from_torch(network.eval().forward_features(to_torch(x)))
    maps = apply(model, loaded.variables, x)
    close(maps[1], early)
    close(maps[-1], want)
    reverse(loaded.variables, model, "timm", network, tmp_path)


@pytest.mark.slow
def test_xception_training_step(tmp_path):
    """With one block in the middle."""
    flows = timm.models.xception_aligned
    entry = [{"in_chs": a, "out_chs": b, "stride": 2} for a, b in ((64, 128), (128, 256), (256, 728))]
    middle = [{"in_chs": 728, "out_chs": 728, "stride": 1}]
    leave = [
        {"in_chs": 728, "out_chs": (728, 1024, 1024), "stride": 2},
        {"in_chs": 1024, "out_chs": (1536, 1536, 2048), "stride": 1, "no_skip": True, "start_with_relu": False},
    ]
    norm = functools.partial(torch.nn.BatchNorm2d, eps=1e-3)
    network = flows.XceptionAligned([*entry, *middle, *leave], num_classes=0, global_pool="", norm_layer=norm)
    model = Xception65(output_stride=32, middle_blocks=1)
    compare_step(randomise(network), their_projection_loss, model, projection_loss, image(64, 65, batch=2), tmp_path)
