import formulas
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.losses.targets import class_vector, prepare

LOGITS = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
compiled = jax.jit(prepare)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int16, jnp.int32, jnp.uint32])
def test_indices_of_any_integer_dtype(dtype):
    void = -1 if dtype == jnp.int8 else 255
    target = compiled(LOGITS, np.array([[[0, 3, void], [1, 2, 4]]]).astype(dtype))
    assert target.valid.tolist() == [[[True, True, False], [True, True, False]]]
    assert target.labels.tolist() == [[[0, 3, 0], [1, 2, 0]]]
    assert target.labels.dtype == jnp.int32
    assert target.weights.tolist() == [[[1, 1, 0], [1, 1, 0]]]


def test_soft_labels_are_void_where_one_hot_encoding_left_nothing_or_the_values_are_no_shares():
    soft = formulas.one_hot(np.array([[[0, 3, 255], [1, 2, 0]]]), 4)
    soft[0, 1, 2], soft[0, 1, 1, 0] = [0.5, -0.5, 1.0, 0.0], np.nan
    target = compiled(LOGITS, soft, np.full((1, 2, 3), 2.0))
    assert target.valid.tolist() == [[[True, True, False], [True, False, False]]]
    assert target.weights.tolist() == [[[2, 2, 0], [2, 0, 0]]]
    assert np.isfinite(target.labels).all()


def test_binary_soft_labels_may_be_zero():
    target = compiled(LOGITS[..., :1], np.array([[[0.0, 1.0, 0.25], [255.0, -1.0, 0.5]]])[..., None])
    assert target.valid.tolist() == [[[True, True, True], [False, False, True]]]
    np.testing.assert_allclose(target.labels[0, 0, 2], [0.75, 0.25])


def test_two_logits_become_their_difference():
    np.testing.assert_array_equal(compiled(LOGITS[..., :2] ** 2, np.zeros((1, 2, 3), int)).logits[0, 0, :, 0], [1.0, 9.0, 17.0])


def test_weights_at_void_may_be_anything():
    weights = np.array([[[np.nan, 1.0, 1.0], [np.inf, 1.0, 1.0]]])
    target = compiled(LOGITS, np.array([[[255, 1, 2], [255, 1, 2]]]), weights)
    assert target.weights.tolist() == [[[0, 1, 1], [0, 1, 1]]]


@pytest.mark.parametrize(
    ("logits", "labels", "weights", "message"),
    [
        ((2, 3, 4), (2, 3), None, r"Logits of shape \(2, 3, 4\): they must be \(batch, height, width, classes\)"),
        ((1, 2, 3, 256), (1, 2, 3), None, r"Logits of 256 classes: the label 255 means void, so at most 255"),
        (
            (1, 2, 3, 4),
            (1, 2, 4),
            None,
            r"Labels of shape \(1, 2, 4\) do not fit logits of shape \(1, 2, 3, 4\): resize the logits",
        ),
        ((1, 2, 3, 4), (1, 2, 3, 3), None, r"give soft labels one value per logit"),
        (
            (1, 2, 3, 4),
            (2, 3),
            None,
            r"Labels of shape \(2, 3\) and dtype .*: they must be class indices \(batch, height, width\)",
        ),
        ((1, 2, 3, 4), (1, 2, 3), (1, 2, 3, 1), r"pixel_weights of shape \(1, 2, 3, 1\) must be \(1, 2, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(logits, labels, weights, message):
    given = jnp.zeros(labels, jnp.float32 if len(labels) == 4 else jnp.uint8)
    # With type checking on, as in this suite, some of these are refused earlier, by their types.
    with pytest.raises((InputError, TypeError)) as error:
        prepare(jnp.zeros(logits), given, None if weights is None else jnp.zeros(weights))
    if isinstance(error.value, InputError):
        assert error.match(message)


def test_dtypes_that_do_not_fit():
    with pytest.raises(InputError, match=r"Labels of shape \(1, 2, 3\) and dtype float32: they must be class indices"):
        prepare(jnp.asarray(LOGITS), jnp.zeros((1, 2, 3)))
    with pytest.raises(InputError, match=r"dtype int32: .* soft labels \(batch, height, width, classes\) of a floating dtype"):
        prepare(jnp.asarray(LOGITS), jnp.zeros((1, 2, 3, 4), jnp.int32))


def test_class_weights_are_as_many_as_classes():
    assert class_vector(None, (0.0, 1.0)).tolist() == [0, 1]
    with pytest.raises(InputError, match=r"class_weights has 2 numbers for 3 classes: give one per class"):
        class_vector((1.0, 2.0), (1.0,) * 3)
