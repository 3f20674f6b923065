"""The rows of the CRF's benchmark, on a tiny image, with and without something in the place of pydensecrf."""

import cv2
import numpy as np
import pytest

from jaxseg import benchmark
from jaxseg.benchmarks import crf
from jaxseg.errors import InputError


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    for name, value in {"HEIGHT": 12, "WIDTH": 16, "CLASSES": 3, "BATCH": 2}.items():
        monkeypatch.setattr(crf, name, value)


def test_rows_without_pydensecrf(monkeypatch):
    monkeypatch.setattr(crf.importlib.util, "find_spec", lambda _: None)
    rows = list(crf.rows(1, None, True, True))
    assert [row["name"] for row in rows] == ["one image", "batch of 2"]
    assert all(row["ratio_pydensecrf"] is None and row["jaxseg_ms"] > 0 for row in rows)
    assert benchmark.table(rows).row_count == 2


def test_ratios(monkeypatch):
    monkeypatch.setattr(crf.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(crf, "_theirs", crf._ours)
    (row,) = crf.rows(1, "one", True, True)
    assert row["ratio_pydensecrf"] == pytest.approx(row["jaxseg_ms"] / row["pydensecrf_ms"])
    assert row["agree"] == 1.0


def test_images_of_a_folder(tmp_path):
    (tmp_path / "valannot").mkdir()
    for name, value in (("a", 1), ("b", 2), ("valannot/c", 3)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((12, 16, 3), value, np.uint8))
    assert [int(x.max()) for x in crf.pictures(tmp_path, 2)] == [1, 2]
    with pytest.raises(InputError, match=r"3 images of 16 x 12 are needed, such as CamVid's"):
        crf.pictures(tmp_path, 3)
