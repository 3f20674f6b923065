"""The backbones, one file per paper: features of an image, finest first."""

from jaxseg.models.backbones.vit import ViT

__all__ = ["ViT"]
