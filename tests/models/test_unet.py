import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.models import UNet
from jaxseg.models.unet import valid_output_side

KEY = jax.random.key(0)


def count(model, channels):
    variables = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 64, 64, channels))))
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def test_has_the_papers_parameters():
    """23 convolutions, 1 channel in, 2 classes out: 31,030,658, "31.0M"."""
    assert count(UNet(num_classes=2), 1) == 31_030_658
    assert count(UNet(num_classes=2, padding="valid").clone(padding="same"), 1) == 31_030_658


def test_valid_convolutions_give_the_papers_sizes():
    model = UNet(num_classes=2, padding="valid")
    shape = jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], jax.ShapeDtypeStruct((1, 572, 572, 1), jnp.float32)).shape
    assert shape == (1, 388, 388, 2)
    assert model.output_size(572) == 388


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("side", [1, 5, 32, 100, 388])
def test_input_size_is_the_smallest_that_covers(side, depth):
    model = UNet(num_classes=2, depth=depth, padding="valid")
    found = model.input_size(side)
    assert side <= model.output_size(found) < side + model.stride
    assert not any((valid_output_side(smaller, depth) or 0) >= side for smaller in range(found))
    assert UNet(num_classes=2).input_size(side) == side


def test_input_size_of_the_paper():
    assert UNet(num_classes=2, padding="valid").input_size(388) == 572


@pytest.mark.parametrize("side", range(20, 80, 4))
def test_output_size_is_what_the_network_does(side):
    model = UNet(num_classes=2, width=1, depth=2, padding="valid")
    expected = valid_output_side(side, 2)
    if expected is None:
        with pytest.raises(InputError):
            model.output_size(side)
    else:
        image = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
        assert jax.eval_shape(lambda x: model.init_with_output(KEY, x)[0], image).shape[1:3] == (expected, expected)


def test_valid_convolutions_name_the_sizes_that_fit():
    with pytest.raises(InputError) as error:
        jax.eval_shape(lambda: UNet(num_classes=2, padding="valid").init(KEY, jnp.zeros((1, 512, 512, 1))))
    assert "An image side of 512 does not fit U-Net's valid convolutions at depth 4" in str(error.value)
    assert "The nearest sides that fit: 508 or 524." in str(error.value)
    assert valid_output_side(508, 4) == 324
    assert valid_output_side(524, 4) == 340


def test_refuses_an_unknown_padding():
    with pytest.raises(InputError, match=r"padding='reflect': U-Net knows \('same', 'valid'\)"):
        UNet(num_classes=2, padding="reflect").init(KEY, jnp.zeros((1, 16, 16, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, "with padding='valid' set its weight to 0"),
        ({"depth": 1}, "reads the map of half the resolution, and depth=1 has none: set its weight to 0"),
    ],
)
def test_refuses_an_auxiliary_head_without_a_place(options, message):
    with pytest.raises(InputError, match=message):
        UNet(num_classes=2, auxiliary_weight=0.4, **options).init(KEY, jnp.zeros((1, 16, 16, 1)))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_receptive_field_is_the_papers(padding):
    """Depth 2: 3x3 pairs at strides 1, 2, 4, 2, 1 and two poolings see 44 pixels, by the gradient of one logit.

    Contracting: 1 + 4 + 1 (pool) + 8 + 2 (pool) + 16; expanding, up to where up-convolutions begin: + 8 + 4 at their strides.
    """
    model = UNet(num_classes=1, width=2, depth=2, padding=padding)
    image = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, (1, 92, 92, 1)), jnp.float32)
    variables = model.init(KEY, image)
    variables = jax.tree.map(jnp.abs, variables)  # no ReLU closes

    def central(x):
        logits = model.apply(variables, x)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]

    reached = np.asarray(jax.grad(central)(image))[0, :, :, 0] != 0
    # Max pooling passes the gradient to one pixel of each window: the field is what any logit can reach, so take the span.
    rows = np.flatnonzero(reached.any(axis=1))
    assert rows[-1] - rows[0] + 1 <= 44
    assert rows[-1] - rows[0] + 1 >= 38


def test_the_lower_levels_are_used():
    """Without the bottom of the U the logits are others: the skips alone are not the network."""
    model = UNet(num_classes=2, width=2, depth=2)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 1)), jnp.float32)
    variables = model.init(KEY, image)
    changed = jax.tree.map(lambda x: x, variables)
    changed["params"]["bottom"]["conv2"]["kernel"] = jnp.zeros_like(variables["params"]["bottom"]["conv2"]["kernel"])
    assert not np.allclose(model.apply(variables, image), model.apply(changed, image))


def test_dropout_works_in_training_alone():
    model = UNet(num_classes=2, width=2, depth=1)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 1)), jnp.float32)
    variables = model.init(KEY, image)
    np.testing.assert_array_equal(model.apply(variables, image), model.apply(variables, image))
    one, other = (model.apply(variables, image, train=True, rngs={"dropout": jax.random.key(i)}) for i in (1, 2))
    assert not np.allclose(one, other)
