"""The TFDS builder of the drawn street scenes: ``tfds.builder`` users can read them like any other data set."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from jaxseg.data.scene_drawing import CLASS_NAMES, draw_scene

_DESCRIPTION = """Street scenes that jaxseg draws itself: sky, road, building, tree, car and person, in perspective, under changing
light, with occlusion, shadows, blur and noise. The colours of the classes overlap, so that only shape and context tell them apart."""

#: The number of each split in the seed of its scenes.
_SPLITS = {"train": 0, "val": 1, "test": 2}


@dataclasses.dataclass
class ScenesConfig(tfds.core.BuilderConfig):
    """What determines the scenes.

    Attributes:
        size: height and width.
        counts: scenes of train, val and test.
        seed: of all drawing.
    """

    size: tuple[int, int] = (96, 128)
    counts: tuple[int, int, int] = (2000, 200, 200)
    seed: int = 0


def scenes_config(size: tuple[int, int], counts: tuple[int, int, int], seed: int) -> ScenesConfig:
    """Return the builder's configuration, under a name that no other values share."""
    name = f"{size[0]}x{size[1]}_{'_'.join(map(str, counts))}_seed{seed}"
    return ScenesConfig(name=name, size=size, counts=counts, seed=seed)


class ScenesBuilder(tfds.core.GeneratorBasedBuilder):
    """Builder of the drawn street scenes; scene i of a split depends on (seed, split, i) alone."""

    name = "jaxseg_scenes"
    #: Counts up whenever drawing changes, so that nobody reads the scenes of another version.
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [scenes_config((96, 128), (2000, 200, 200), 0)]  # noqa: RUF012 - TFDS wants a list

    def _info(self) -> tfds.core.DatasetInfo:
        height, width = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(height, width, 3), dtype=np.uint8, encoding_format="png"),
                    "label": tfds.features.Image(shape=(height, width, 1), dtype=np.uint8, encoding_format="png"),
                    "name": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(class_names=list(CLASS_NAMES)),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._generate_examples(split, count) for split, count in zip(_SPLITS, self.builder_config.counts)}

    def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for i in range(count):
            rng = np.random.default_rng([self.builder_config.seed, _SPLITS[split], i])
            image, label = draw_scene(rng, self.builder_config.size)
            png = {"image": cv2.cvtColor(image, cv2.COLOR_RGB2BGR), "label": label}
            encoded = {key: cv2.imencode(".png", pixels)[1].tobytes() for key, pixels in png.items()}
            yield i, {**encoded, "name": f"{split}_{i:05d}"}
