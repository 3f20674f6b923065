"""The networks, one file per paper."""

from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.fcn import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.models.segnet import SegNet, SegNetBasic
from jaxseg.models.setr import SETRMLA, SETRPUP, SETRNaive
from jaxseg.models.transformer import Transformer
from jaxseg.models.unet import UNet
from jaxseg.models.unet_backbone import UNetBackbone
from jaxseg.models.upernet import UPerNet
from jaxseg.models.wnet import WNet

__all__ = [
    "FCN",
    "SETRMLA",
    "SETRPUP",
    "DeconvNet",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "SETRNaive",
    "SegNet",
    "SegNetBasic",
    "Transformer",
    "UNet",
    "UNetBackbone",
    "UPerNet",
    "WNet",
]
