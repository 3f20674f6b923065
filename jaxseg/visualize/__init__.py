"""Pictures for people: labels in colour, objects, uncertainty, overlays, errors, legends, sheets, and the files they are kept in.

Pictures are NumPy arrays ``(h, w, 3)``, uint8, RGB. Palettes are one RGB colour per class, as data sources have them.
"""

from jaxseg.visualize.attention import attention_sheet
from jaxseg.visualize.maps import attention_overlay, heat_map, instance_overlay
from jaxseg.visualize.pictures import colorize, error_map, overlay, save_instances, save_mask, save_picture, to_rgb
from jaxseg.visualize.sheets import augmentation_sheet, legend, prediction_sheet, sheet, with_legend

__all__ = [
    "attention_overlay",
    "attention_sheet",
    "augmentation_sheet",
    "colorize",
    "error_map",
    "heat_map",
    "instance_overlay",
    "legend",
    "overlay",
    "prediction_sheet",
    "save_instances",
    "save_mask",
    "save_picture",
    "sheet",
    "to_rgb",
    "with_legend",
]
