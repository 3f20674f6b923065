"""The networks, one file per paper."""

from jaxseg.models.crf_rnn import CRFRNN
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.fcn import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.models.segnet import SegNet, SegNetBasic
from jaxseg.models.setr import SETRNaive
from jaxseg.models.unet import UNet
from jaxseg.models.unet_backbone import UNetBackbone
from jaxseg.models.wnet import WNet

__all__ = [
    "CRFRNN",
    "FCN",
    "DeconvNet",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "SETRNaive",
    "SegNet",
    "SegNetBasic",
    "UNet",
    "UNetBackbone",
    "WNet",
]
