"""All kinds of files that are known, in the order in which they are tried: a whole network before its parts."""

from jaxseg.weights import caffe, mmseg, smp, timm, torchvision, transformers
from jaxseg.weights.formats import Format

FORMATS: tuple[Format, ...] = (
    *torchvision.FORMATS,
    *timm.FORMATS,
    *transformers.FORMATS,
    *mmseg.FORMATS,
    *smp.FORMATS,
    *caffe.FORMATS,
)
