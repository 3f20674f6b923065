"""What the tests of report.html share: a page's parser, data that every pixel says, and a page made of them."""

import base64
import dataclasses
import html.parser
import io
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg import run_report
from jaxseg.config import Config
from jaxseg.evaluation import evaluate
from jaxseg.inference import Predictor
from jaxseg.models import UNet

SCRIPT = "<script>alert(1)</script>"
VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """A page's elements, checked for being closed in their order, and its text."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text = [], [], []
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@dataclasses.dataclass(frozen=True)
class Patches:
    """Images of several sizes of which every pixel says its label; the last is wholly void."""

    class_names: tuple[str, ...] = ("sky", SCRIPT, "\"tree\" & 'bush'")
    num_channels: int = 1
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (9, 9, 9), (99, 99, 99))
    root: str = "</script><img src=x onerror=alert(2)>"
    count: int = 12

    def split(self, name):
        rng = np.random.default_rng(0)
        examples = []
        for i in range(self.count):
            label = rng.integers(0, len(self.class_names), (6 + i % 2, 8)).astype(np.uint8)
            image = label[..., None].copy()
            image[:, : i // 2] = (image[:, : i // 2] + 1) % len(self.class_names)  # the more of it is wrong, the later
            label[0] = 255 if i < self.count - 1 else label[0]
            examples.append({"image": image, "label": label, "name": f"<b>{i}"})
        examples[-1]["label"][:] = 255
        return examples


class Reader(Predictor):
    """Answers with what the image says."""

    def labels(self, images):
        return images[..., 0].copy()


def config(**fields):
    given = {"model": UNet(num_classes=3), "data": Patches(), "crop_size": (6, 8), "steps": 8, "batch_size": 1}
    return Config(**{"eval_batch_size": 4, **given, **fields})


def written(workdir, made, step=8):
    predictor = Reader(made, {})
    examples = made.data.split("val")
    workdir.mkdir(exist_ok=True)
    path = workdir / "report.html"
    run_report.write(path, workdir, predictor, examples, evaluate(predictor, examples), step=step, split="val")
    return Page(path)


def decoded(attrs):
    with Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition("base64,")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))
