"""mmsegmentation's networks, small, without the compiled operators that its package asks for and these networks never call."""

import functools
import importlib
import importlib.machinery
import importlib.util
import pathlib
import sys
import types
import warnings
from unittest import mock

import pytest
from references import from_torch, randomise, require, to_torch, torch


class _Operators(types.ModuleType):
    """Stands for ``mmcv._ext``, which mmcv-lite has not: every operator is there, and raises when it is called."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*_, **__):
            raise NotImplementedError(f"mmcv-lite has no operator {name}")

        return operator


def require_mmseg():
    """Import mmsegmentation, or skip the file that asks."""
    if importlib.util.find_spec("mmcv") is None or importlib.util.find_spec("mmseg") is None:
        pytest.skip("mmsegmentation is not installed: README says how", allow_module_level=True)
    operators = _Operators("mmcv._ext")
    operators.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
    sys.modules.setdefault("mmcv._ext", operators)
    require("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mmseg.models")
        importlib.import_module("mmengine").registry.init_default_scope("mmseg")


BATCH = {"type": "BN", "requires_grad": True}
LAYER = {"type": "LN", "eps": 1e-6, "requires_grad": True}


def build(backbone, decode_head, auxiliary_head=None, neck=None, classes=5):
    """Build and randomise a network with the heads' common settings."""
    from mmseg.registry import MODELS

    def head(fields):
        common = {"num_classes": classes, "norm_cfg": BATCH, "align_corners": False, "dropout_ratio": 0.0}
        return {**common, "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0}, **fields}

    config = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head(decode_head)}
    config |= {"train_cfg": {}, "test_cfg": {"mode": "whole"}}
    if auxiliary_head is not None:
        many = isinstance(auxiliary_head, (list, tuple))
        config["auxiliary_head"] = [head(h) for h in auxiliary_head] if many else head(auxiliary_head)
    if neck is not None:
        config["neck"] = neck
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return randomise(MODELS.build(config))


def heads(network, x):
    """Return the logits of all heads, each of its own size, the main one first."""
    maps = network.extract_feat(x)
    auxiliary = network.auxiliary_head if network.with_auxiliary_head else []
    auxiliary = auxiliary if isinstance(auxiliary, torch.nn.ModuleList) else [auxiliary]
    return [head(maps) for head in (network.decode_head, *auxiliary)]


def enlarged(logits, size):
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def logits(network, x):
    """Run the whole network in evaluation: its maps and its logits, of the image's size, channels last."""
    network.eval()
    with torch.no_grad():
        maps = network.extract_feat(to_torch(x))
        out = enlarged(network.decode_head(maps), x.shape[1:3])
    return [from_torch(m) for m in maps], from_torch(out)


def loss(network, y, auxiliary_weight):
    """Cross entropy of all heads, divided by the pixels that are not void."""

    def of(x):
        one = torch.nn.CrossEntropyLoss(ignore_index=255)
        first, *rest = [one(enlarged(out, y.shape[1:]), torch.tensor(y)) for out in heads(network, x)]
        return first + auxiliary_weight * sum(rest)

    return of


def through(network):
    """Make the network's call the identity, for losses that run its parts themselves."""
    network.forward = lambda x: x
    return network


def resnet(depth=50, **fields):
    """ResNetV1c of the ``d8`` networks."""
    strides = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}
    common = {"norm_cfg": BATCH, "norm_eval": False, "style": "pytorch", "contract_dilation": True, "out_indices": (0, 1, 2, 3)}
    return {"type": "ResNetV1c", "depth": depth, **strides, **common, **fields}


def fcn_head(channels, features, index=2, **fields):
    options = {"in_channels": channels, "channels": features, "in_index": index, "num_convs": 1, "concat_input": False}
    return {"type": "FCNHead", **options, **fields}


def count_of_config(name, classes):
    """Return the number of parameters of a model in mmsegmentation's own configs, built without its values."""
    mmseg, mmengine = importlib.import_module("mmseg"), importlib.import_module("mmengine")
    folder = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    config = mmengine.Config.fromfile(folder / f"{name}.py").model
    config.pretrained, config.backbone.pretrained = None, None
    heads = config.auxiliary_head if isinstance(config.auxiliary_head, list) else [config.auxiliary_head]
    for head in (config.decode_head, *heads):
        head.num_classes = classes
    linspace = functools.partial(torch.linspace, device="cpu")  # the rates of drop path, whose values are read
    with warnings.catch_warnings(), mock.patch.object(torch, "linspace", linspace), torch.device("meta"):
        warnings.simplefilter("ignore")
        network = importlib.import_module("mmseg.registry").MODELS.build(config)
    return sum(p.numel() for p in network.parameters())
