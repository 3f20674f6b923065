"""The backbones, one file per paper: features of an image, finest first."""

from jaxseg.models.backbones.resnet import ResNet
from jaxseg.models.backbones.swin import Swin, SwinClassifier
from jaxseg.models.backbones.vgg import VGG16
from jaxseg.models.backbones.vit import ViT, ViTClassifier
from jaxseg.models.backbones.xception import Xception65

__all__ = ["VGG16", "ResNet", "Swin", "SwinClassifier", "ViT", "ViTClassifier", "Xception65"]
