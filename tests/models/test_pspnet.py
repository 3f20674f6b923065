import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import KEY, count, initialised

from jaxseg.models import PSPNet
from jaxseg.models.backbones import VGG16, ResNet

DEEP = ResNet(depth=101, output_stride=8, deep_stem=True, first_block_keeps_rate=False)
NARROW = VGG16(widths=(4, 4, 4), convolutions=(1, 1, 1), output_stride=8, pool_window=3)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (PSPNet(num_classes=150), 49_180_908),
        (PSPNet(num_classes=150, auxiliary_weight=0.0), 46_782_550),
        (PSPNet(num_classes=150, backbone=DEEP), 68_173_036),
    ],
)
def test_parameters_of_the_published_networks(model, parameters):
    assert count(model) == parameters


def seen(model, side=113):
    """The rows that the logit of the middle pixel sees."""
    ramp = jnp.linspace(1.0, 2.0, side)[None, :, None, None] * jnp.ones((1, side, side, 3))
    variables = jax.jit(lambda x: model.init(KEY, x))(ramp)
    params = jax.tree.map(lambda x: jnp.abs(x) + 0.01 if x.ndim == 4 else x, variables["params"])
    gradient = jax.jit(jax.grad(lambda x: model.apply({**variables, "params": params}, x)[0, side // 2, side // 2, 0]))
    # A pooling hands its gradient to one pixel of a window: the last where the image grows, the first where it falls.
    rows = [np.flatnonzero(np.abs(gradient(image)).sum((0, 2, 3))) for image in (ramp, ramp[:, ::-1])]
    return np.union1d(*rows)


def test_with_the_pyramid_a_pixel_sees_the_whole_image_and_without_it_45_rows():
    model = PSPNet(num_classes=2, backbone=NARROW, features=4)
    rows = seen(model)
    assert rows.min() <= 1
    assert rows.max() >= 111
    rows = seen(model.clone(bins=()))
    assert (rows.min(), rows.max()) == (56 - 22, 56 + 22)


def test_the_auxiliary_head_reads_the_stage_before_the_last():
    model = PSPNet(num_classes=3, backbone=ResNet(depth=18, output_stride=8, width=4), features=4)
    params = initialised(model)["params"]
    assert params["auxiliary_head"]["hidden"]["conv"]["kernel"].shape == (3, 3, 16, 4)
    image = jnp.zeros((1, 20, 30, 3))
    variables = jax.jit(lambda: model.init({"params": KEY, "dropout": KEY}, image, train=True))()
    apply = jax.jit(lambda v: model.apply(v, image, train=True, mutable=True, rngs={"dropout": KEY}))
    ((weight, logits),) = apply(variables)[1]["auxiliary"]["auxiliary"][-1:]
    assert float(weight) == pytest.approx(0.4)
    assert logits.shape == (1, 20, 30, 3)
    assert "auxiliary_head" not in initialised(model.clone(auxiliary_weight=0.0))["params"]


def test_without_bins_there_is_no_pyramid():
    assert "pyramid" not in initialised(PSPNet(num_classes=2, backbone=NARROW, bins=()))["params"]
    assert set(initialised(PSPNet(num_classes=2, backbone=NARROW))["params"]["pyramid"]) == {"bin1", "bin2", "bin3", "bin6"}
