"""Oxford-IIIT Pet: 7,349 photographs of cats and dogs, as TensorFlow Datasets prepares them.

3,680 images to train and 3,669 to test, of many sizes, with a trimap each: pet, background, and a border around the pet that is
neither. The border is void here, which leaves two classes.

Paper: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012, https://www.robots.ox.ac.uk/~vgg/data/pets/.
Licence: CC BY-SA 4.0.
"""

from dataclasses import dataclass

from jaxseg.data.decode import LabelMap
from jaxseg.data.folder import Folder
from jaxseg.data.prepared import PreparedSplit, open_records
from jaxseg.errors import InputError
from jaxseg.types import VOID

_SPLITS = {"train": "train[:90%]", "val": "train[90%:]", "test": "test"}


@dataclass(frozen=True)
class OxfordIIITPet(Folder):
    """The TFDS data set ``oxford_iiit_pet``, prepared anywhere in a format of random access (``array_record``).

    TFDS has no validation split: ``val`` is the last tenth of its ``train`` (which is in random order), and ``train`` the rest.
    For the other attributes see :class:`jaxseg.data.folder.Folder`.

    Attributes:
        root: the TFDS data directory, or the folder of one version in it; ``~`` is expanded where it is read.
        class_names: ``pet`` and ``background``.
        palette: their colours.
    """

    root: str = "~/tensorflow_datasets"
    num_classes: int = 2
    class_names: tuple[str, ...] = ("pet", "background")
    palette: tuple[tuple[int, int, int], ...] = ((220, 20, 60), (0, 0, 0))
    void_index: int | None = None
    label_map: LabelMap = ((1, 0), (2, 1), (3, VOID))

    def split(self, name: str) -> PreparedSplit:
        """Open a split for random access; images are decoded when they are asked for, and safely from several threads.

        Raises:
            InputError: if there is no such split, or no prepared data; it says how to prepare it.
        """
        if name not in _SPLITS:
            raise InputError(f"The pets have no split {name!r}; they have {', '.join(_SPLITS)}.")
        records = open_records(
            self.root,
            "oxford_iiit_pet",
            _SPLITS[name],
            image="image",
            label="segmentation_mask",
            name="file_name",
            build="tfds build oxford_iiit_pet",
        )
        return PreparedSplit(self, records.pairs(), records)
