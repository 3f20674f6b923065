"""report.html: what it says, that nothing in it is taken for markup, and that it asks nothing of the network."""

import base64
import hashlib
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from run_report_page import SCRIPT, Page, Patches, Reader, config, decoded, written

from jaxseg import run_report, visualize
from jaxseg.evaluation import evaluate
from jaxseg.history import History
from jaxseg.models import UNet
from jaxseg.models.wnet import WNet
from jaxseg.run_report import tables


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
    assert "This run was trained before history.jsonl was kept. " in page.words
    assert "Training 3 of 8 steps of 1 images" in page.words
    assert "miou.json, which says which checkpoint is the best, cannot be parsed" in page.words
    assert page.all("img")


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


def test_an_installation_has_all_parts_of_the_page():
    """``pip install`` of a wheel copies Python alone but for what pyproject.toml names."""
    root = Path(__file__).parents[1]
    named = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["jaxseg.run_report"]
    folder = root / "jaxseg" / "run_report"
    parts = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path.suffix for path in parts} == {".html", ".css", ".js"}
    assert parts == {path for pattern in named for path in folder.glob(pattern)}
