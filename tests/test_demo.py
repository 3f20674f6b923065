"""What the demo page shows, and what its server refuses, without a browser; the page itself is in test_demo_page."""

import asyncio
import dataclasses
import os
import socket
import struct
import zlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from pixelwise import Pixelwise

from jaxseg import crf, demo, demo_guard, demo_results, demo_settings
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.data.limits import MAX_PIXELS
from jaxseg.errors import InputError
from jaxseg.inference import Predictor
from jaxseg.refinement import RefinedPredictor

NAMES = ("ground", "<b>blob</b>", "dust")
PALETTE = ((0, 0, 0), (255, 128, 0), (10, 20, 30))


@pytest.fixture(scope="module")
def predictor():
    model = Pixelwise(num_classes=3)
    data = Folder(root="nowhere", num_classes=3, class_names=NAMES)
    config = Config(model=model, data=data, crop_size=(16, 16), steps=1, batch_size=1)
    return Predictor.of_state(config, model.init(jax.random.key(3), jnp.zeros((1, 16, 16, 3))))


@pytest.fixture(scope="module")
def image():
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8), (0, 0), 2)


@pytest.fixture
def shown():
    labels = np.zeros((4, 5), np.uint8)
    labels[0] = 1
    confidence = np.where(labels == 1, 0.5, 0.9).astype(np.float32)
    return demo_results.show("a", np.zeros((4, 5, 3), np.uint8), labels, confidence, num_classes=3, seconds=0.25)


def test_settings_make_a_predictor_of_the_same_network(predictor, image):
    plain = demo_settings.Settings().apply(predictor).segment(image)
    np.testing.assert_array_equal(plain.labels, predictor.predict(image))
    several = demo_settings.Settings((0.5, 1.0), flip=True).apply(predictor)
    assert (several.config.scales, several.config.flip) == ((0.5, 1.0), True)
    assert several.variables is predictor.variables
    assert np.abs(several.segment(image).confidence - plain.confidence).max() > 1e-3
    refined = demo_settings.Settings(parameters=crf.Parameters(iterations=2)).apply(predictor)
    assert isinstance(refined, RefinedPredictor)
    assert refined.parameters.iterations == 2
    assert np.abs(refined.segment(image).confidence - plain.confidence).max() > 1e-3
    with pytest.raises(InputError, match=r"scales=\(\) must be at least one factor above 0"):
        demo_settings.Settings(()).apply(predictor)


def test_what_is_chosen_is_what_is_done():
    numbers = (5.0, 160.0, 3.0, 2.0, 1.0, 7, "none")
    assert demo_settings.chosen([[1.0], False, "off", *numbers]) == demo_settings.Settings()
    wanted = crf.Parameters(
        w1=5.0, sigma_alpha=160.0, sigma_beta=3.0, w2=2.0, sigma_gamma=1.0, iterations=7, normalisation="none"
    )
    assert demo_settings.chosen([[1.5, 0.5], True, "crf-rnn", *numbers]) == demo_settings.Settings((0.5, 1.5), True, wanted)
    with pytest.raises(InputError, match="sigma_beta of the CRF is empty: give a number, or choose the set of parameters again"):
        demo_settings.chosen([[1.0], False, "crf-rnn", 5.0, 160.0, None, *numbers[3:]])


def test_work_without_an_end_is_refused(monkeypatch):
    refined = demo_settings.Settings(parameters=crf.Parameters())
    demo_settings.check_work("a", (3000, 4000), demo_settings.Settings((0.5, 1.0), flip=True))
    demo_settings.check_work("a", (2048, 2048), refined)
    with pytest.raises(
        InputError, match=r"a has 4,196,352 pixels, and the page's CRF takes 4,194,304 at most\. Switch the CRF off"
    ):
        demo_settings.check_work("a", (2048, 2049), refined)
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", "40000")
    demo_settings.check_work("a", (100, 100), demo_settings.Settings((1.0, 2.0)))
    with pytest.raises(
        InputError, match=r"a has 10,100 pixels, which the scale 2 makes 40,400, more than the limit of 40,000\. Cho"
    ):
        demo_settings.check_work("a", (101, 100), demo_settings.Settings((2.0, 1.0)))


