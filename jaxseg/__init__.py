"""Semantic segmentation in JAX and Flax.

>>> import jaxseg                                                     # doctest: +SKIP
>>> labels = jaxseg.load("runs/setr-scenes").predict(image)           # doctest: +SKIP

Rooms, in the order in which a newcomer reads them:

    jaxseg.config       what a run is
    jaxseg.models       the networks, one file per paper
    jaxseg.train        the loop (``python -m jaxseg.train``), over the pure ``jaxseg.step.update``
    jaxseg.losses, jaxseg.metrics, jaxseg.schedules, jaxseg.optimizers
    jaxseg.data         sources, augmentation, loading
    jaxseg.ops          the array functions under the networks
    jaxseg.inference    trained networks on images of any size
    jaxseg.visualize    pictures
    jaxseg.history      the curves of a run (``jaxseg.read_history(workdir)``)
    jaxseg.weights      published weights in, ours out
"""

from jaxseg.config import Config
from jaxseg.history import read_history
from jaxseg.inference import Predictor, load

__all__ = ["Config", "Predictor", "load", "read_history"]
