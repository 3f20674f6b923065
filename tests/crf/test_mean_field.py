"""Mean field against brute force, against pydensecrf's own answers, and its properties.

``drawn.npz`` holds a drawn image, a unary, and the marginals that pydensecrf 1.0rc3 gives for them, in units of 1 / 65535: 10
iterations with ``addPairwiseGaussian(sxy=3, compat=3)`` and ``addPairwiseBilateral(sxy=50, srgb=5, compat=4)``, normalised
symmetrically, unless the name says otherwise.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import crf
from jaxseg.errors import InputError

FILE = np.load(Path(__file__).with_name("drawn.npz"))
IMAGE, UNARY = jnp.asarray(FILE["image"]), jnp.asarray(FILE["unary"])
LATTICE = crf.Permutohedral()
GIVEN = {"w1": 4.0, "sigma_alpha": 50.0, "sigma_beta": 5.0, "w2": 3.0, "sigma_gamma": 3.0}
EXACT = {"filter": crf.Exact(), "spatial_filter": crf.Separable(reach=None)}


def expected(name):
    return FILE[f"q_{name}"] / 65535


def small(seed=0, size=(9, 12), classes=4):
    """A smooth unary and an image of two flat parts with noise."""
    rng = np.random.default_rng(seed)
    image = np.where(np.arange(size[1])[None, :, None] < size[1] // 2, 60, 160) + rng.normal(0, 6, (*size, 3))
    return jnp.asarray(rng.gamma(2.0, 0.7, (*size, classes)), jnp.float32), jnp.asarray(image.clip(0, 255), jnp.uint8)


def brute_force(unary, image, *, w1, sigma_alpha, sigma_beta, w2, sigma_gamma, normalisation, matrix, iterations=5):
    """The definition, in float64."""
    h, w, k = unary.shape
    place = np.stack(np.mgrid[:h, :w], -1).reshape(-1, 2).astype(float)
    colour = np.asarray(image, float).reshape(-1, 3)
    near, alike = (((x[:, None] - x[None]) ** 2).sum(-1) for x in (place, colour))
    kernels = [np.exp(-near / (2 * sigma_alpha**2) - alike / (2 * sigma_beta**2)), np.exp(-near / (2 * sigma_gamma**2))]
    psi = np.asarray(unary, float).reshape(-1, k)

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def normalised(kernel):
        d = kernel.sum(1)
        before, after = {"symmetric": (-0.5, -0.5), "before": (-1, 0), "after": (0, -1), "none": (0, 0)}[normalisation]
        return d[:, None] ** after * kernel * d[None] ** before

    message = w1 * normalised(kernels[0]) + w2 * normalised(kernels[1])
    q = softmax(-psi)
    for _ in range(iterations):
        q = softmax(-psi - message @ q @ matrix.T)
    return q.reshape(h, w, k)


@pytest.mark.parametrize("normalisation", ["symmetric", "before", "after", "none"])
def test_the_exact_filter_is_the_definition(normalisation):
    unary, image = small()
    given = {"w1": 2.0, "sigma_alpha": 5.0, "sigma_beta": 20.0, "w2": 1.0, "sigma_gamma": 1.5, "normalisation": normalisation}
    matrix = np.random.default_rng(1).normal(size=(4, 4))
    want = brute_force(unary, image, matrix=matrix, **given)
    got = crf.mean_field(unary, image, iterations=5, compatibility=jnp.asarray(matrix, jnp.float32), **given, **EXACT)
    np.testing.assert_allclose(got, want, atol=1e-4)
    potts = brute_force(unary, image, matrix=1 - np.eye(4), **given)
    np.testing.assert_allclose(crf.mean_field(unary, image, iterations=5, **given, **EXACT), potts, atol=1e-4)
    both = {"filter": crf.Exact(block=7), "spatial_filter": crf.Exact()}
    np.testing.assert_allclose(crf.mean_field(unary, image, iterations=5, **given, **both), potts, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("symmetric", {}),
        ("before", {"normalisation": "before"}),
        ("after", {"normalisation": "after"}),
        ("no", {"normalisation": "none"}),
        ("symmetric_1_iterations", {"iterations": 1}),
        ("symmetric_5_iterations", {"iterations": 5}),
        ("gaussian_only", {"w1": 0.0}),
        ("bilateral_only", {"w2": 0.0}),
        (
            "compatibility_bilateral",
            {"w1": 1.0, "compatibility": jnp.asarray(FILE["compatibility"]), "spatial_compatibility": -jnp.ones(5)},
        ),
        ("odd_39x55", {}),
    ],
)
def test_the_lattice_gives_pydensecrfs_marginals(name, changes):
    """pydensecrf filters by the lattice of two dimensions in space as well."""
    want = expected(name)
    h, w, _ = want.shape
    got = crf.mean_field(
        UNARY[:h, :w], IMAGE[:h, :w], **{**GIVEN, "filter": LATTICE, "spatial_filter": LATTICE, "iterations": 10, **changes}
    )
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_compiled_with_the_largest_capacity_it_gives_the_same():
    def run(unary, image):
        return crf.mean_field(unary, image, **GIVEN, filter=LATTICE, spatial_filter=LATTICE)

    np.testing.assert_allclose(jax.jit(run)(UNARY, IMAGE), expected("symmetric"), atol=1e-3)


def test_approximations_are_no_worse_than_pydensecrf():
    exact = np.asarray(crf.mean_field(UNARY, IMAGE, **GIVEN, **EXACT))
    theirs = np.abs(expected("symmetric") - exact).mean()
    ours = np.abs(np.asarray(crf.mean_field(UNARY, IMAGE, **GIVEN, filter=LATTICE)) - exact).mean()
    assert ours < 1.01 * theirs < 1e-3, "the spatial kernel's errors in pydensecrf make up for a little of the other's here"
    separable = crf.mean_field(UNARY, IMAGE, **GIVEN, filter=crf.Exact(), spatial_filter=crf.Separable())
    np.testing.assert_allclose(separable, exact, atol=5e-4)
    for local in (crf.Local(radius=5), crf.Local(samples=256)):
        q = np.asarray(crf.mean_field(UNARY, IMAGE, **GIVEN, filter=local))
        assert (q.argmax(-1) == exact.argmax(-1)).mean() > 0.95


def test_without_normalisation_the_default_makes_up_for_the_lattices_weight():
    given = {**GIVEN, "normalisation": "none"}
    exact = np.asarray(crf.mean_field(UNARY, IMAGE, **given, **EXACT))
    theirs = np.abs(expected("no") - exact).mean()
    as_it_is, ours = (np.abs(np.asarray(crf.mean_field(UNARY, IMAGE, **given, filter=f)) - exact).mean() for f in (LATTICE, None))
    assert ours < 0.1 * theirs < theirs < as_it_is
    (sums, plain), true = (
        [np.asarray(f.build(IMAGE / 5.0, 50.0, None)(jnp.ones((40, 56, 1)))).sum() for f in filters]
        for filters in ((crf.default_filter("none"), crf.default_filter()), (crf.Exact(),))
    )
    assert sums == pytest.approx(true[0], rel=0.05)
    assert plain < 0.7 * true[0]


def test_a_window_over_the_whole_image_is_exact():
    unary, image = small()
    for normalisation in ("symmetric", "none"):
        given = {"normalisation": normalisation, "w1": 0.5, "sigma_alpha": 6.0, "sigma_beta": 15.0}
        want = crf.mean_field(unary, image, **given, **EXACT)
        got = crf.mean_field(unary, image, **given, filter=crf.Local(radius=11), spatial_filter=crf.Separable(reach=None))
        np.testing.assert_allclose(got, want, atol=1e-4)


FILTERS = {"lattice": LATTICE, "exact": crf.Exact(), "window": crf.Local(radius=3), "sampled": crf.Local(samples=32)}


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_marginals_are_probabilities(filter):
    q = crf.mean_field(*small(), filter=filter)
    np.testing.assert_allclose(q.sum(-1), np.ones(q.shape[:2]), atol=1e-5)
    assert float(q.min()) >= 0


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_without_weights_or_iterations_it_is_the_softmax(filter):
    unary, image = small()
    want = jax.nn.softmax(-unary)
    np.testing.assert_array_equal(crf.mean_field(unary, image, w1=0.0, w2=0.0, filter=filter), want)
    np.testing.assert_array_equal(crf.mean_field(unary, image, iterations=0, filter=filter), want)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("filter", "tolerance"), [(crf.Exact(), 1e-5), (crf.Local(radius=3), 1e-5), (LATTICE, 0.06)])
def test_flips_flip(axis, filter, tolerance):
    """The lattice has an origin, from which its simplices look different: it flips within its own error."""
    unary, image = small()
    given = {"w1": 2.0, "sigma_alpha": 8.0, "sigma_beta": 20.0, "w2": 1.0, "filter": filter}
    got = crf.mean_field(jnp.flip(unary, axis), jnp.flip(image, axis), **given)
    np.testing.assert_allclose(got, jnp.flip(crf.mean_field(unary, image, **given), axis), atol=tolerance)


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
def test_permuted_classes_are_permuted(filter):
    unary, image = small()
    order = jnp.array([2, 0, 3, 1])
    got = crf.mean_field(unary[..., order], image, filter=filter)
    np.testing.assert_allclose(got, crf.mean_field(unary, image, filter=filter)[..., order], atol=1e-5)


def test_a_constant_image_is_smoothed_by_a_gaussian_alone():
    unary, image = small()
    given = {"normalisation": "after", "iterations": 3}
    flat = crf.mean_field(unary, jnp.full_like(image, 99), w1=2.0, sigma_alpha=1.5, w2=0.0, sigma_gamma=1.0, **given, **EXACT)
    spatial = crf.mean_field(unary, image, w1=0.0, w2=2.0, sigma_gamma=1.5, **given, **EXACT)
    np.testing.assert_allclose(flat, spatial, atol=1e-6)


@pytest.mark.parametrize("filter", [LATTICE, crf.Exact(), crf.Local(radius=3)], ids=["lattice", "exact", "window"])
def test_gradients_are_those_of_finite_differences(filter):
    unary, image = small(size=(5, 6), classes=3)
    rng = np.random.default_rng(2)
    target = jnp.asarray(rng.normal(size=unary.shape), jnp.float32)
    point = {
        "unary": unary,
        "w1": jnp.float32(1.5),
        "w2": jnp.float32(0.7),
        "mu": jnp.asarray(rng.normal(size=(3, 3)), jnp.float32),
    }

    def value(point):
        q = crf.mean_field(
            point["unary"], image, w1=point["w1"], w2=point["w2"], sigma_alpha=4.0, sigma_beta=30.0, sigma_gamma=1.0,
            iterations=3, normalisation="after", compatibility=point["mu"], filter=filter,
        )  # fmt: skip
        return jnp.sum(q * target)

    value = jax.jit(value)
    gradient = jax.jit(jax.grad(value))(point)
    for name in point:
        direction = jnp.asarray(rng.normal(size=point[name].shape), jnp.float32)
        steps = [value({**point, name: point[name] + sign * 1e-2 * direction}) for sign in (1, -1)]
        np.testing.assert_allclose((gradient[name] * direction).sum(), (steps[0] - steps[1]) / 2e-2, rtol=2e-2, atol=2e-3)


def test_the_lattices_gradient_is_its_transpose():
    _, image = small()
    kernel = LATTICE.build(image.astype(jnp.float32) / 10.0, 4.0, None)
    basis = jnp.eye(108).reshape(9, 12, 108)
    matrix = kernel(basis).reshape(108, 108)
    _, pull = jax.vjp(kernel, basis)
    np.testing.assert_allclose(pull(basis)[0].reshape(108, 108), matrix.T, atol=1e-5)
    assert not np.allclose(matrix, matrix.T, atol=1e-3), "the order of the blurs matters"


def test_images_of_a_batch_are_mapped():
    unary, image = (jnp.stack(x) for x in zip(small(0), small(1)))
    for filter in (crf.Permutohedral(calibrated=True), crf.Permutohedral(capacity=400), crf.Local(radius=2)):
        one = lambda u, i, filter=filter: crf.mean_field(u, i, filter=filter)  # noqa: E731
        got = jax.vmap(one)(unary, image)
        np.testing.assert_allclose(got, jnp.stack([one(u, i) for u, i in zip(unary, image)]), atol=1e-5)


def test_a_capacity_that_is_too_small_is_never_silent():
    unary, image = small()
    tiny = crf.Permutohedral(capacity=20)
    with pytest.raises(InputError, match=r"capacity=20 is too small: the lattice of this image has \d+ vertices"):
        crf.mean_field(unary, image, filter=tiny)
    assert bool(jnp.isnan(jax.jit(lambda u, i: crf.mean_field(u, i, filter=tiny))(unary, image)).all())


def test_pixels_too_far_apart_for_the_lattice_are_refused():
    unary, image = small()
    with pytest.raises(InputError, match=r"cannot number its vertices: the pixels are up to \d+ standard deviations apart"):
        crf.mean_field(unary, image, sigma_beta=1e-3)
    assert bool(jnp.isnan(jax.jit(lambda u, i: crf.mean_field(u, i, filter=LATTICE, sigma_beta=1e-3))(unary, image)).all())


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("normalisation", ["symmetric", "none"])
def test_padding_that_is_masked_changes_nothing(filter, normalisation):
    filter = crf.default_filter(normalisation) if filter == LATTICE else filter
    unary, image = small()
    rng = np.random.default_rng(3)
    padded = jnp.pad(unary, ((0, 3), (0, 5), (0, 0)), constant_values=1.5), jnp.pad(image, ((0, 3), (0, 5), (0, 0)), "reflect")
    mask = jnp.zeros((12, 17), bool).at[:9, :12].set(True)
    given = {"filter": filter, "normalisation": normalisation, "w1": 0.3, "w2": 0.3, "sigma_gamma": float(rng.uniform(1, 2))}
    got = crf.mean_field(*padded, mask=mask, **given)
    np.testing.assert_allclose(got[:9, :12], crf.mean_field(unary, image, **given), atol=2e-5)
    np.testing.assert_allclose(got[~mask], jax.nn.softmax(-padded[0])[~mask], atol=1e-6)


def test_a_void_pixel_takes_its_class_from_its_neighbours():
    labels = np.zeros((8, 10), np.uint8)
    labels[:, 5:] = 1
    image = jnp.asarray(np.repeat(np.where(labels, 200, 30)[:, :, None], 3, -1).astype(np.uint8))
    labels[3:5, 4:6] = 255
    unary = crf.unary_from_labels(jnp.asarray(labels), 3, certainty=0.8)
    np.testing.assert_allclose(jnp.exp(-unary[3, 4]), np.full(3, 1 / 3), rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(-unary[0, 0]), [0.8, 0.1, 0.1], rtol=1e-6)
    q = crf.mean_field(unary, image, filter=crf.Exact())
    assert q.argmax(-1)[3:5, 4:6].tolist() == [[0, 1], [0, 1]]
    with pytest.raises(InputError, match=r"certainty=0.3 must lie between 1 / num_classes = 0.333 and 1"):
        crf.unary_from_labels(jnp.asarray(labels), 3, certainty=0.3)


def test_a_grey_image_and_two_classes():
    unary, image = small(classes=2)
    grey = crf.mean_field(unary, image[..., :1], filter=LATTICE)
    assert grey.shape == unary.shape
    np.testing.assert_allclose(crf.mean_field(unary, image[..., :1], filter=crf.Exact()), grey, atol=0.1)


def test_bad_input_is_refused():
    unary, image = small()
    for arguments, message in (
        ({"image": image[1:]}, r"A unary of shape \(9, 12, 4\), an image of shape \(8, 12, 3\): their heights"),
        ({"mask": jnp.ones((9, 11), bool)}, r"and a mask of shape \(9, 11\)"),
        ({"normalisation": "simmetric"}, r"normalisation='simmetric' is none of the kernel's. Did you mean 'symmetric'"),
        ({"compatibility": jnp.ones((3, 3))}, r"A compatibility of shape \(3, 3\) for 4 classes"),
        ({"iterations": -1}, r"iterations=-1 must be at least 0"),
        ({"filter": crf.Separable()}, r"Separable\(\) filters by positions alone"),
    ):
        with pytest.raises(InputError, match=message):
            crf.mean_field(**{"unary": unary, "image": image, **arguments})
    with pytest.raises(InputError, match=r"samples=3 must be even"):
        crf.Local(samples=3)
    with pytest.raises(InputError, match=r"radius=0 must be at least 1"):
        crf.Local(radius=0)
    with pytest.raises(InputError, match=r"draws its offsets from sigma_alpha, which must be a number"):
        jax.jit(lambda s: crf.mean_field(unary, image, sigma_alpha=s, filter=crf.Local()))(3.0)