def test_shares_and_confidences_are_those_of_all_pixels(shown):
    assert shown.shares == pytest.approx((0.75, 0.25, 0))
    assert shown.confidences[:2] == pytest.approx((0.9, 0.5))
    assert np.isnan(shown.confidences[2])
    assert shown.size == (4, 5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), (768, 768)),
        ((96, 128), (576, 768)),
        ((500, 700), (500, 700)),
        ((3000, 4000), (960, 1280)),
        ((1, 5000), (1, 1280)),
    ],
)
def test_pictures_are_shown_at_a_size_for_screens(size, expected):
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 1
    image = np.zeros((*size, 3), np.uint16)
    shown = demo_results.show("x", image, labels, np.ones(size, np.float32), num_classes=2, seconds=0.0)
    assert shown.image.shape == (*expected, 3)
    assert shown.labels.shape == shown.confidence.shape == expected
    assert shown.image.dtype == np.uint8
    assert set(np.unique(shown.labels)) <= {0, 1}
    assert shown.shares == pytest.approx(((size[1] // 2) / size[1], 1 - (size[1] // 2) / size[1]))


def test_the_legend_has_colours_shares_and_no_markup_of_others(shown):
    text = demo_results.legend_table(NAMES, PALETTE, shown)
    assert "<b>" not in text
    assert text.index("ground") < text.index("&lt;b&gt;blob&lt;/b&gt;")
    assert "background:#ff8000" in text
    assert "width:100.00%;background:#000000" in text  # bars are shares of the largest
    assert "width:33.33%;background:#ff8000" in text
    assert "<td>75.0 %</td><td>90.0 %</td>" in text
    assert "<td>25.0 %</td><td>50.0 %</td>" in text
    assert '<p class="absent">Not in this image: dust.</p>' in text


def test_a_share_that_rounds_to_nothing_is_not_called_nothing():
    labels = np.zeros((50, 50), np.uint8)
    labels[0, 0] = 1
    shown = demo_results.show("x", np.zeros((50, 50, 3)), labels, np.ones((50, 50), np.float32), num_classes=2, seconds=0.0)
    assert "<td>&lt; 0.1 %</td>" in demo_results.legend_table(NAMES[:2], PALETTE[:2], shown)


def test_the_scale_has_the_colours_of_the_map(shown):
    text, picture = demo_results.confidence_scale(shown), demo_results.confidence_map(shown)
    assert "80.0 % on average" in text  # three quarters at 90 %, one at 50 %
    assert "rgb(0,0,4)" in text  # the dark end
    middle = picture[0, 0].tolist()  # 50 %, the middle of 17 steps
    assert "rgb({},{},{})".format(*middle) in text
    assert picture[0, 0].astype(int).sum() < picture[-1, -1].astype(int).sum()


def test_opacity_goes_from_the_image_to_the_colours(shown):
    assert not demo_results.overlay(shown, PALETTE, 0.0).any()
    assert (demo_results.overlay(shown, PALETTE, 1.0)[0] == PALETTE[1]).all()
    with pytest.raises(InputError, match=r"alpha=1\.5 must be from 0"):
        demo_results.overlay(shown, PALETTE, 1.5)


def test_the_picture_that_is_downloaded_has_the_legend(shown, tmp_path):
    picture = demo_results.overlay(shown, PALETTE, 0.5)
    path = demo_results.save_overlay(tmp_path, picture, shown, NAMES, PALETTE)
    assert path == tmp_path / "a_overlay.png"
    with Image.open(path) as saved:
        assert saved.width > picture.shape[1]


def test_messages_escape_what_users_named():
    assert "<script>" not in demo_results.refusal(InputError("<script>.png is damaged"))
    assert 'role="alert"' in demo_results.refusal(InputError("x"))


def test_an_upload_is_read_by_its_content(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (6, 5), np.uint16)
    cv2.imwrite(str(tmp_path / "grey.png"), pixels)
    np.testing.assert_array_equal(demo_results.read_upload(tmp_path / "grey.png", 3), pixels[..., None].repeat(3, axis=2))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.zeros((6, 5, 4), np.uint8))
    assert demo_results.read_upload(str(tmp_path / "alpha.png"), 3).shape == (6, 5, 3)


def png_of(height, width):
    """Return a PNG that says it is so large, of few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_bad_uploads_are_refused_by_name_and_without_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSEG_MAX_PIXELS", str(demo.MAX_PIXELS))
    cv2.imwrite(str(tmp_path / "whole.png"), np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))
    content = {
        "notes.txt": b"hello",
        "text.png": b"no image at all",
        "cut.png": (tmp_path / "whole.png").read_bytes()[:1000],
        "empty.jpg": b"",
        "bomb.png": png_of(60_000, 60_000),
        "five.tif": None,
    }
    for name, data in content.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
    cv2.imwrite(str(tmp_path / "five.tif"), np.zeros((4, 4, 3), np.uint8))
    for name, message in {
        "notes.txt": r"notes\.txt is no image by its name\. Upload one that ends in \.png, \.jpg",
        "text.png": r"text\.png is not an image that jaxseg can read",
        "cut.png": r"cut\.png is truncated or damaged",
        "empty.jpg": r"empty\.jpg is truncated or damaged \(the file is empty\)",
        "bomb.png": r"bomb\.png has 60000x60000 \(width x height\) = 3,600,000,000 pixels, more than the limit of 16,777,216",
        "gone.png": r"gone\.png is no longer here: uploads are deleted after a while\. Upload it again\.",
        "five.tif": r"five\.tif has 3 channels, but num_channels is 5",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            demo_results.read_upload(tmp_path / name, 5 if name == "five.tif" else 3)
        assert str(tmp_path) not in str(refused.value)


def ask(path, method="GET", *, headers=(), root=""):
    """Return what the guard answers: status, headers, body; 200 where it let the request through."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"unsafe-url")]})
        await send({"type": "http.response.body", "body": b"through"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers), "root_path": root}
    asyncio.run(demo_guard.Guard(application, max_upload=1000)(scope, None, send))
    return sent[0]["status"], sent[0]["headers"], sent[1]["body"]


@pytest.mark.parametrize("path", ["/", "/config", "/assets/x.js", "/gradio_api/queue/data", "/gradio_api/file=/tmp/x.png"])
def test_the_guard_lets_the_page_through(path):
    status, headers, body = ask(path)
    assert (status, body) == (200, b"through")
    assert dict(headers)[b"content-security-policy"].startswith(b"default-src 'self'")
    assert b"Referrer-Policy" not in dict(headers)
    assert dict(headers)[b"referrer-policy"] == b"no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/run/predict", "/gradio_api/call/predict", "/docs"),
        *("/gradio_api/file=http://example.org/x.png", "/gradio_api/proxy=http://example.org", "/gradio_api/deep_link"),
        *("/gradio_api/process_recording", "/gradio_api/runs", "/monitoring/summary", "/gradio_api/vibe-code", "/configs"),
    ],
)
def test_the_guard_refuses_all_else(path):
    status, headers, _ = ask(path)
    assert status == 404
    assert b"content-security-policy" in dict(headers)


