"""The networks, one file per paper."""

from jaxseg.models.crf_rnn import CRFRNN
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.models.deeplab_v1 import DeepLabV1
from jaxseg.models.deeplab_v2 import DeepLabV2
from jaxseg.models.deeplab_v3 import DeepLabV3
from jaxseg.models.deeplab_v3_plus import DeepLabV3Plus
from jaxseg.models.fcn import FCN, FCN8s, FCN16s, FCN32s
from jaxseg.models.pspnet import PSPNet
from jaxseg.models.segnet import SegNet, SegNetBasic
from jaxseg.models.setr import SETRMLA, SETRPUP, SETRNaive
from jaxseg.models.transformer import Transformer
from jaxseg.models.unet import UNet
from jaxseg.models.unet_backbone import UNetBackbone
from jaxseg.models.upernet import UPerNet
from jaxseg.models.wnet import WNet

__all__ = [
    "CRFRNN",
    "FCN",
    "SETRMLA",
    "SETRPUP",
    "DeconvNet",
    "DeepLabV1",
    "DeepLabV2",
    "DeepLabV3",
    "DeepLabV3Plus",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "PSPNet",
    "SETRNaive",
    "SegNet",
    "SegNetBasic",
    "Transformer",
    "UNet",
    "UNetBackbone",
    "UPerNet",
    "WNet",
]
