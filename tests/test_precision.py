import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.loss_scale import GROWTH_INTERVAL, INITIAL, LossScale
from jaxseg.models import DeepLabV3Plus, SETRNaive
from jaxseg.models.backbones import ResNet, ViT
from jaxseg.precision import dtypes, with_precision


@pytest.mark.parametrize(
    "model", [DeepLabV3Plus(num_classes=3, backbone=ResNet(depth=50)), SETRNaive(num_classes=3, backbone=ViT(depth=2))]
)
def test_reaches_the_backbone_and_leaves_the_parameters(model):
    assert dtypes(model) == {"float32"}
    half = with_precision(model, "bfloat16")
    assert dtypes(half) == {"bfloat16"}
    assert half.backbone.clone(dtype=jnp.float32) == model.backbone
    image = jnp.zeros((1, 64, 64, 3))
    made = jax.eval_shape(lambda: half.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, image))
    assert {x.dtype for x in jax.tree.leaves(made)} == {np.dtype(np.float32)}
    assert jax.eval_shape(half.apply, made, image).dtype == jnp.float32


def test_an_unknown_precision():
    with pytest.raises(InputError, match=r"precision='bf16' is none of float32, bfloat16, float16.*Did you mean"):
        with_precision(DeepLabV3Plus(num_classes=3), "bf16")


def test_the_scale_halves_on_overflow_and_doubles_after_a_while():
    scale = LossScale.initial()
    assert float(scale.scale) == INITIAL
    down = scale.after(jnp.array(False))
    assert (float(down.scale), int(down.good_steps)) == (INITIAL / 2, 0)
    almost = LossScale(down.scale, jnp.int32(GROWTH_INTERVAL - 2)).after(jnp.array(True))
    assert (float(almost.scale), int(almost.good_steps)) == (INITIAL / 2, GROWTH_INTERVAL - 1)
    up = almost.after(jnp.array(True))
    assert (float(up.scale), int(up.good_steps)) == (INITIAL, 0)
    lowest = LossScale(jnp.float32(1.0), jnp.int32(5)).after(jnp.array(False))
    assert float(lowest.scale) == 1.0


def test_unscaling_is_exact_for_powers_of_two():
    gradient = {"kernel": jnp.float32(3.1) * INITIAL}
    assert float(LossScale.initial().unscale(gradient)["kernel"]) == float(jnp.float32(3.1))
