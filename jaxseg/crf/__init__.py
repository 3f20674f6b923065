"""The fully connected CRF of Krähenbühl and Koltun: mean field, and the filters that make it fast."""

from jaxseg.crf.exact import Exact
from jaxseg.crf.kernels import Filter, build_kernel, default_filter
from jaxseg.crf.lattice import Permutohedral
from jaxseg.crf.local import Local
from jaxseg.crf.mean_field import iterate, mean_field, mean_field_energy, unary_from_labels
from jaxseg.crf.parameters import SETS, Parameters
from jaxseg.crf.separable import Separable

__all__ = [
    "SETS",
    "Exact",
    "Filter",
    "Local",
    "Parameters",
    "Permutohedral",
    "Separable",
    "build_kernel",
    "default_filter",
    "iterate",
    "mean_field",
    "mean_field_energy",
    "unary_from_labels",
]
