"""ViT, Swin and UPerNet-Swin of transformers: weights converted, values, features and one training step compared."""

import jax
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
    labels,
    randomise,
    require,
    segmentation_loss,
    their_image_loss,
    to_torch,
    torch,
)

from jaxseg import weights
from jaxseg.errors import InputError
from jaxseg.models import UPerNet
from jaxseg.models.backbones import Swin, SwinClassifier, ViT, ViTClassifier

transformers = require("transformers")

STAGES = {"num_heads": (1, 2, 3, 6)}


def small_vit(side=64, ours=None):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80, image_size=side, num_labels=7
    )
    options = {"width": 32, "depth": 3, "num_heads": 4, "hidden": 80, "class_token": True, "image_size": ours or (side, side)}
    network = randomise(transformers.ViTForImageClassification(config))
    return network, ViTClassifier(7, ViT(**options)), ViT(**options, feature_depths=(1, 2, 3))


def small_swin():
    stages = {"depths": (2, 2), "num_heads": (2, 4)}
    config = transformers.SwinConfig(embed_dim=12, drop_path_rate=0.0, image_size=56, num_labels=7, **stages)
    backbone = Swin(12, **stages, output_norms=False, shrink_window=True, drop_path=0.0)
    return randomise(transformers.SwinForImageClassification(config)), SwinClassifier(7, backbone)


def small_upernet(depths=(1, 2, 1, 1)):
    sizes = {**STAGES, "depths": depths}
    stages = [f"stage{n}" for n in (1, 2, 3, 4)]
    backbone = transformers.SwinConfig(embed_dim=12, drop_path_rate=0.0, out_features=stages, **sizes)
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_channels=8, auxiliary_in_channels=48, num_labels=5
    )
    model = UPerNet(5, Swin(12, **sizes, drop_path=0.0), features=16, auxiliary_features=8)
    return randomise(transformers.UperNetForSemanticSegmentation(config)), model


def saved(network, model, tmp_path):
    """Save as on the Hub, with its names, and load into ours."""
    network.save_pretrained(tmp_path)
    return weights.load(model, tmp_path)


def reverse(variables, model, network, tmp_path):
    """Assert that ``from_pretrained`` finds in what we save every array, none besides, and the reference's values."""
    network.config.save_pretrained(tmp_path)
    weights.save(variables, tmp_path / "model.safetensors", model=model, source="transformers")
    classifies = isinstance(network, transformers.SwinForImageClassification)
    again, report = type(network).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for name, value in network.state_dict().items():
        if classifies or "swin.layernorm" not in name:  # the one that is never used
            assert torch.equal(again.state_dict()[name], value), name


def test_vit(tmp_path):
    network, model, backbone = small_vit()
    x = image(64, 64)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "ViT of transformers"
    with torch.no_grad():
        out = network.eval()(to_torch(x), output_hidden_states=True)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(backbone, inside, x, method=ViT.tokens), out.hidden_states[1:], strict=True):
        close(got, want)
    close(apply(model, loaded.variables, x), out.logits)
    reverse(loaded.variables, model, network, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, saved(network, model, tmp_path).variables, loaded.variables)


def test_vit_model(tmp_path):
    """Its last norm and its pooler have no place in a backbone."""
    network, _, backbone = small_vit()
    bare = randomise(transformers.ViTModel(network.config))
    unused = ["layernorm.weight", "layernorm.bias", "pooler.dense.weight", "pooler.dense.bias"]
    torch.save(bare.state_dict(), tmp_path / "bare.pth")
    loaded = weights.load(backbone, tmp_path / "bare.pth")
    assert (loaded.match.missing, loaded.match.unused) == ((), tuple(unused))
    x = image(64, 64)
    with torch.no_grad():
        want = bare.eval()(to_torch(x), output_hidden_states=True).hidden_states[-1]
    close(np.asarray(apply(backbone, loaded.variables, x)[-1]).reshape(2, -1, 32), want[:, 1:])


@pytest.mark.parametrize("size", [(96, 80), (32, 48)])
def test_vit_at_another_size(size, tmp_path):
    """transformers resizes the positions' table at run time; we do so once, when the weights are loaded."""
    network, model, _ = small_vit(ours=size)
    x = image(*size)
    loaded = converted(network, model, tmp_path)
    assert loaded.changed == ("params/backbone/position_embedding",)
    with torch.no_grad():
        want = network.eval()(to_torch(x), interpolate_pos_encoding=True).logits
    close(apply(model, loaded.variables, x), want)


