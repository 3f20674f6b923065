"""Every shipped config and recipe is traced through one whole update, without computing anything."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxseg import describe
from jaxseg.config import load
from jaxseg.config_files import import_config, split_spec
from jaxseg.data.source import Source
from jaxseg.errors import InputError
from jaxseg.step import create_state, update

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = [(path, recipe) for path in sorted(CONFIGS.glob("*.py")) for recipe in import_config(path).RECIPES]


def test_found_every_config():
    """Guards against a glob that finds nothing, and a file that names no recipe."""
    files = {path.name for path in CONFIGS.iterdir() if path.suffix == ".py"}
    assert {path.name for path, _ in RECIPES} == files
    assert {("setr.py", "scenes"), ("unet.py", "scenes"), ("unet.py", "camvid")} <= {(p.name, r) for p, r in RECIPES}


@pytest.mark.parametrize(("path", "recipe"), RECIPES, ids=[f"{p.stem}-{r}" for p, r in RECIPES])
def test_traces_one_update(path, recipe):
    config = load(f"{path}:{recipe}")
    assert isinstance(config.data, Source)
    optimizer, schedule = config.make_optimizer()
    key = jax.random.key(0)
    size = (config.batch_size, *config.crop_size)
    image = jax.ShapeDtypeStruct((*size, config.data.num_channels), jnp.float32)
    label = jax.ShapeDtypeStruct(size, jnp.uint8)

    def one(image, label):
        state = create_state(config.model, optimizer, image, key=key, ema=config.ema_decay is not None)
        batch = {"image": image, "label": label}
        options = {"model": config.model, "loss": config.loss, "objective": config.objective, "ema_decay": config.ema_decay}
        return state, *update(state, batch, optimizer=optimizer, key=key, **options)

    before, after, scalars = jax.eval_shape(one, image, label)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert scalars["loss"].shape == ()
    assert 0 < float(schedule(config.steps // 2)) < 1
    logits = jax.eval_shape(lambda v, x: config.model.apply(v, x), before.variables, image)
    output_size = getattr(config.model, "output_size", lambda side: side)
    assert logits.shape == (config.batch_size, *(output_size(side) for side in config.crop_size), config.model.num_classes)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize(("path", "recipe"), RECIPES, ids=[f"{p.stem}-{r}" for p, r in RECIPES])
def test_can_be_written_and_read_back(path, recipe):
    config = load(f"{path}:{recipe}")
    description = describe.to_json(config)
    assert describe.to_json(describe.from_json(description)) == description


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_docstring_gives_the_command_of_every_recipe(path):
    module = import_config(path)
    _, *others = module.RECIPES
    for command in (f"--config configs/{path.name}\n", *(f"--config configs/{path.name}:{recipe}" for recipe in others)):
        assert command in module.__doc__


def test_default_recipe_is_the_first():
    default, named = load(str(CONFIGS / "unet.py")), load(f"{CONFIGS / 'unet.py'}:scenes")
    assert describe.to_json(default) == describe.to_json(named)


def test_overrides_apply():
    config = load(str(CONFIGS / "unet.py"), ["steps=7", "model.width=8", "data.seed=3"])
    assert (config.steps, config.model.width, config.data.seed) == (7, 8, 3)


@pytest.mark.parametrize(
    ("spec", "assignments", "message"),
    [
        ("configs/unett.py", [], "There is no config file configs/unett.py. Did you mean 'unet.py'?"),
        ("nowhere/unet.py", [], "There is no config file nowhere/unet.py. Known: none."),
        ("configs/unet.py:camvit", [], "configs/unet.py has no recipe 'camvit'. Did you mean 'camvid'?"),
        ("jaxseg/types.py", [], "jaxseg/types.py is no config: it must define RECIPES"),
        ("configs/unet.py", ["model.num_classes=4"], "num_classes=4, but the data has 6 classes (sky, road"),
        ("configs/unet.py", ["normalise.mean=(0.5, 0.5)"], "normalise.mean has 2 values, but the images have 3 channels"),
        ("configs/unet.py", ["steps=0"], "steps=0 must be at least 1"),
        ("configs/unet.py", ["crop_size=(0, 8)"], "crop_size=(0, 8) must be a height and a width of at least 1"),
        ("configs/unet.py", ["ema_decay=1.0"], "ema_decay=1.0 must lie in [0, 1), or be None"),
    ],
)
def test_refuses(monkeypatch, spec, assignments, message):
    monkeypatch.chdir(CONFIGS.parent)
    with pytest.raises(InputError) as error:
        load(spec, assignments)
    assert message in str(error.value)


def test_specs_split_at_the_recipe_alone():
    assert split_spec("configs/setr.py") == (Path("configs/setr.py"), None)
    assert split_spec("configs/setr.py:ade20k") == (Path("configs/setr.py"), "ade20k")
    assert split_spec("C:/configs/setr.py") == (Path("C:/configs/setr.py"), None)


def test_config_is_frozen():
    config = load(str(CONFIGS / "unet.py"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3
