"""report.html: what it says, that nothing in it is taken for markup, and that it asks nothing of the network."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxseg import describe, run_report, visualize
from jaxseg.config import Config
from jaxseg.evaluation import evaluate
from jaxseg.history import Curve, History
from jaxseg.inference import Predictor
from jaxseg.metrics import ConfusionMatrix
from jaxseg.models import UNet
from jaxseg.models.wnet import WNet
from jaxseg.run_report import charts, pictures, tables
from jaxseg.run_report.settings import settings

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


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run with everything in it that could be taken for markup."""
    workdir = tmp_path_factory.mktemp("runs") / "<i>run"
    workdir.mkdir()
    history = History(workdir, 0)
    for step in range(1, 9):
        scalars = {"loss": 8.0 / step, "learning_rate": 0.1, "images_per_second": 5.0, "skipped": float(step > 6)}
        history.add(step, {**scalars, "gradient_norm": float("nan")})
    history.add(4, {"val/miou": 0.25, "val/pixel_accuracy": 0.5})
    history.add(8, {"val/miou": 0.75, "val/pixel_accuracy": 0.875})
    history.close()
    start = {"step": 0, "time": "2026-11-23T03:30:16+00:00", "command": f"python -m jaxseg.train --set x={SCRIPT}", "jax": "0.10"}
    start |= {"devices": "8 x <u>chip", "processes": 2, "jaxseg": "0.1.0"}
    (workdir / "run.json").write_text(json.dumps({"parameters": 1234567, "images": {"train": 4, "val": 12}, "starts": [start]}))
    for step in (4, 8):
        (workdir / "checkpoints" / str(step)).mkdir(parents=True)
    (workdir / "checkpoints" / "miou.json").write_text('{"4": 0.8, "8": 0.75}')
    return written(workdir, config())


def test_nothing_of_the_run_is_taken_for_markup(page):
    assert len(page.all("script")) == 1, "the page's own"
    assert not [tag for tag, _ in page.elements if tag in ("b", "i", "u")]
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert all(attrs["src"].startswith("data:image/") for attrs in page.all("img"))
    assert SCRIPT not in page.source
    assert page.words.count(SCRIPT) >= 5, "in the table, the matrix, the legend, the command and the config"
    for text in ("<i>run", "8 x <u>chip in 2 processes", "<b>0", "\"tree\" & 'bush'", "</script><img src=x onerror=alert(2)>"):
        assert text in page.words


def test_the_page_asks_nothing_of_the_network(page):
    for tag, attrs in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "ping"):
            assert attrs.get(name, "#").startswith(("data:", "#")), (tag, attrs)
        assert "url(" not in (attrs.get("style") or "")
    assert tag_names(page).isdisjoint({"iframe", "object", "embed", "base", "form", "video", "audio"})
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    script = re.search(r"<script>(.*?)</script>", page.source, re.DOTALL)[1]
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{checksum}';" in policy, "so that the browser runs this script and no other"


def tag_names(page):
    return {tag for tag, _ in page.elements}


def test_the_page_says_what_the_run_was(page):
    for text in (
        "Network UNet, 1,234,567 parameters",
        "Data Patches: 4 train, 12 val images, 3 classes",
        "Training 8 steps of 1 images at 6 x 8, 2 epochs; 1 steps were skipped",
        "Versions jaxseg 0.1.0, jax 0.10",
        "Begun 2026-11-23 03:30 UTC",
        "Scores of step 8, on 12 val images",
        "Best checkpoint step 4: mIoU 80.00 % on val. Its report: python -m jaxseg.report --workdir",
        "--checkpoint 4",
        "crop_size (6, 8)",
        "model UNet(num_classes=3,",
    ):
        assert text in page.words


def test_the_curves_are_there_with_their_units(page):
    described = [text for text in page.text if "at step" in text or ", step" in text]
    assert "Loss. loss: 8 at step 1, 1 at step 8; least 1 at step 8, most 8 at step 1." in described
    assert "mIoU, step 4: 25 %" in described
    assert "pixel accuracy, step 8: 87.5 %" in described
    assert "speed, step 3: 5 images/s" in described
    for title in ("Loss", "Scores on val, %", "Learning rate", "Speed, images/s", "Skipped steps, so far"):
        assert title in page.text
    assert "Norm of the gradient" not in page.words, "none of it is finite"
    svgs = [attrs for attrs in page.all("svg") if "aria-labelledby" in attrs]
    identifiers = {attrs["id"] for attrs in page.all("desc")}
    assert len(svgs) == 5
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] in identifiers for attrs in svgs)


