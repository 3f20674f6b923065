"""Losses: pure functions ``loss(logits, labels, *, ...)`` of unnormalised scores and class indices, or soft labels.

============================  =====================================================================================
at every pixel                ``cross_entropy``, ``weighted_cross_entropy``, ``balanced_cross_entropy``
at the hard pixels            ``focal``, ``ohem_cross_entropy``
of regions                    ``dice``, ``tversky``, ``jaccard``, ``lovasz_softmax``, ``lovasz_hinge``
sums of these                 ``weighted_sum``
without labels                ``soft_normalised_cut``, ``reconstruction_error``
class weights from data       ``count_pixels``, ``median_frequency_weights``, ``inverse_log_frequency_weights``
============================  =====================================================================================

Pixels whose label is VOID count nowhere: a batch without any other has the loss 0 and the gradient 0. One logit or two make a
binary problem of the labels 0 and 1. Arguments are bound by :func:`functools.partial`: ``partial(focal, gamma=3.0)``.
"""

from jaxseg.losses.class_weights import PixelCounts as PixelCounts
from jaxseg.losses.class_weights import count_pixels as count_pixels
from jaxseg.losses.class_weights import inverse_log_frequency_weights as inverse_log_frequency_weights
from jaxseg.losses.class_weights import median_frequency_weights as median_frequency_weights
from jaxseg.losses.combine import sum_of_losses as sum_of_losses
from jaxseg.losses.combine import weighted_sum as weighted_sum
from jaxseg.losses.hard_pixels import focal as focal
from jaxseg.losses.hard_pixels import ohem_cross_entropy as ohem_cross_entropy
from jaxseg.losses.lovasz import lovasz_hinge as lovasz_hinge
from jaxseg.losses.lovasz import lovasz_softmax as lovasz_softmax
from jaxseg.losses.normalised_cut import reconstruction_error as reconstruction_error
from jaxseg.losses.normalised_cut import soft_normalised_cut as soft_normalised_cut
from jaxseg.losses.pixelwise import balanced_cross_entropy as balanced_cross_entropy
from jaxseg.losses.pixelwise import cross_entropy as cross_entropy
from jaxseg.losses.pixelwise import weighted_cross_entropy as weighted_cross_entropy
from jaxseg.losses.regions import dice as dice
from jaxseg.losses.regions import jaccard as jaccard
from jaxseg.losses.regions import tversky as tversky
