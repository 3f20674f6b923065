"""The networks, one file per paper."""

from jaxseg.models.setr import SETRNaive
from jaxseg.models.unet import UNet

__all__ = ["SETRNaive", "UNet"]
