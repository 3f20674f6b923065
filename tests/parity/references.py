"""Networks of other libraries, with random weights, for comparison: how to import, fill, save, run and train them.

A library that is missing skips the test file that asks for it here, and says so; in CI one that is installed there
fails it (:mod:`required`).
"""

import contextlib
import functools
import importlib
import warnings

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from required import import_or_skip

from jaxseg import losses, objectives, weights
from jaxseg.override import children
from jaxseg.weights.matching import flat

#: The libraries that CI installs.
NEEDED = ("torch", "torchvision", "timm", "transformers")


def _import(name):
    return import_or_skip(name, why="the parity tests compare with it", in_ci=name in NEEDED)


torch = _import("torch")

LEARNING_RATE = 0.1


@functools.cache
def _declare_operators():
    """Let torchvision, built for another device, be imported beside a CPU build of PyTorch: its operators stay undefined."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # it is declared: by torchvision itself, or by another test
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def require(name):
    """Import a library of networks, or skip the file that asks; one of ``NEEDED`` that is missing fails it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _declare_operators()
        return _import(name)


def randomise(network, seed=0):
    """Fill every parameter, table, bias and running statistic with random values of a size at which signals stay alive."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, deviation):
        tensor.copy_(deviation * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, tensor in network.state_dict().items():  # not buffers that are made anew, such as masks
            last = name.rpartition(".")[2]
            if last == "running_var" or (last == "weight" and tensor.ndim == 1):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif last in ("weight", "in_proj_weight") and tensor.ndim > 1:
                normal(tensor, (1.5 / tensor[0].numel()) ** 0.5)
            elif tensor.is_floating_point():
                normal(tensor, 0.2)
    return network


def image(*size, channels=3, batch=2, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, *size, channels)).astype(np.float32)


def labels(*size, classes, batch=2, seed=1):
    """Random labels, some of them void."""
    random = np.random.default_rng(seed)
    return np.where(random.random((batch, *size)) < 0.1, 255, random.integers(0, classes, (batch, *size)))


def to_torch(x):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, 3, 1)))


def from_torch(t, channels_last=False):
    t = t.detach()
    return (t.movedim(1, 3) if t.ndim == 4 and not channels_last else t).numpy()


def close(got, want, tolerance=1e-4):
    """Assert that arrays agree to a share of the wanted one's largest value."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    scale = np.abs(want).max()
    assert scale > 0
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=tolerance)


def converted(network, model, tmp_path, *, unused=(), form="safetensors"):
    """Save a reference, load it into ours, and assert that nothing is left at its initial value."""
    path = tmp_path / f"reference.{form}"
    if form == "safetensors":
        importlib.import_module("safetensors.torch").save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    loaded = weights.load(model, path)
    assert loaded.match.missing == loaded.match.other_shape == ()
    assert sorted(loaded.match.unused) == sorted(unused)
    return loaded


