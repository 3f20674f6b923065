"""The demo page's layout and events; what it shows is made in :mod:`jaxseg.demo_results`. Needs Gradio, the extra ``demo``."""

import dataclasses
import html
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from jaxseg import demo_layout as layout
from jaxseg import demo_results, demo_settings
from jaxseg.demo_results import Shown
from jaxseg.demo_settings import CRF_FIELDS, Settings
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.visualize import save_mask

#: Predictions, and paintings of their overlays, that may wait; whoever comes later is told that there are too many.
WAITING = 16


@dataclasses.dataclass(frozen=True)
class Page:
    """What the page needs of a run.

    Attributes:
        predictor: with the network.
        title: of the run.
        examples: names and images that may be taken instead of an own one.
        folder: for files that are to be downloaded; it is emptied by whoever owns it.
        max_bytes: that an upload may have.
    """

    predictor: Predictor
    title: str
    examples: Sequence[tuple[str, np.ndarray]]
    folder: Path
    max_bytes: int

    def build(self) -> gr.Blocks:
        """Return the page, with its queue: one prediction at a time, :data:`WAITING` more in line."""
        with gr.Blocks(title=f"jaxseg: {self.title}", analytics_enabled=False) as page:
            gr.HTML(self._heading())
            source = gr.State(None)
            with gr.Row(elem_id="layout"):  # where each column goes, on wide and on narrow screens, the style sheet says
                with gr.Column(elem_id="sources"):
                    chosen = layout.sources([image for _, image in self.examples], self.max_bytes)
                with gr.Column(elem_id="results"):
                    results = layout.results()
                with gr.Column(elem_id="settings"):
                    settings = layout.settings(self.predictor.config)
                    again = gr.Button("Segment", variant="primary", elem_id="segment")
            self._connect(source, chosen, settings, again, results)
        page.queue(max_size=WAITING, api_open=False)
        return page

    def _heading(self) -> str:
        config = self.predictor.config
        network, classes = type(config.model).__name__, len(config.predicted_names)
        return f"<h1>{html.escape(network)} <small>{html.escape(self.title)}, {classes} classes</small></h1>"

    def _connect(
        self, source: Any, chosen: dict[str, Any], settings: dict[str, Any], again: Any, results: dict[str, Any]
    ) -> None:
        """Say what happens when: every way leads to a segmentation, and from there to a painting."""
        upload, gallery = chosen["upload"], chosen["gallery"]
        given = [field for name, field in settings.items() if name != "group"]
        network = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
        painter = {"concurrency_limit": 1, "concurrency_id": "painter", "api_visibility": "private"}
        at_once = {"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"}

        def taken(event: gr.SelectData) -> tuple[int, None]:
            return self.example(event.index), None

        segmented = [results[name] for name in ("message", "legend", "scale", "confidence", "mask", "view")]
        painting = {
            "fn": self.paint,
            "inputs": [results["view"], results["opacity"]],
            "outputs": [results["overlay"], results["picture"]],
            "show_progress": "hidden",
            **painter,
        }
        segmenting = {
            "fn": self.segment,
            "inputs": [source, *given],
            "outputs": segmented,
            "show_progress_on": results["overlay"],
            **network,
        }
        upload.upload(Path, upload, source, **at_once).then(**segmenting).then(**painting)
        upload.clear(lambda: None, None, source, **at_once).then(**segmenting).then(**painting)
        gallery.select(taken, None, [source, upload], **at_once).then(**segmenting).then(**painting)
        numbers = [settings[name] for name in CRF_FIELDS]
        preset = [*numbers, settings["normalisation"]]
        changed = settings["preset"].input(layout.preset, settings["preset"], [settings["group"], *preset], **at_once)
        changed.then(**segmenting).then(**painting)
        triggers = [again.click, settings["scales"].input, settings["flip"].input, settings["normalisation"].input]
        triggers += [number.submit for number in numbers]
        gr.on(triggers, **segmenting, trigger_mode="always_last").then(**painting)
        results["opacity"].change(**painting, trigger_mode="always_last")

    def example(self, index: Any) -> int:
        """Return the index of an example, if it is one: it comes from the browser, which may send anything.

        Raises:
            InputError: if it is none.
        """
        if type(index) is not int or not 0 <= index < len(self.examples):
            raise InputError(f"There are {len(self.examples)} examples, counted from 0, and {str(index)[:40]!r} is none of them.")
        return index

    def segment(self, source: Path | int | None, *given: Any) -> tuple[Any, ...]:
        """Segment what was chosen; what the user did wrong is said in the page, and clears what it showed.

        Args:
            source: the path of an upload, the index of an example, or ``None``.
            given: values of :func:`jaxseg.demo_layout.settings`, in their order.

        Returns:
            The message, the legend, the scale, the confidence map, the mask to download, and what :meth:`paint` needs.
        """
        cleared = ("", "", None, gr.DownloadButton(value=None, interactive=False), None)
        if source is None:
            return "<p>Drop an image, or take an example.</p>", *cleared
        try:
            shown, mask = self._segmented(source, demo_settings.chosen(given))
        except Exception as error:
            refused = error if isinstance(error, InputError) else _out_of_memory(error)
            if refused is None:
                raise
            return demo_results.refusal(refused), *cleared
        config = self.predictor.config
        legend = demo_results.legend_table(config.predicted_names, config.predicted_palette, shown)
        return (
            demo_results.summary(shown),
            legend,
            demo_results.confidence_scale(shown),
            demo_results.confidence_map(shown),
            gr.DownloadButton(value=str(mask), interactive=True),
            shown,
        )

    def _segmented(self, source: Path | int, settings: Settings) -> tuple[Shown, Path]:
        config = self.predictor.config
        if isinstance(source, int):
            name, image = self.examples[source]
        else:
            image = demo_results.read_upload(source, config.data.num_channels)
            name = source.stem
        demo_settings.check_work(name, image.shape[:2], settings)
        start = time.perf_counter()
        found = settings.apply(self.predictor).segment(image)
        seconds = time.perf_counter() - start
        mask = self._new_folder() / f"{name}_mask.png"
        save_mask(mask, found.labels, config.predicted_palette)
        classes = len(config.predicted_names)
        return demo_results.show(name, image, found.labels, found.confidence, num_classes=classes, seconds=seconds), mask

    def paint(self, shown: Shown | None, opacity: float | None) -> tuple[Any, Any]:
        """Return the overlay, and the file with its legend to download; ``None`` where nothing is segmented.

        Where the field of the opacity is empty, it is what it was at first.
        """
        if shown is None:
            return None, gr.DownloadButton(value=None, interactive=False)
        opacity = layout.OPACITY if opacity is None else opacity
        names, palette = self.predictor.config.predicted_names, self.predictor.config.predicted_palette
        picture = demo_results.overlay(shown, palette, opacity)
        path = demo_results.save_overlay(self._new_folder(), picture, shown, names, palette)
        return picture, gr.DownloadButton(value=str(path), interactive=True)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def _out_of_memory(error: Exception) -> InputError | None:
    """Return what to tell the user where an image was too large for this machine, else ``None``."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return InputError("This image needs more memory than there is. Take a smaller one, fewer or smaller scales, or no CRF.")
    return None
