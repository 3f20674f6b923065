"""What the demo page shows and does with what it is given, without a browser; the page itself is in test_demo_page."""

import struct
import zlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from pixelwise import Pixelwise

from jaxseg import crf, demo, demo_results, demo_settings
from jaxseg.config import Config
from jaxseg.data.folder import Folder
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
    with pytest.raises(InputError, match=r"No scale is chosen, .* Choose at least one scale\."):
        demo_settings.chosen([[], False, "off", *numbers])
    for count in (2.5, float("nan")):
        with pytest.raises(InputError, match=rf"iterations of the CRF is {count}: give a whole number"):
            demo_settings.chosen([[1.0], False, "crf-rnn", *numbers[:5], count, "none"])
    assert type(demo_settings.chosen([[1.0], False, "crf-rnn", *numbers[:5], 2.0, "none"]).parameters.iterations) is int


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
        "Set the size.png": b"",
        "bomb.png": png_of(60_000, 60_000),
        "five.tif": None,
    }
    for name, data in content.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
    cv2.imwrite(str(tmp_path / "five.tif"), np.zeros((4, 4, 3), np.uint8))
    for name, message in {
        "notes.txt": r"notes\.txt is no image by its name\. Upload one that ends in \.png, \.jpg",
        "text.png": r"text\.png is not an image that jaxseg can read \(\w+\)\. Upload it as PNG or JPEG, or upload another im",
        "cut.png": r"cut\.png is truncated or damaged \(.*\)\. Upload another image, or this one saved again\.$",
        "empty.jpg": r"empty\.jpg is truncated or damaged \(the file is empty\)",
        "bomb.png": r"bomb\.png has 60000x60000 \(width x height\) = 3,600,000,000 pixels, more than the limit of "
        r"16,777,216\. Upload a smaller image\.$",
        "gone.png": r"gone\.png is no longer here: uploads are deleted after a while\. Upload it again\.",
        "five.tif": r"five\.tif has 3 channels, but the network takes 5\. Upload an image of 5 channels\.$",
        "Set the size.png": r"Set the size\.png is truncated",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            demo_results.read_upload(tmp_path / name, 5 if name == "five.tif" else 3)
        assert str(tmp_path) not in str(refused.value)
