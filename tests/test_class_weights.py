import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands_data import make_folder

from jaxseg import class_weights

CONFIG = str(Path(__file__).parent / "commands_config.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_folder(tmp_path_factory.mktemp("data"), counts=(("train", 3), ("val", 1)))
    cv2.imwrite(str(root / "labels" / "train" / "train2.png"), np.zeros((16, 20), np.uint8))  # without a blob
    return root


def test_weights_as_json(data, capsys):
    class_weights.main(["--config", CONFIG, "--set", f"data.root={data}", "--json"])
    found = json.loads(capsys.readouterr().out)
    labels = np.stack([cv2.imread(str(data / "labels" / "train" / f"train{i}.png"), cv2.IMREAD_UNCHANGED) for i in range(3)])
    blob, size = int((labels == 1).sum()), labels[0].size
    assert found["pixels"] == {"ground": 3 * size - blob, "blob": blob}
    assert found["images"] == {"ground": 3, "blob": 2}
    frequency = np.array([1 - blob / (3 * size), blob / (2 * size)])
    np.testing.assert_allclose(list(found["median_frequency"].values()), frequency.mean() / frequency)
    share = np.array([1 - blob / (3 * size), blob / (3 * size)])
    np.testing.assert_allclose(list(found["inverse_log_frequency"].values()), 1 / np.log(1.02 + share))


def test_table_and_lines_to_copy(data, capsys):
    class_weights.main(["--config", CONFIG, "--set", f"data.root={data}", "--split", "val"])
    printed, status = capsys.readouterr()
    assert status == ""  # a bar that nobody sees leaves no empty line
    assert "blob" in printed
    assert "median_frequency: class_weights=(" in printed
    assert "inverse_log_frequency: class_weights=(" in printed


def test_missing_data_is_the_users_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        class_weights.main(["--config", CONFIG, "--set", f"data.root={tmp_path / 'nowhere'}"])
    assert stop.value.code == 1
    assert "nowhere" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        class_weights.main(["--help"])
    assert "python -m jaxseg.class_weights --config configs/unet.py" in capsys.readouterr().out
