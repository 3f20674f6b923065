"""Loading and saving without PyTorch: what fits, what is changed to fit, what is said, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxseg import weights
from jaxseg.errors import InputError
from jaxseg.models import CRFRNN, FCN, FCN32s, SETRNaive, UNet, UNetBackbone, UPerNet
from jaxseg.models.backbones import VGG16, ResNet, Swin, SwinClassifier, ViT, ViTClassifier
from jaxseg.ops.normalise import CAFFE, Normalise
from jaxseg.weights.matching import flat

THIN = ResNet(18, width=4)
SMALL = ViT(patch_size=4, width=8, depth=2, num_heads=2, hidden=8, image_size=(16, 16), class_token=True)
WINDOWS = {"width": 4, "depths": (2, 2), "num_heads": (1, 2), "window": 3, "output_norms": False}


def variables_of(model, channels=3, seed=0):
    """Random values for all arrays, running statistics too."""
    key = jax.random.key(0)
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init({"params": key, "dropout": key}, x, train=True), image)
    random = np.random.default_rng(seed)
    shapes = {name: shapes[name] for name in ("params", "batch_stats") if name in shapes}
    return jax.tree.map(lambda s: jnp.asarray(random.normal(size=s.shape), jnp.float32), shapes)


def assert_same(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A file as torchvision's, with ImageNet's classifier, and what is in it."""
    path = tmp_path_factory.mktemp("resnet") / "resnet.safetensors"
    variables = variables_of(THIN)
    weights.save(variables, path, model=THIN, source="torchvision")
    save_file({**load_file(path), "fc.weight": np.ones((10, 32), np.float32), "fc.bias": np.ones(10, np.float32)}, path)
    return path, variables


@pytest.mark.parametrize(
    ("model", "source"),
    [
        (THIN, "jaxseg"),
        (THIN, "timm"),
        (VGG16(True, (2, 2, 3, 3, 4)), "torchvision"),
        (FCN(2, THIN), "torchvision"),
        (FCN32s(2, VGG16(widths=(2, 2, 3, 3, 4)), fc_features=5), "jaxseg"),
        (ViTClassifier(3, SMALL), "timm"),
        (ViTClassifier(3, SMALL), "torchvision"),
        (SwinClassifier(3, Swin(**WINDOWS)), "timm"),
        (SwinClassifier(3, Swin(**WINDOWS)), "torchvision"),
        (Swin(**WINDOWS), "timm"),
    ],
)
def test_what_is_saved_is_loaded_bit_for_bit(model, source, tmp_path):
    variables = variables_of(model)
    weights.save(variables, tmp_path / "x.safetensors", model=model, source=source)
    loaded = weights.load(model, tmp_path / "x.safetensors")
    assert loaded.match.missing == loaded.match.other_shape == loaded.match.unused == loaded.changed == ()
    assert_same(loaded.variables, variables)


def test_a_classifiers_file_fills_the_backbone_of_a_segmentation_network(resnet):
    path, given = resnet
    model = FCN(2, THIN)
    loaded = weights.load(model, path, seed=3)
    for name in ("params", "batch_stats"):
        assert_same(loaded.variables[name]["backbone"], given[name])
    head = loaded.variables["params"]["head"]["classifier"]
    assert 0.005 < head["kernel"].std() < 0.02  # as initialised
    assert not head["bias"].any()
    assert loaded.report().splitlines() == [
        "ResNet of torchvision or timm",
        f"{len(flat(given))} arrays taken",
        "initial, for they were not given: auxiliary_head/hidden/bn/norm, head/hidden/bn/norm, auxiliary_head/classifier, "
        "auxiliary_head/hidden/conv, head/classifier, head/hidden/conv",
        "given, but not in this network: fc",
        "images for these weights: Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))",
    ]


def test_a_backbone_under_our_own_names_fills_a_segmentation_network(tmp_path):
    given = variables_of(SMALL)
    weights.save(given, tmp_path / "x.safetensors")
    model = SETRNaive(2, SMALL.clone(feature_depths=(1, 2)), head_features=4)
    loaded = weights.load(model, tmp_path / "x.safetensors")
    assert loaded.match.unused == ()
    assert all("/backbone/" not in name for name in loaded.match.missing)
    assert_same({"params": loaded.variables["params"]["backbone"]}, given)
    own = variables_of(model, seed=1)
    weights.save(own, tmp_path / "whole.safetensors")
    assert_same(weights.load(model, tmp_path / "whole.safetensors").variables, own)


def test_a_part_deep_inside_is_found(tmp_path):
    backbone = VGG16(widths=(2, 2, 3, 3, 4))
    given = variables_of(backbone)
    weights.save(given, tmp_path / "x.safetensors", model=backbone, source="torchvision")
    model = CRFRNN(num_classes=2, network=FCN32s(2, backbone, fc_features=None))
    loaded = weights.load(model, tmp_path / "x.safetensors", variables=variables_of(model, seed=5))
    assert_same(loaded.variables["params"]["network"]["backbone"], given["params"])


