"""The config of the commands' tests with a network that compiles in a moment, for the tests of the demo page."""

import dataclasses

import commands_config
from smallest_network import SmallestNetwork

RECIPES = commands_config.RECIPES


def get_config(recipe="tiny"):
    """Return the config of a recipe."""
    return dataclasses.replace(commands_config.get_config(recipe), model=SmallestNetwork(num_classes=2))
