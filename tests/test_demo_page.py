"""The demo page in a browser: the real command on a tiny run, and what a person does with it.

Needs Gradio, playwright and Chromium. Only the command's own process imports Gradio.
"""

import importlib.util
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands_data import make_folder
from PIL import Image
from required import found_or_skip, import_or_skip

import jaxseg
from jaxseg import train

WHY = "the demo page is tested with pip install '.[demo]' playwright and apt-get install chromium"
found_or_skip(importlib.util.find_spec("gradio"), "gradio", why=WHY)
playwright = import_or_skip("playwright.sync_api", why=WHY)
CHROMIUM = found_or_skip(shutil.which("chromium") or shutil.which("google-chrome"), "Chromium", why=WHY)
HERE = Path(__file__).parent
CONFIG = str(HERE / "demo_config.py")
FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "xla"))
        train.main(["--config", CONFIG, "--workdir", str(workdir), "--set", f"data.root={data}", "--set", "steps=60"])
    return workdir


@pytest.fixture(scope="module")
def served(run, tmp_path_factory):
    """The command, started as a user does, at a free port: its address, its temporary folder and its process."""
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-m", "jaxseg.demo", "--workdir", str(run), "--port", "0", "--examples", "2", "--max-mb", "1"]
    command += ["--checkpoint", "latest", "--trust", "smallest_network", "--set", "scales=(0.9,)"]
    flags = "--xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TMPDIR": str(temporary)}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(temporary.parent / "xla-of-the-demo")
    environment["PYTHONPATH"] = os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", "")))
    environment.pop("JAXSEG_MAX_PIXELS", None)
    environment["GRADIO_ALLOWED_PATHS"] = "/"  # what a shell may have set must not open anything
    log = temporary.parent / "demo.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            for _ in range(900):
                said = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
                if said or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert said, log.read_text()
            yield said[0], temporary, process
            # What was asked for by hand is refused with a traceback; nothing else went wrong.
            refused = re.findall("InvalidPathError: Cannot move|InputError: There are 2 examples", log.read_text())
            assert log.read_text().count("Traceback") == len(refused), log.read_text()
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS])
        yield chromium
        chromium.close()


