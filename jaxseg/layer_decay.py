"""Layer-wise learning rate decay: the deeper below the head a parameter lies, the less it moves.

Clark et al., ELECTRA, 2020, https://arxiv.org/abs/2003.10555, section 3; for fine-tuning vision transformers Bao et al., BEiT,
2022, https://arxiv.org/abs/2106.08254. What a pre-trained network knows in its first layers is kept.
"""

import re
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from jaxseg.errors import InputError

#: A block of a backbone, and the number of its stage if it has stages: ViT's ``block7``, Swin's and ResNet's ``stage3_block1``.
_BLOCK = re.compile(r"(?:stage(\d+)_)?block(\d+)")

#: What follows a stage and belongs to its last block: Swin's ``merge1`` and ``norm1``.
_AFTER = re.compile(r"(?:merge|norm)(\d+)")


def depths(params: PyTree) -> PyTree:
    """Return for each parameter how many blocks of the backbone lie at or above it; 0 outside the backbone.

    The last block has 1, the first as many as there are blocks, the embedding of patches and positions (or the stem) one more.

    Raises:
        InputError: where there is no ``backbone``, or none with blocks that are named so.
    """
    children = params.get("backbone", {}) if isinstance(params, dict) else {}
    found = {name: match for name in children if (match := _BLOCK.fullmatch(name))}
    if not found:
        raise InputError(
            "layer_decay needs a network with a `backbone` of blocks, such as ViT, Swin or ResNet, and this one has none: "
            "set optimizer.layer_decay=1.0."
        )
    order = sorted(found, key=lambda name: [int(n or 0) for n in found[name].groups()])
    above = {name: len(order) - i for i, name in enumerate(order)}

    def depth(name: str) -> int:
        after = _AFTER.fullmatch(name)
        if after:
            stage = [above[block] for block in order if found[block].group(1) == after.group(1)]
            return min(stage, default=len(order) + 1)
        return above.get(name, len(order) + 1)

    return jax.tree_util.tree_map_with_path(lambda path, _: depth(_key(path[1])) if _key(path[0]) == "backbone" else 0, params)


def scale_by_depth(decay: float) -> optax.GradientTransformation:
    """Multiply each update, weight decay's part included, by ``decay ** depth``; :func:`depths` says how deep each is.

    Raises:
        InputError: for a decay that is not in ``(0, 1]``.
    """
    if not 0.0 < decay <= 1.0:
        raise InputError(f"layer_decay={decay} must lie in (0, 1]: each block moves that much less than the one above it.")
    if decay == 1.0:
        return optax.identity()

    def scale(updates: PyTree, _: PyTree) -> PyTree:
        return jax.tree.map(lambda update, depth: decay**depth * update, updates, depths(updates))

    return optax.stateless(scale)


def _key(entry: Any) -> str:
    return str(getattr(entry, "key", entry))
