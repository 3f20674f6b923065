"""Images of bright blobs on dark ground, in the ``images`` and ``labels`` layout."""

import cv2
import numpy as np


def make_folder(root, counts=(("train", 9), ("val", 3)), size=(16, 20)):
    """Write a data set that a network learns in a few steps."""
    rng = np.random.default_rng(0)
    for split, count in counts:
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            rows, columns = np.mgrid[: size[0], : size[1]]
            top, left = rng.integers(4, 12, 2)
            label = ((rows - top) ** 2 + (columns - left) ** 2 < 16).astype(np.uint8)
            image = (60 + 120 * label[..., None] + rng.integers(0, 40, (*size, 3))).astype(np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{split}{i}.png"), image)
            cv2.imwrite(str(root / "labels" / split / f"{split}{i}.png"), label)
    return root