@pytest.mark.parametrize(
    ("model", "part"), [(UNetBackbone(2, THIN, (8, 4, 4, 4, 4)), "backbone"), (UPerNet(2, THIN, 4), "backbone")]
)
def test_a_segmentation_networks_file_fills_another_with_its_backbone(model, part, tmp_path):
    fcn = FCN(2, THIN)
    given = variables_of(fcn)
    weights.save(given, tmp_path / "x.safetensors", model=fcn, source="torchvision")
    loaded = weights.load(model, tmp_path / "x.safetensors", variables=variables_of(model, seed=5))
    assert loaded.title == "FCN of torchvision"
    assert_same(loaded.variables["params"]["backbone"], given["params"]["backbone"])


def test_values_given_stay_where_the_file_has_none(resnet):
    path, _ = resnet
    model = FCN(2, THIN)
    own = variables_of(model, seed=5)
    loaded = weights.load(model, path, variables=own)
    np.testing.assert_array_equal(
        loaded.variables["params"]["head"]["classifier"]["kernel"], own["params"]["head"]["classifier"]["kernel"]
    )


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_stem_for_other_channels(channels, resnet):
    """A picture that is the same in all channels is answered alike where all channels are used equally often."""
    path, given = resnet
    loaded = weights.load(THIN, path, num_channels=channels)
    assert loaded.changed == ("params/stem/conv/kernel",)
    assert "made to fit: stem/conv" in loaded.report()
    kernel, original = loaded.variables["params"]["stem"]["conv"]["kernel"], given["params"]["stem"]["conv"]["kernel"]
    assert kernel.shape[2] == channels
    if channels < 3:
        np.testing.assert_allclose(kernel.sum(axis=2), original.sum(axis=2), atol=1e-5)
    else:
        np.testing.assert_allclose(kernel, original[:, :, [0, 1, 2, 0, 1]] * 3 / 5, rtol=1e-6)


@pytest.mark.parametrize("model", [THIN, FCN(2, THIN)])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("channels", "mean"), [(1, (0.449,)), (4, (0.485, 0.456, 0.406, 0.485))])
def test_the_normalisation_is_for_the_networks_channels(channels, mean, given, model, resnet):
    variables = variables_of(model, channels) if given else None
    loaded = weights.load(model, resnet[0], variables=variables, num_channels=3 if given else channels)
    np.testing.assert_allclose(loaded.normalise.mean, mean, rtol=1e-6)
    image = jnp.broadcast_to(jnp.asarray(mean), (1, 2, 2, channels))
    np.testing.assert_allclose(loaded.normalise(image), np.zeros((1, 2, 2, channels)), atol=1e-6)
    assert len(loaded.normalise.std) == channels


def test_a_head_of_other_classes_stays_initial(tmp_path):
    model = FCN(2, THIN)
    weights.save(variables_of(model), tmp_path / "x.safetensors", model=model, source="torchvision")
    loaded = weights.load(FCN(5, THIN), tmp_path / "x.safetensors")
    assert "initial, for they have another shape: auxiliary_head/classifier (2,) -> (5,)" in loaded.report()
    assert len(loaded.match.other_shape) == 4


def test_positions_of_another_grid_and_windows_of_another_side(tmp_path):
    flat_table = jnp.broadcast_to(jnp.arange(8.0), (1, 4, 4, 8))
    given = variables_of(SMALL)
    given["params"]["position_embedding"] = flat_table
    weights.save(given, tmp_path / "vit.safetensors", model=SMALL, source="timm")
    larger = SMALL.clone(image_size=(24, 40), class_token=False)
    loaded = weights.load(SETRNaive(2, larger.clone(feature_depths=(1, 2)), head_features=4), tmp_path / "vit.safetensors")
    table = loaded.variables["params"]["backbone"]["position_embedding"]
    np.testing.assert_allclose(table, np.broadcast_to(np.arange(8.0), (1, 6, 10, 8)), atol=1e-5)
    assert loaded.changed == ("params/backbone/position_embedding",)
    assert loaded.match.unused == ("cls_token",)

    swin = Swin(**WINDOWS)
    given = variables_of(swin)
    given["params"]["stage1_block1"]["relative_positions"] = jnp.full((25, 1), 2.0)
    weights.save(given, tmp_path / "swin.safetensors", model=swin, source="timm")
    wider = weights.load(swin.clone(window=5), tmp_path / "swin.safetensors")
    np.testing.assert_allclose(wider.variables["params"]["stage1_block1"]["relative_positions"], np.full((81, 1), 2.0), atol=1e-5)
    assert len(wider.changed) == 4