def outputs(network, names, x, channels_last=False):
    """Run a reference in evaluation and return what the modules of these names give, channels last, then its own output."""
    found, handles = {}, []
    for name in names:
        # A copy, for the ReLU that follows may work in place.
        keep = lambda *a, name=name: found.update({name: a[2].clone()})  # noqa: E731
        handles.append(network.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        out = network.eval()(to_torch(x))
    for handle in handles:
        handle.remove()
    return [from_torch(found[name], channels_last) for name in names], out


def apply(model, variables, x, method=None):
    """Run ours in evaluation, compiled quickly."""
    run = jax.jit(lambda v, x: model.apply(v, x, method=method))
    return run.lower(variables, jnp.asarray(x)).compile(FAST)(variables, jnp.asarray(x))


#: Compiling takes longer than running here.
FAST = {"xla_backend_optimization_level": 0}


def step_of_theirs(network, loss_of, x):
    """Train a reference for one step of SGD; return loss, gradients and new state, all by its names.

    Its running variances are unbiased, ours are not: what this step added is multiplied by ``(n - 1) / n``, where ``n`` is the
    number of values that the variance is over.
    """
    counts, handles = {}, []
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            count = lambda module, inputs, name=name: counts.update({name: inputs[0].numel() // inputs[0].shape[1]})  # noqa: E731
            handles.append(module.register_forward_pre_hook(count))
    network.train()
    loss = loss_of(network(to_torch(x)))
    loss.backward()
    for handle in handles:
        handle.remove()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    torch.optim.SGD(network.parameters(), LEARNING_RATE).step()
    after = {name: value.clone() for name, value in network.state_dict().items()}
    for name, n in counts.items():
        kept = (1 - network.get_submodule(name).momentum) * before[f"{name}.running_var"]
        after[f"{name}.running_var"] = kept + (after[f"{name}.running_var"] - kept) * (n - 1) / n
    return float(loss.detach()), gradients, after


def compare_step(network, loss_of, model, own_loss, x, tmp_path, tolerance=1e-5):
    """Train both for one step from the same weights and compare loss, gradients, batch statistics and parameters.

    In float64: in float32 a ReLU whose input is rounded to the other side of 0 changes gradients of late layers, which have few
    values, by percents, in either library; there are some such inputs in any network.

    Args:
        network: the reference, with random weights and its dropout off.
        loss_of: of its output, a scalar tensor.
        model: ours; its dropout is taken out.
        own_loss: of our model, variables, and image: the loss and the new ``batch_stats``.
        x: the images.
        tmp_path: for the files.
        tolerance: share of each array's largest value.
    """
    network.double()
    model = in_float64(model)
    with jax.enable_x64(True):
        shapes = jax.eval_shape(lambda: _variables(model, x))
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
        variables = dict(_load(network.state_dict(), model, tmp_path, zeros))
        want_loss, want_gradients, want_after = step_of_theirs(network, loss_of, x.astype(np.float64))
        params = variables.pop("params")

        def objective(params):
            with flax.linen.intercept_methods(_no_dropout):
                return own_loss(model, params, variables, jnp.asarray(x, jnp.float64))

        run = jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(params).compile(FAST)
        (loss, state), gradients = run(params)
        updates = optax.sgd(LEARNING_RATE).update(gradients, optax.sgd(LEARNING_RATE).init(params))[0]
        after = {"params": optax.apply_updates(params, updates), **state}
        assert float(loss) == pytest.approx(want_loss, rel=tolerance)
        same_trees({"params": gradients}, {"params": _load(want_gradients, model, tmp_path, zeros)["params"]}, tolerance)
        same_trees(after, _load(want_after, model, tmp_path, zeros), tolerance)


def in_float64(module):
    """Return a module that computes in float64, and so do those that are its fields."""
    inside = {name: in_float64(child) for name, child in children(module).items() if isinstance(child, flax.linen.Module)}
    return module.clone(dtype=jnp.float64, **inside)


def _variables(model, x):
    key = jax.random.key(0)
    found = model.init({"params": key, "dropout": key}, jnp.asarray(x), train=True)
    return {name: found[name] for name in ("params", "batch_stats") if name in found}


def _no_dropout(function, args, kwargs, context):
    return args[0] if isinstance(context.module, flax.linen.Dropout) else function(*args, **kwargs)


def _load(state, model, tmp_path, variables):
    path = tmp_path / "state.pth"
    torch.save(state, path)
    return weights.load(model, path, variables=variables).variables


def same_trees(got, want, tolerance):
    got, want = flat(got), flat(want)
    assert got.keys() == want.keys()
    largest = max(np.abs(value).max() for value in want.values())
    for name, value in want.items():
        # A gradient that cancels (a bias before a norm) is rounding in both: its own largest value is no measure.
        scale = max(np.abs(value).max(), 1e-3 * largest)
        difference = np.abs(np.asarray(got[name]) - value).max()
        assert difference <= tolerance * scale, f"{name}: {difference:.3g} of {scale:.3g}"


def segmentation_loss(y):
    """Our train step's own objective: cross entropy, auxiliary heads with their weights; its loss and new statistics."""

    def loss(model, params, state, x):
        batch = {"image": x, "label": jnp.asarray(y)}
        options = {"model": model, "loss": losses.cross_entropy, "step": jnp.int32(0), "key": jax.random.key(0)}
        return objectives.supervised(params, state, batch, **options)

    return loss


def their_segmentation_loss(y, auxiliary_weight):
    """torchvision's own: cross entropy of ``out`` and, weighted, of ``aux``."""

    def loss(out):
        one = torch.nn.CrossEntropyLoss(ignore_index=255)
        return one(out["out"], torch.tensor(y)) + auxiliary_weight * one(out["aux"], torch.tensor(y))

    return loss


def _projection(shape):
    return np.random.default_rng(5).normal(size=shape) / shape[0]


def projection_loss(model, params, state, x):
    """For backbones: the last map, channels first, times random numbers."""
    maps, changed = model.apply({"params": params, **state}, x, train=True, mutable=list(state))
    flat_map = jnp.moveaxis(maps[-1], 3, 1).reshape(x.shape[0], -1)
    return (flat_map * _projection(flat_map.shape)).sum(), changed


def their_projection_loss(out):
    flat_map = out.flatten(1)
    return (flat_map * torch.tensor(_projection(tuple(flat_map.shape)))).sum()


def image_loss(y):
    """For classifiers: cross entropy of whole images."""

    def loss(model, params, state, x):
        logits = model.apply({"params": params, **state}, x, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(y)).mean(), state

    return loss


def their_image_loss(y):
    return lambda out: torch.nn.functional.cross_entropy(out, torch.tensor(y))


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


def reverse(variables, model, source, network, tmp_path):
    """Assert that what we save is, strictly, what the reference takes, and makes it what it was."""
    weights.save(variables, tmp_path / "ours.safetensors", model=model, source=source)
    state = importlib.import_module("safetensors.torch").load_file(tmp_path / "ours.safetensors")
    want = {name: value.clone() for name, value in network.state_dict().items()}
    randomise(network, seed=7)
    network.load_state_dict(state, strict=True)
    for name, value in network.state_dict().items():
        assert torch.equal(value, want[name]), name