def test_the_scores_are_those_of_the_evaluation(page):
    made = config()
    found = evaluate(Reader(made, {}), made.data.split("val"))
    for key, title in (("miou", "mIoU"), ("fwiou", "fwIoU")):
        assert f"{title} {100 * found.scores[key]:.2f} %" in page.words
    counts = found.confusion.counts()[:, :3]
    for name, row, iou, dice in zip(made.data.class_names, counts, found.scores["iou"], found.scores["dice"]):
        share = 100 * row.sum() / counts.sum()
        assert re.search(rf"{re.escape(name)} {100 * iou:.2f} {100 * dice:.2f} [\d.]+ [\d.]+ {share:.2f}", page.words)
    titles = [attrs.get("title") for attrs in page.all("td")]
    assert f"sky as {SCRIPT}: {100 * counts[0, 1] / counts[0].sum():.2f} %, {counts[0, 1]} pixels" in titles
    heads = page.all("th")
    assert heads
    assert all(attrs.get("scope") in ("row", "col") for attrs in heads)


def test_the_best_and_the_worst_images_are_drawn(page):
    made = config()
    found = evaluate(Reader(made, {}), made.data.split("val"))
    order = found.images.worst_first()
    assert len(order) == 11, "the void one has no score"
    alts = [attrs["alt"] for attrs in page.all("img")]
    expected = [*order[::-1][:4], *order[:4]]
    assert alts == [f"<b>{i}: {what}" for i in expected for what in ("image", "label", "prediction", "errors")]
    for i in expected:
        assert f"mIoU {100 * found.images.miou[i]:.1f} %" in page.words
    example = made.data.split("val")[order[0]]
    label, prediction = example["label"], example["image"][..., 0]
    label_picture, prediction_picture, errors = (decoded(attrs) for attrs in page.all("img")[4 * 4 + 1 : 4 * 4 + 4])
    np.testing.assert_array_equal(label_picture, visualize.colorize(label, made.data.palette))
    np.testing.assert_array_equal(prediction_picture, visualize.colorize(prediction, made.data.palette))
    np.testing.assert_array_equal(errors, visualize.error_map(prediction, label))


def decoded(attrs):
    with Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition("base64,")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_segments_are_named(tmp_path):
    made = config(model=WNet(num_classes=5), match_classes=True)
    assert f"segment 1 {SCRIPT}" in written(tmp_path, made).words


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_images_are_shown_once_each(count, tmp_path):
    shown = [attrs["alt"] for attrs in written(tmp_path, config(data=Patches(count=count + 1))).all("img")]
    assert len(shown) == len(set(shown)) == 4 * count


def test_a_run_without_a_history_and_without_a_record_has_a_page(tmp_path):
    (tmp_path / "run.json").write_text('{"starts": 3}')
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    (tmp_path / "checkpoints" / "miou.json").write_text("[]")
    page = written(tmp_path, config(), step=3)
    assert f"There is no {tmp_path / 'history.jsonl'}" in page.words
    assert "Training 3 of 8 steps of 1 images" in page.words
    assert "miou.json, which says which checkpoint is the best, cannot be parsed" in page.words
    assert page.all("img")


def many(classes):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 30, (classes, classes + 1)).astype(np.uint64)
    counts[:, -1] = 0
    counts[np.arange(classes), np.arange(classes)] += np.uint64(40 * classes)
    return counts, tuple(f"class number {i}" for i in range(classes))


def test_many_classes_stay_small():
    counts, names = many(150)
    found = tables.confusion(counts, names)
    assert not found.rows
    assert 150 <= len(found.cells) <= tables.MOST_CELLS + 150
    assert {(cell.row, cell.column) for cell in found.cells} >= {(i, i) for i in range(150)}
    assert len(found.largest) == 20
    wrong = counts[:, :150] - np.diag(np.diagonal(counts[:, :150]))
    assert [cell.pixels for cell in found.largest] == np.sort(wrong.ravel())[::-1][:20].tolist()
    assert all(cell.row != cell.column for cell in found.largest)


def test_predictions_that_are_no_class_have_a_column():
    counts = np.array([[3, 0, 1], [0, 0, 0]], np.uint64)
    found = tables.confusion(counts, ("a", "b"))
    assert found.names == ("a", "b", "no class")
    assert [[cell.share for cell in row] for row in found.rows] == [[0.75, 0, 0.25], [0, 0, 0]]
    assert [(cell.row, cell.column, cell.pixels) for cell in found.largest] == [(0, 2, 1)]
    assert tables.confusion(np.array([[3, 0, 0], [0, 0, 0]], np.uint64), ("a", "b")).names == ("a", "b")


