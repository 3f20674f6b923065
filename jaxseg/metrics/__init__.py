"""Metrics: accumulators that are additive over batches, devices and hosts, and read once per data set.

========================  =====================================================================================
``ConfusionMatrix``       pixel accuracy, mean accuracy, IoU, mean IoU, frequency-weighted IoU, Dice
``BoundaryF1``            the F1 of boundaries
``CalibrationError``      whether confidence can be believed
``merge_stacked``         what ``vmap`` or ``pmap`` stacked along a first axis
``merge_over_axis``       over a named axis of devices
``merge_over_processes``  over the processes of a job
``score_images``          mean IoU and pixel accuracy of each image, collected by ``ImageScores``
``match_segments``        names for the segments of an unsupervised network
``draw_confusion``        a confusion matrix as a picture
========================  =====================================================================================

The first three are the metrics. Each has ``empty``, ``update``, ``merge`` and ``scores``; all but ``scores`` run under ``jit``.
Counts are exact up to 2^64.
"""

from jaxseg.metrics.boundary import BoundaryF1 as BoundaryF1
from jaxseg.metrics.calibration import CalibrationError as CalibrationError
from jaxseg.metrics.confusion import ConfusionMatrix as ConfusionMatrix
from jaxseg.metrics.images import ImageScores as ImageScores
from jaxseg.metrics.images import score_images as score_images
from jaxseg.metrics.matching import match_segments as match_segments
from jaxseg.metrics.merge import merge_over_axis as merge_over_axis
from jaxseg.metrics.merge import merge_over_processes as merge_over_processes
from jaxseg.metrics.merge import merge_stacked as merge_stacked
from jaxseg.metrics.picture import draw_confusion as draw_confusion
