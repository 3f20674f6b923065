"""What predict writes besides masks: objects and uncertainty. The command as a whole is in test_commands."""

import json
import math
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxseg import predict, prediction_files
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.models import SETRNaive, UNet
from jaxseg.models.backbones import ViT

NAMES = ("ground", "cell", "dust")


@pytest.fixture(scope="module")
def predictor():
    model = UNet(num_classes=3, width=2, depth=1)
    config = Config(
        model=model,
        data=Folder(root="unused", num_classes=3, class_names=NAMES),
        crop_size=(16, 16),
        steps=1,
        batch_size=1,
    )
    return Predictor.of_state(config, model.init(jax.random.key(5), jnp.zeros((1, 16, 16, 3))))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "cells.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8))
    return path


@pytest.fixture
def command(predictor, picture, tmp_path, monkeypatch, capsys):
    """Run the command with the predictor in the place of a trained one, and return what it prints."""
    monkeypatch.setattr(predict, "load", lambda *_, **__: predictor)

    def run(*flags):
        predict.main(["--workdir", str(tmp_path), "--output", str(tmp_path / "out"), *flags, str(picture)])
        return capsys.readouterr().out

    return run


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_instances_are_numbered_and_counted(command, tmp_path):
    done = json.loads(command("--json", "--instances", "--background", "dust", "--min-area", "2"))
    ids, labels = read(done["instances"]), read(done["mask"])
    assert done["instances"] == str(tmp_path / "out" / "cells_instances.png")
    assert ids.dtype == np.uint16
    assert list(done["regions"]) == list(NAMES)
    assert done["regions"]["dust"] == 0
    assert sum(done["regions"].values()) == ids.max() > 1
    assert not ids[labels == 2].any()
    assert all((ids == i).sum() >= 2 and len(set(labels[ids == i].tolist())) == 1 for i in range(1, ids.max() + 1))
    assert read(done["objects"]).shape == (24, 30, 3)
    assert "uncertainty" not in done


def test_the_first_class_is_the_background_unless_said(command):
    done = json.loads(command("--json", "--instances"))
    assert done["regions"]["ground"] == 0
    assert not read(done["instances"])[read(done["mask"]) == 0].any()


def test_samples_give_the_mask_and_the_uncertainty(command, predictor, picture):
    done = json.loads(command("--json", "--samples", "4"))
    samples = predictor.sample(cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB), samples=4)
    np.testing.assert_array_equal(read(done["mask"]), samples.labels)
    assert done["mean_entropy"] == pytest.approx(float(samples.entropy.mean()), abs=1e-6)
    assert 0 < done["mean_entropy"] < math.log(3)
    brightness = read(done["uncertainty"]).astype(int).sum(axis=-1)
    darkest, brightest = np.unravel_index([samples.entropy.argmin(), samples.entropy.argmax()], brightness.shape)
    assert brightness[darkest[0], brightest[0]] < brightness[darkest[1], brightest[1]]


def test_a_person_reads_counts_and_uncertainty(command):
    line = " ".join(command("--samples", "2", "--instances").split())
    assert "nats" in line
    assert " x cell" in line or " x dust" in line
    assert "cells_overlay.png" in line


def test_flags_that_do_not_fit(command, capsys):
    for flags, message in (
        (("--instances", "--background", "cel"), "--background cel: the network knows no such class. Did you mean 'cell'?"),
        (("--min-area", "3"), "--background and --min-area say how objects are found: add --instances."),
        (("--instances", "--min-area", "0"), "min_area=0 must be at least 1"),
        (("--samples", "0"), "samples=0 must be at least 1"),
    ):
        with pytest.raises(SystemExit):
            command(*flags)
        assert message in " ".join(capsys.readouterr().err.split())


def test_instance_finder_takes_several_backgrounds():
    find = predict.instance_finder(NAMES, ["ground", "dust"], 1)
    assert find(np.array([[0, 1, 2]], np.uint8)).classes == (1,)
    with pytest.raises(InputError, match="--background sky"):
        predict.instance_finder(NAMES, ["sky"], 1)