def test_the_guard_limits_what_is_sent():
    upload, join = "/gradio_api/upload", "/gradio_api/queue/join"
    assert ask(upload, "POST")[0] == 411
    assert ask(upload, "POST", headers=[(b"content-length", b"1e9")])[0] == 411
    assert ask(upload, "POST", headers=[(b"content-length", b"900")])[0] == 200
    assert ask(upload, "POST", headers=[(b"content-length", b"1100000")])[0] == 413
    assert ask(join, "POST", headers=[(b"content-length", b"1048577")])[0] == 413
    assert ask(join, "POST", headers=[(b"content-length", b"1048576")])[0] == 200


def test_the_guard_works_behind_a_proxy():
    assert ask("/demo/config", root="/demo")[0] == 200
    assert ask("/demo/gradio_api/info", root="/demo")[0] == 404


def test_websockets_are_not_answered_and_the_start_is_passed_on():
    reached = []

    async def application(scope, receive, send):
        reached.append(scope["type"])

    guard = demo_guard.Guard(application, max_upload=1)
    for kind in ("websocket", "lifespan"):
        asyncio.run(guard({"type": kind}, None, None))
    assert reached == ["lifespan"]


def test_a_port_is_found_or_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port} of 127\.0\.0\.1 cannot be used \(.*\)\. Give another --port, or 0"):
            demo.free_port("127.0.0.1", port)
    assert demo.free_port("127.0.0.1", port) == port
    assert demo.free_port("127.0.0.1", 0) > 0
    assert demo.free_port("127.0.0.1", None) in demo.PORTS
    with pytest.raises(InputError, match="--port 70000 must be from 1 to 65535"):
        demo.free_port("127.0.0.1", 70000)
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid is no address of this machine"):
        demo.free_port("no.such.host.invalid", 0)


def test_examples_come_from_the_split_that_training_evaluated(predictor, capsys, monkeypatch):
    assert demo.find_examples(predictor.config, 4) == []
    assert "examples     none: " in capsys.readouterr().err

    def split(self, name):
        return [{"name": f"{name}{i}", "image": np.full((2, 2, 3), i, np.uint8)} for i in range(9)]

    monkeypatch.setattr(Folder, "split", split)
    config = dataclasses.replace(predictor.config, eval_split="test")
    assert [name for name, _ in demo.find_examples(config, 3)] == ["test0", "test4", "test8"]
    assert len(demo.find_examples(config, 20)) == 9
    assert demo.find_examples(config, 0) == []
    assert capsys.readouterr().err == ""


def test_old_files_go_and_new_and_kept_ones_stay(tmp_path):
    for name in ("old/a.png", "old/kept.png", "older/b.png", "new.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    kept = {tmp_path / "old", tmp_path / "old" / "kept.png"}
    for path in tmp_path.rglob("*"):
        if path.name != "new.png":
            os.utime(path, (0, 0))
    demo.sweep(tmp_path, kept, 60)
    assert {p.name for p in tmp_path.rglob("*")} == {"old", "kept.png", "older", "new.png"}  # its removal was a change of it
    os.utime(tmp_path / "older", (0, 0))
    demo.sweep(tmp_path, kept, 60)
    assert {p.name for p in tmp_path.rglob("*")} == {"old", "kept.png", "new.png"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--examples", "-1"), "--examples -1 must be at least 0; 0 offers none."),
        (("--max-mb", "0"), "--max-mb 0 must be at least 1: it is the size that an upload may have."),
        ((), "The demo page needs Gradio: pip install 'jaxseg[demo]'."),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        demo.main(["--workdir", str(tmp_path), *flags])
    assert stop.value.code == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_help_shows_an_example_and_the_limits(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--help"])
    said = capsys.readouterr().out
    assert "python -m jaxseg.demo --workdir runs/setr-scenes" in said
    assert "default: 127.0.0.1" in said
    assert demo.MAX_PIXELS < MAX_PIXELS
