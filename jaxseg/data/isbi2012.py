"""ISBI 2012: neuronal membranes in electron microscopy, the data of the U-Net paper.

30 slices of 512x512 pixels, one channel, from serial-section transmission electron microscopy of the ventral nerve cord of a
*Drosophila* larva (2x2x1.5 micrometres, 4x4x50 nanometres per voxel). The test labels of the challenge were never published, so
people hold back some of the 30.

Papers: Cardona et al., "An Integrated Micro- and Macroarchitectural Analysis of the Drosophila Brain by Computer-Assisted Serial
Section Electron Microscopy", PLoS Biology 2010; Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation
algorithms for connectomics", Frontiers in Neuroanatomy 2015, https://doi.org/10.3389/fnana.2015.00142.

The challenge gives two stacks; this cuts them into the layout that is read here::

    from pathlib import Path
    import tifffile
    for stack, suffix in (("train-volume.tif", ""), ("train-labels.tif", "annot")):
        for index, page in enumerate(tifffile.imread(stack)):
            folder = Path("isbi2012", ("train" if index < 22 else "val" if index < 25 else "test") + suffix)
            folder.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / f"{index:02}.tif", page)
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxseg.data.decode import LabelMap
from jaxseg.data.folder import Folder


@dataclass(frozen=True)
class ISBI2012(Folder):
    """ISBI 2012 in one file per slice: ``train``, ``trainannot``, ``val``, ``valannot`` and so on.

    Labels may store cells as 255, as the challenge does, or as 1; no pixel is void. About 22 % of the pixels are membrane. For
    the other attributes see :class:`jaxseg.data.folder.Folder`.
    """

    root: str = "~/data/isbi2012"
    num_classes: int = 2
    class_names: tuple[str, ...] = ("membrane", "cell")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (255, 255, 255))
    num_channels: int = 1
    void_index: int | None = None
    label_map: LabelMap = ((0, 0), (1, 1), (255, 1))

    where_from: ClassVar[str] = (
        "The stacks train-volume.tif and train-labels.tif come from the ISBI 2012 challenge "
        "(https://imagej.net/events/isbi-2012-segmentation-challenge); the help of jaxseg.data.isbi2012 cuts them into files."
    )