def test_a_class_that_is_absent_is_a_dash(tmp_path):
    made = config(data=Patches(class_names=("a", "b", "c", "d"), palette=((0, 0, 0),) * 4), model=UNet(num_classes=4))
    predictor = Reader(made, {})
    examples = [
        {**e, "image": e["image"] % 2, "label": np.where(e["label"] < 255, e["label"] % 2, 255)} for e in made.data.split("")
    ]
    found = evaluate(predictor, [{**e, "label": e["label"].astype(np.uint8)} for e in examples])
    rows = tables.class_rows(found.scores, found.confusion.counts(), made.data.class_names, made.data.palette)
    assert np.isnan(rows[3].scores[:4]).all()
    assert rows[3].scores[4] == 0
    run_report.write(tmp_path / "r.html", tmp_path, predictor, examples, found, step=1, split="val")
    assert "d - - - - 0.00" in Page(tmp_path / "r.html").words


def test_large_images_are_made_smaller():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (900, 1600)).astype(np.uint8)
    example = {"image": rng.integers(0, 256, (900, 1600, 1)).astype(np.uint8), "label": label, "name": "noise"}
    made = config()
    predictor = Reader(made, {})
    found = dataclasses.replace(evaluate(predictor, made.data.split("val")[:1]), confusion=ConfusionMatrix.empty(3))
    shown = pictures._shown(predictor, {**example, "image": label[..., None]}, found, 0)
    assert [decoded({"src": source}).shape[:2] for _, source in shown.pictures] == [(202, 360)] * 4
    assert sum(len(source) for _, source in shown.pictures) < 5e6 / 8 / 2, "noise compresses worst"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (5, 5, [0, 1, 2, 3, 4, 5]),
        (-3, 97, [-20, 0, 20, 40, 60, 80, 100]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1, 1e7])
@pytest.mark.parametrize("count", [1, 2, 40, 1000])
def test_curves_stay_in_their_axes(count, scale):
    rng = np.random.default_rng(count)
    curve = Curve(np.arange(1, count + 1) * 10, np.exp(rng.normal(size=count) * 3) * scale)
    for log in (False, True):
        chart = charts.draw("x", {"x": curve}, log=log, from_zero=not log)
        points = np.array([point[:2] for point in chart.lines[0].points])
        assert len(points) == min(count, charts.MOST_POINTS)
        assert (points[:, 0] >= charts.LEFT).all()
        assert (points[:, 0] <= charts.WIDTH - charts.RIGHT).all()
        assert (points[:, 1] >= charts.TOP).all()
        assert (points[:, 1] <= charts.HEIGHT - charts.BOTTOM).all()
        assert bool(chart.lines[0].band) == (count > charts.MOST_POINTS)
        assert 2 <= len(chart.y_ticks) <= 12
        assert chart.x_ticks[0][1] == "0"
    assert charts.draw("x", {"x": Curve(np.arange(3), np.full(3, np.nan))}) is None


def test_a_curve_of_several_values_a_point_says_so():
    chart = charts.draw("Loss", {"loss": Curve(np.arange(600), np.tile([1.0, 3.0], 300))})
    assert chart.note == "means, with their range"
    assert chart.lines[0].points[0][2] == "loss, steps 0 to 1: 2"
    spread = charts.draw("Loss", {"loss": Curve(np.arange(2), np.array([0.01, 1.0]))}, log=True)
    assert spread.note == "logarithmic"
    assert [text for _, text in spread.y_ticks] == ["0.01", "0.1", "1"]


def test_an_installation_has_all_parts_of_the_page():
    """``pip install`` of a wheel copies Python alone but for what pyproject.toml names."""
    root = Path(__file__).parents[1]
    named = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["jaxseg.run_report"]
    folder = root / "jaxseg" / "run_report"
    parts = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path.suffix for path in parts} == {".html", ".css", ".js"}
    assert parts == {path for pattern in named for path in folder.glob(pattern)}


def test_a_config_becomes_a_tree():
    tree = settings(describe.to_json(config(loss=_loss())))
    parts = {part.name: part for part in tree.parts}
    assert parts["crop_size"].text == "(6, 8)"
    assert parts["loss"].text.startswith("sum_of_losses(terms=")
    assert parts["model"].origin == "jaxseg.models.unet"
    assert {part.name: part.text for part in parts["model"].parts}["dtype"] == "float32"
    assert parts["load_size"].text == "None"
    assert len(tree.text) <= 160


def _loss():
    from jaxseg import losses

    return losses.weighted_sum((1.0, losses.cross_entropy), (0.5, losses.dice))