@pytest.fixture
def transformer(command, monkeypatch):
    """The same command with a small SETR in the place of the U-Net."""
    backbone = ViT(patch_size=8, width=8, depth=2, num_heads=2, hidden=8, image_size=(24, 32))
    model = SETRNaive(num_classes=3, backbone=backbone, head_features=4)
    data = Folder(root="unused", num_classes=3, class_names=NAMES)
    config = Config(model=model, data=data, crop_size=(24, 32), steps=1, batch_size=1)
    network = Predictor.of_state(config, model.init(jax.random.key(5), jnp.zeros((1, 24, 32, 3))))
    monkeypatch.setattr(predict, "load", lambda *_, **__: network)
    return command


def test_attention_is_drawn_for_the_pixel_asked_for(transformer, tmp_path):
    pictures = []
    for flags in ((), ("--query", "centre"), ("--query", "3,4"), ("--query", "all")):
        done = json.loads(transformer("--json", "--attention", *flags))
        assert done["attention"] == str(tmp_path / "out" / "cells_attention.png")
        pictures.append(read(done["attention"]))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[3])
    assert "cells_attention.png" in " ".join(transformer("--attention").split())


def test_attention_flags_that_do_not_fit(transformer, capsys):
    for flags, message in (
        (("--query", "3,4"), "--query says whose attention is drawn: add --attention."),
        (("--attention", "--query", "3"), "--query 3: write it as ROW,COLUMN, counted from 0"),
        (("--attention", "--query", "24,0"), "The query is row 24, column 0, and the image has 24 x 30 pixels"),
    ):
        with pytest.raises(SystemExit):
            transformer(*flags)
        assert message in " ".join(capsys.readouterr().err.split())


def test_attention_needs_a_transformer(command, capsys):
    with pytest.raises(SystemExit):
        command("--attention")
    assert "UNet has no attention to show" in " ".join(capsys.readouterr().err.split())


def test_names_that_are_only_dots_stay_in_the_output_folder(predictor, tmp_path):
    """Without their suffix they are this folder and the one above it."""
    for name in ("..png", "...png"):
        cv2.imwrite(str(tmp_path / "x.png"), np.zeros((16, 16, 3), np.uint8))
        (tmp_path / "x.png").rename(tmp_path / name)
    output = tmp_path / "deep" / "out"
    images = predict.find_images([tmp_path / "..png", tmp_path / "...png"])
    done = list(prediction_files.predict_images(predictor, images, output))
    assert [d["mask"] for d in done] == [f"{output}/..png_mask.png", f"{output}/...png_mask.png"]
    assert list((tmp_path / "deep").iterdir()) == [output]


def test_links_in_the_output_folder_do_not_lead_out_of_it(predictor, picture, tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    picture.rename(tmp_path / "photos" / "sub" / "x.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    images = predict.find_images([tmp_path / "photos"])
    with pytest.raises(InputError, match=r"x\.png would be written into .*elsewhere, outside .*out\. Give another --output"):
        next(prediction_files.predict_images(predictor, images, tmp_path / "out"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("place", [Path("../x"), Path("/tmp/x"), Path("a/../../x")])
def test_places_outside_are_refused_wherever_they_come_from(predictor, picture, tmp_path, place):
    with pytest.raises(InputError, match=r"would be written into .*, outside "):
        next(prediction_files.predict_images(predictor, {picture: place}, tmp_path / "out"))


def test_no_image_is_replaced_by_the_result_of_another(predictor, picture, tmp_path):
    other = tmp_path / "cells_mask.png"
    other.write_bytes(picture.read_bytes())
    images = predict.find_images([picture, other])
    with pytest.raises(InputError, match=r"A result of .*cells\.png would be written over the image .*cells_mask\.png"):
        next(prediction_files.predict_images(predictor, images, tmp_path))
    assert other.read_bytes() == picture.read_bytes()


def test_an_image_beyond_the_limit_names_the_variable_that_raises_it(command, capsys, monkeypatch):
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "100")
    with pytest.raises(SystemExit):
        command()
    assert "cells.png has 30x24 (width x height) = 720 pixels, more than the limit of 100." in capsys.readouterr().err
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "720")
    assert "cells_overlay.png" in command()
