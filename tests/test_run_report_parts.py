"""The parts of report.html that need no page: the confusion matrix, its pictures, its charts, and the config as a tree."""

import dataclasses

import numpy as np
import pytest
from run_report_page import Reader, config, decoded

from jaxseg import describe, losses
from jaxseg.evaluation import evaluate
from jaxseg.history import Curve
from jaxseg.metrics import ConfusionMatrix
from jaxseg.run_report import charts, pictures, tables
from jaxseg.run_report.settings import settings


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
        (5, 5 + 1e-13, [0, 1, 2, 3, 4, 5]),
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


def test_values_that_differ_by_rounding_alone_are_drawn_as_one():
    for value in (0.3, -2.0, 1e7):
        curve = Curve(np.arange(3), np.array([value, np.nextafter(value, 9), value]))
        for log in (False, True):
            heights = {y for _, y, _ in charts.draw("x", {"x": curve}, log=log).lines[0].points}
            assert len(heights) == 1


def test_a_curve_of_several_values_a_point_says_so():
    chart = charts.draw("Loss", {"loss": Curve(np.arange(600), np.tile([1.0, 3.0], 300))})
    assert chart.note == "means, with their range"
    assert chart.lines[0].points[0][2] == "loss, steps 0 to 1: 2"
    spread = charts.draw("Loss", {"loss": Curve(np.arange(2), np.array([0.01, 1.0]))}, log=True)
    assert spread.note == "logarithmic"
    assert [text for _, text in spread.y_ticks] == ["0.01", "0.1", "1"]


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
    return losses.weighted_sum((1.0, losses.cross_entropy), (0.5, losses.dice))