def test_refusals(resnet, tmp_path):
    path, _ = resnet
    with pytest.raises(InputError, match="looks like ResNet of torchvision or timm, which is for ResNet: this UNet has none"):
        weights.load(UNet(2, width=2, depth=1), path)
    with pytest.raises(InputError, match=r"Nothing of .* fits this ResNet\. It looks like ResNet of torchvision.* -> "):
        weights.load(ResNet(18, width=3), path)
    np.savez(tmp_path / "x.npz", **{"something/else": np.ones(1)})
    with pytest.raises(InputError, match=r"is of no known source\. It has 1 arrays: something/else .* Known: .*VGG16 of"):
        weights.load(THIN, tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["blocks.0.ls1.gamma", "blocks.0.attn.q_norm.weight", "reg_token", "norm_pre.weight"])
def test_vits_that_compute_something_else_are_not_recognised(name, tmp_path):
    weights.save(variables_of(SMALL), tmp_path / "x.safetensors", model=SMALL, source="timm")
    save_file({**load_file(tmp_path / "x.safetensors"), name: np.ones(8, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="is of no known source"):
        weights.load(SMALL, tmp_path / "x.safetensors")


def test_refusals_of_saving(tmp_path):
    variables = variables_of(THIN)
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        weights.save(variables, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"missing/x\.safetensors: there is no folder .*missing\. Create it first"):
        weights.save(variables, tmp_path / "missing" / "x.safetensors")
    with pytest.raises(InputError, match=r"source='torchvison' is not known\. Did you mean 'torchvision'"):
        weights.save(variables, tmp_path / "x.safetensors", model=THIN, source="torchvison")
    with pytest.raises(InputError, match="needs the network too"):
        weights.save(variables, tmp_path / "x.safetensors", source="torchvision")
    with pytest.raises(InputError, match=r"timm has no UNet\. It has .*ResNet.*source='jaxseg' saves any network"):
        weights.save(variables, tmp_path / "x.safetensors", model=UNet(2), source="timm")
    model = FCN32s(2, VGG16(widths=(2, 2, 3, 3, 4)), fc_features=5)
    with pytest.raises(InputError, match=r"VGG16 of torchvision has no layers score_fr.*FCN32s is no network of torchvision"):
        weights.save(variables_of(model), tmp_path / "x.safetensors", model=model, source="torchvision")


@pytest.mark.parametrize("source", ["torchvision", "transformers"])
def test_a_vit_without_class_token_is_not_saved_for_those_that_need_one(source, tmp_path):
    plain = SMALL.clone(class_token=False)
    for model in (plain, ViTClassifier(3, plain, pooling="mean")):
        with pytest.raises(InputError, match=f"class_token=False: {source}'s ViT has a class token and this ViT has none"):
            weights.save(variables_of(model), tmp_path / "x.safetensors", model=model, source=source)
    assert not (tmp_path / "x.safetensors").exists()


def test_preprocessing_travels(tmp_path):
    own = Normalise(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    weights.save(variables_of(THIN), tmp_path / "x.safetensors", normalise=own, crop_size=(64, 96))
    loaded = weights.load(THIN, tmp_path / "x.safetensors")
    assert loaded.title == "weights that jaxseg saved"
    assert loaded.preprocessing == weights.Preprocessing(own, "RGB", (0.0, 1.0), (64, 96))
    assert "WARNING" not in loaded.report(own)
    warning = loaded.report(Normalise()).splitlines()[-1]
    assert warning.endswith('Set --set "normalise.mean=(0.1, 0.2, 0.3,)" --set "normalise.std=(0.5, 0.6, 0.7,)"')
    weights.save(variables_of(THIN), tmp_path / "y.safetensors")
    silent = weights.load(THIN, tmp_path / "y.safetensors")
    assert silent.normalise is None
    assert "normalisation of these weights: not known" in silent.report(Normalise())


def test_one_value_for_all_channels_is_no_other_normalisation():
    loaded = weights.Loaded({}, weights.loading.Match({}, (), (), (), ()), "", (), weights.Preprocessing(CAFFE))
    assert "WARNING" not in loaded.report(Normalise(CAFFE.mean, (1 / 255,) * 3))
    assert "WARNING" in loaded.report(Normalise((0.5,), (1 / 255,)))


@pytest.mark.parametrize(
    ("name", "fields", "want"),
    [
        (
            "config.json",
            {
                "architecture": "x",
                "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 224, 256]},
            },
            weights.Preprocessing(Normalise((0.5,) * 3, (0.5,) * 3), crop_size=(224, 256)),
        ),
        (
            "preprocessor_config.json",
            {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"height": 8, "width": 9}, "do_rescale": True},
            weights.Preprocessing(Normalise((0.5, 0.4, 0.3), (0.2,) * 3), crop_size=(8, 9)),
        ),
        ("config.json", {"architectures": ["x"]}, weights.Preprocessing(Normalise(), crop_size=(224, 224))),
        ("config.json", [], weights.Preprocessing(Normalise(), crop_size=(224, 224))),
    ],
)
def test_preprocessing_beside_the_file_comes_before_that_of_its_kind(name, fields, want, tmp_path):
    weights.save(variables_of(THIN), tmp_path / "model.safetensors", model=THIN, source="timm")
    (tmp_path / name).write_text(json.dumps(fields))
    assert weights.load(THIN, tmp_path).preprocessing == want
