"""What is on the demo page and where: Gradio's components, by name. What happens to them is in :mod:`jaxseg.demo_page`."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from jaxseg import crf, demo_results
from jaxseg.config import Config
from jaxseg.crf.parameters import NORMALISATIONS
from jaxseg.data.limits import max_pixels
from jaxseg.demo_settings import CRF_FIELDS, OFF, SCALES
from jaxseg.visualize import to_rgb

#: Of the classes over the image, at first and where its field is empty.
OPACITY = 0.5


def sources(examples: Sequence[np.ndarray], max_bytes: int) -> dict[str, Any]:
    """Lay out where images come from: the disk, and the run's own examples."""
    upload = gr.File(label="Image", file_types=list(demo_results.SUFFIXES), height=150, elem_id="upload")
    kinds = ", ".join(suffix[1:] for suffix in demo_results.SUFFIXES)
    gr.HTML(f"<p>{kinds}; at most {max_bytes >> 20} MB and {max_pixels() / 1e6:.1f} megapixels.</p>", elem_id="limits")
    shown = [to_rgb(image) for image in examples]
    gallery = gr.Gallery(
        value=shown,
        label="Or one of the run's own",
        columns=max(1, min(4, len(shown))),
        height="auto",
        format="png",
        allow_preview=False,
        interactive=False,
        buttons=[],
        object_fit="contain",
        visible=bool(shown),
        elem_id="examples",
    )
    return {"upload": upload, "gallery": gallery}


def settings(config: Config) -> dict[str, Any]:
    """Lay out what can be chosen; all but ``group`` are inputs of a segmentation, by name."""
    scales = sorted({*SCALES, *config.scales})
    own = crf.Parameters()
    with gr.Group():
        boxes = gr.CheckboxGroup(
            [(f"{scale:g}", scale) for scale in scales],
            value=list(config.scales),
            label="Scales",
            info="Probabilities are averaged over copies of these sizes.",
            elem_id="scales",
        )
        flip = gr.Checkbox(config.flip, label="Mirrored copies too", elem_id="flip")
    presets = gr.Dropdown(
        [OFF, *crf.SETS],
        value=OFF,
        label="Dense CRF",
        info="Follows edges of the image; can do harm where its parameters do not fit.",
        filterable=False,
        elem_id="crf",
    )
    with gr.Accordion("Parameters of the CRF", open=False, visible=False, elem_id="crf-parameters") as group:
        fields = {
            name: gr.Number(
                getattr(own, name),
                label=name,
                info=info,
                minimum=low,
                maximum=high,
                step=1 if name == "iterations" else 0.5,
                min_width=110,
                elem_id=f"crf-{name}",
            )
            for name, (info, low, high) in CRF_FIELDS.items()
        }
        normalisation = gr.Dropdown(list(NORMALISATIONS), value=own.normalisation, label="normalisation", filterable=False)
    return {"scales": boxes, "flip": flip, "preset": presets, **fields, "normalisation": normalisation, "group": group}


def preset(name: str) -> list[Any]:
    """Fill the parameters of a CRF that was chosen, and show them."""
    values = crf.SETS.get(name, crf.Parameters()).arguments()
    return [gr.Accordion(visible=name != OFF), *(values[field] for field in (*CRF_FIELDS, "normalisation"))]


def results() -> dict[str, Any]:
    """Lay out what is shown."""
    message = gr.HTML("<p>Drop an image, or take an example.</p>", elem_id="message")
    overlay = gr.Image(
        label="Classes over the image",
        alt_text="The image with its classes in colour",
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="overlay",
    )
    opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of the classes", elem_id="opacity")
    in_range = opacity.preprocess
    # Gradio's own fails for a field that was emptied. A subclass would make Gradio write a file of types beside this module.
    opacity.preprocess = lambda value: None if value is None else in_range(value)
    with gr.Row():
        mask = gr.DownloadButton("Mask (PNG of class indices)", interactive=False, elem_id="mask")
        picture = gr.DownloadButton("Picture with legend", interactive=False, elem_id="picture")
    with gr.Row():
        with gr.Column(min_width=300):
            legend = gr.HTML(elem_id="legend")
        with gr.Column(min_width=300):
            confidence = gr.Image(
                label="Confidence",
                alt_text="The probability of the chosen class, pixel by pixel",
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="confidence",
            )
            scale = gr.HTML(elem_id="scale")
    return {
        "message": message,
        "overlay": overlay,
        "opacity": opacity,
        "mask": mask,
        "picture": picture,
        "legend": legend,
        "confidence": confidence,
        "scale": scale,
        "view": gr.State(None, time_to_live=3600),
    }
