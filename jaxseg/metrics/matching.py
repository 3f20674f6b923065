"""Names for segments: what an unsupervised network found is compared with classes only after each segment was given one.

The labels choose the names, and nothing else: the network has not seen them. Scores after matching say how well the segments
could be named, and are higher than a network's that names them itself would be.
"""

import numpy as np
from jaxtyping import Int, Integer
from scipy.optimize import linear_sum_assignment

from jaxseg.errors import InputError


def match_segments(counts: Integer[np.ndarray, "classes segments"]) -> Int[np.ndarray, " segments"]:
    """Return the class of each segment that makes the most pixels right.

    With no more segments than classes, each gets another class (the assignment problem, by the Hungarian method; Kuhn, 1955);
    the classes that are left are then never predicted. With more segments than classes, each gets the class of most of its
    pixels, the first of equals, and a class may get many or none: the more segments, the better it looks.

    Args:
        counts: pixels of each class (rows) by segment (columns).

    Raises:
        InputError: there is no class or no segment.

    >>> match_segments(np.array([[1, 8], [7, 9]])).tolist()  # 8 + 7 pixels are right
    [1, 0]
    >>> match_segments(np.array([[1, 8, 0], [7, 9, 3]])).tolist()
    [1, 1, 1]
    """
    classes, segments = counts.shape
    if not classes or not segments:
        raise InputError(f"{classes} classes and {segments} segments cannot be matched: there must be one of each.")
    if segments > classes:
        return np.argmax(counts, axis=0)
    rows, columns = linear_sum_assignment(counts.astype(np.float64), maximize=True)
    found = np.empty(segments, np.int64)
    found[columns] = rows
    return found