def test_vit_training_step(tmp_path):
    """To less than 1e-5, for its norms add 1e-12 to the variance, and ours 1e-6."""
    network, model, _ = small_vit(32)
    x, y = image(32, 32, batch=4), np.array([1, 6, 0, 3])
    loss = their_image_loss(y)
    compare_step(network, lambda out: loss(out.logits), model, image_loss(y), x, tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("size", [(56, 56), (75, 130)])
def test_swin(size, tmp_path):
    """At the first size the last map is one window."""
    network, model = small_swin()
    x = image(*size, batch=1)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "Swin of transformers"
    stages = [f"swin.encoder.layers.{n}.blocks.{len(network.swin.encoder.layers[n].blocks) - 1}" for n in range(2)]
    found, handles = [], []
    for name in stages:
        handles.append(network.get_submodule(name).register_forward_hook(lambda *a: found.append(a[2][0].clone())))
    with torch.no_grad():
        out = network.eval()(to_torch(x)).logits
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, want in zip(apply(model.backbone, inside, x), found, strict=True):
        close(np.asarray(got).reshape(1, -1, got.shape[-1]), want)
    close(apply(model, loaded.variables, x), out)


def test_swin_back_and_from_the_hubs_names(tmp_path):
    network, model = small_swin()
    loaded = converted(network, model, tmp_path)
    reverse(loaded.variables, model, network, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, saved(network, model, tmp_path).variables, loaded.variables)


def test_swin_training_step(tmp_path):
    network, model = small_swin()
    x, y = image(56, 56, batch=4), np.array([1, 6, 0, 3])
    loss = their_image_loss(y)
    compare_step(network, lambda out: loss(out.logits), model, image_loss(y), x, tmp_path)


def test_swin_backbone(tmp_path):
    """Its norms of every map; and its own last norm, which nothing reads."""
    network, model = small_upernet()
    path = tmp_path / "backbone.pth"
    torch.save(network.backbone.state_dict(), path)
    loaded = weights.load(model.backbone, path)
    assert loaded.match.missing == ()
    assert loaded.match.unused == ("swin.layernorm.weight", "swin.layernorm.bias")
    reverse(loaded.variables, model.backbone, network.backbone, tmp_path)


def test_upernet(tmp_path):
    network, model = small_upernet()
    x = image(75, 130)
    loaded = converted(network, model, tmp_path)
    assert loaded.title == "UPerNet-Swin of transformers"
    with torch.no_grad():
        maps = network.eval().backbone(to_torch(x)).feature_maps
        want = from_torch(network(to_torch(x)).logits)
    inside = {"params": loaded.variables["params"]["backbone"]}
    for got, theirs in zip(apply(model.backbone, inside, x), maps, strict=True):
        close(got, from_torch(theirs))
    close(apply(model, loaded.variables, x), want)


def test_upernet_back_and_from_the_hubs_names(tmp_path):
    network, model = small_upernet()
    loaded = converted(network, model, tmp_path)
    reverse(loaded.variables, model, network, tmp_path)
    again = saved(network, model, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.variables, loaded.variables)
    assert again.preprocessing.crop_size == (512, 512)


def test_upernet_training_step(tmp_path):
    """By its own loss, auxiliary head included."""
    network, model = small_upernet(depths=(1, 1, 1, 1))
    x, y = image(64, 72, batch=4), labels(64, 72, batch=4, classes=5)
    network.config.loss_ignore_index = 255
    network.forward = lambda x, forward=network.forward: forward(x, labels=torch.tensor(y))
    compare_step(network, lambda out: out.loss, model, segmentation_loss(y), x, tmp_path)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_counts_of_the_true_sizes():
    """By shapes alone: UPerNet has another norm there, of 768 scales and biases; ViTModel a pooler and the last norm."""
    with torch.device("meta"):
        stages = [f"stage{n}" for n in (1, 2, 3, 4)]
        config = transformers.UperNetConfig(backbone_config=transformers.SwinConfig(out_features=stages), num_labels=21)
        upernet = transformers.UperNetForSemanticSegmentation(config)
        vit = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))
        swin = transformers.SwinForImageClassification(transformers.SwinConfig(num_labels=1000))
    theirs = [sum(p.numel() for p in network.parameters()) for network in (upernet, vit, swin)]
    assert theirs == [59_844_068, 86_567_656, 28_288_354]
    ours = []
    for model in (UPerNet(21), ViTClassifier(1000), SwinClassifier(1000)):
        x = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
        key = jax.random.key(0)
        shapes = jax.eval_shape(lambda x, model=model, key=key: model.init({"params": key, "dropout": key}, x, train=True), x)
        ours.append(count(shapes["params"]))
    assert ours == [59_844_068 - 2 * 768, 86_567_656, 28_288_354]


def test_relatives_of_other_forms_are_refused(tmp_path):
    """SwinV2 and BEiT have layers of the same names, and are other networks."""
    sizes = {"image_size": 64, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    swin = transformers.Swinv2Model(transformers.Swinv2Config(embed_dim=8, depths=[1], num_heads=[2], image_size=64))
    beit = transformers.BeitModel(transformers.BeitConfig(**sizes, use_absolute_position_embeddings=True))
    for network, model in ((swin, Swin()), (beit, ViT())):
        torch.save(network.state_dict(), tmp_path / "relative.pth")
        with pytest.raises(InputError, match="is of no known source"):
            weights.load(model, tmp_path / "relative.pth")