@pytest.fixture
def page(served, browser):
    """The page, freshly opened; nothing may be asked from elsewhere, and nothing may go wrong in its scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", accept_downloads=True)
    opened, wrong = context.new_page(), []
    local = (served[0], "data:", "blob:")
    opened.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(local) else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None)
    opened.set_default_timeout(60_000)
    opened.goto(served[0])
    opened.wait_for_selector("#upload input[type=file]", state="attached")
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """An image as the run knows them, but larger, and with two blobs."""
    rows, columns = np.mgrid[:30, :44]
    label = ((rows - 14) ** 2 + (columns - 10) ** 2 < 30) | ((rows - 16) ** 2 + (columns - 33) ** 2 < 50)
    image = (60 + 120 * label[..., None] + np.random.default_rng(1).integers(0, 40, (30, 44, 3))).astype(np.uint8)
    path = tmp_path_factory.mktemp("drawn") / "two blobs.png"
    cv2.imwrite(str(path), image)
    return path


def upload(page, path):
    page.set_input_files("#upload input[type=file]", path)


def wait_for(page, condition, *, what="condition", seconds=60):
    for _ in range(int(10 * seconds)):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{what} did not happen; the page says: {page.inner_text('#message')}")


def picture(page, name):
    """Return the pixels that an image component shows."""
    address = page.get_attribute(f"#{name} img", "src")
    with urllib.request.urlopen(address) as answer, Image.open(io.BytesIO(answer.read())) as image:
        return np.asarray(image.convert("RGB"))


def after(page, act, name="overlay"):
    """Do something, and return the picture that it leads to, which must be another than there was."""
    image = page.locator(f"#{name} img")
    before = image.get_attribute("src") if image.count() else None
    act()
    wait_for(page, lambda: image.count() and image.get_attribute("src") != before, what=f"another {name}")
    return picture(page, name)


def test_an_upload_is_segmented_and_its_mask_is_the_predictors(page, run, drawn, tmp_path):
    shown = after(page, lambda: upload(page, drawn))
    assert shown.shape == (17 * 30, 17 * 44, 3)
    assert re.search(r"two blobs: 44 x 30 pixels in \d+\.\d s\.", page.inner_text("#message"))
    labels = jaxseg.load(run, checkpoint="latest", overrides=("scales=(0.9,)",), trusted=("smallest_network",)).predict(
        cv2.cvtColor(cv2.imread(str(drawn)), cv2.COLOR_BGR2RGB)
    )
    assert page.get_by_label("0.9", exact=True).is_checked()
    legend = page.inner_text("#legend")
    assert 0.05 < (labels == 1).mean() < 0.5
    share = float(re.search(r"blob\s+([\d.]+) %", legend)[1])
    assert share == pytest.approx(100 * (labels == 1).mean(), abs=0.3)
    assert legend.index("ground") < legend.index("blob")
    assert "100 %" in page.inner_text("#scale")
    assert picture(page, "confidence").shape == shown.shape
    for name, ending in (("mask", "two blobs_mask.png"), ("picture", "two blobs_overlay.png")):
        with page.expect_download() as download:
            page.click(f"#{name}")
        assert download.value.suggested_filename == ending
        download.value.save_as(tmp_path / name)
    with Image.open(tmp_path / "mask") as mask:
        assert mask.mode == "P"
        assert (np.asarray(mask) == labels).mean() > 0.99
    with Image.open(tmp_path / "picture") as image:
        assert image.width > shown.shape[1]
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    with Image.open(tmp_path / "page.png") as image:
        assert len(image.convert("RGB").resize((200, 200)).getcolors(40_000)) > 50


def test_examples_opacity_scales_flip_and_crf_change_the_picture(page):
    first = after(page, page.locator("#examples button img").first.click)
    assert "val0: 20 x 16 pixels" in page.inner_text("#message")
    faint = after(page, lambda: page.fill("#opacity input[type=number]", "0.1"))
    assert np.abs(faint.astype(int) - first).mean() > 1
    back = after(page, lambda: page.fill("#opacity input[type=number]", ""))
    np.testing.assert_array_equal(back, first, "an empty field is what it was at first, and no error")
    maps = [picture(page, "confidence")]
    maps.append(after(page, page.get_by_label("0.5", exact=True).check, "confidence"))
    maps.append(after(page, page.get_by_label("Mirrored copies too").check, "confidence"))
    assert not page.locator("#crf-w1").is_visible()
    page.click("#crf input")
    maps.append(after(page, page.get_by_role("option", name="pydensecrf").click, "confidence"))
    page.get_by_text("Parameters of the CRF").click()
    assert page.input_value("#crf-w1 input") == "10"
    page.fill("#crf-w1 input", "2.5")
    page.fill("#crf-iterations input", "1")
    maps.append(after(page, lambda: page.click("#segment"), "confidence"))
    page.fill("#crf-iterations input", "2.5")
    page.click("#segment")
    page.get_by_text("iterations of the CRF is 2.5: give a whole number").wait_for()
    assert all(not np.array_equal(one, other) for one, other in itertools.pairwise(maps))


def test_bad_files_are_refused_in_the_page(page, drawn, tmp_path):
    after(page, lambda: upload(page, drawn))
    (tmp_path / "<b>cut.png").write_bytes(drawn.read_bytes()[:500])
    (tmp_path / "text.png").write_text("no image")
    cv2.imwrite(str(tmp_path / "pixel.png"), np.zeros((1, 1, 3), np.uint8))
    for name, message in (
        ("<b>cut.png", "cut.png is truncated or damaged"),
        ("text.png", "text.png is not an image that jaxseg"),
    ):
        page.get_by_label("Clear").first.click()
        wait_for(page, lambda: page.inner_text("#message").startswith("Drop an image"), what="clearing")
        upload(page, tmp_path / name)
        page.wait_for_selector("#message [role=alert]")
        assert message in page.inner_text("#message [role=alert]")
        assert page.locator("#message b").count() == 0
        assert page.locator("#overlay img").count() == 0
        assert page.inner_text("#legend").strip() == ""
    page.get_by_label("Clear").first.click()
    (tmp_path / "notes.txt").write_text("hello")
    upload(page, tmp_path / "notes.txt")
    page.get_by_text("Invalid file type").first.wait_for()
    (tmp_path / "large.png").write_bytes(bytes(2**21))
    upload(page, tmp_path / "large.png")
    page.get_by_text("exceed the maximum allowed size of 1.0 Mb").first.wait_for()
    after(page, lambda: upload(page, tmp_path / "pixel.png"))
    assert "pixel: 1 x 1 pixels" in page.inner_text("#message")


def answer(address, body=None, content_type="application/json"):
    request = urllib.request.Request(address, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def asked(address, number, **body):
    """Ask for an event of the page as its scripts do, and return all that the server says of it."""
    body = {**body, "fn_index": number, "session_hash": f"thief{time.monotonic_ns()}"}
    assert answer(f"{address}/gradio_api/queue/join", json.dumps(body).encode())[0] == 200
    return answer(f"{address}/gradio_api/queue/data?session_hash={body['session_hash']}")[1].decode()


def test_the_server_gives_away_no_files_and_answers_nothing_else(served, run, data):
    address, temporary, _ = served
    (folder,) = temporary.glob("jaxseg-demo-*")
    for path in (run / "config.json", data / "images" / "val" / "val2.png", "/etc/passwd", f"{folder}/../x", Path(__file__)):
        assert answer(f"{address}/gradio_api/file={path}")[0] in (403, 404)
    for path in ("gradio_api/info", "gradio_api/file=http://127.0.0.1:1/x", "gradio_api/openapi.json", "docs"):
        assert answer(f"{address}/{path}")[0] == 404
    settings = json.loads(answer(f"{address}/config")[1])
    assert str(run) not in json.dumps(settings)
    (number,) = [d["id"] for d in settings["dependencies"] if d["targets"][0][1] == "upload" and d["inputs"]]
    stolen = {"path": str(run / "config.json"), "meta": {"_type": "gradio.FileData"}}
    said = asked(address, number, data=[stolen])
    assert '"success":false' in said
    assert "miou" not in said
    (number,) = [d["id"] for d in settings["dependencies"] if d["targets"][0][1] == "select"]
    for index in (str(data / "images" / "val" / "val2.png"), 2, -1, None, True):
        assert '"success":false' in asked(address, number, data=[], event_data={"index": index, "value": None})
    assert '"success":true' in asked(address, number, data=[], event_data={"index": 1, "value": None})


def test_it_ends_on_a_signal_and_leaves_nothing_behind(served):
    _, temporary, process = served
    assert list(temporary.glob("jaxseg-demo-*"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert list(temporary.glob("jaxseg-demo-*")) == []
