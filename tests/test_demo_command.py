"""The command of the demo page, without Gradio: its flags, its port, its examples, its old files, what it serves."""

import dataclasses
import os
import socket
import sys
import types

import numpy as np
import pytest
from pixelwise import Pixelwise

from jaxseg import demo
from jaxseg.config import Config
from jaxseg.data.folder import Folder
from jaxseg.data.limits import MAX_PIXELS
from jaxseg.errors import InputError


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


def test_examples_come_from_the_split_that_training_evaluated(capsys, monkeypatch):
    data = Folder(root="nowhere", num_classes=3, class_names=("ground", "blob", "dust"))
    config = Config(model=Pixelwise(num_classes=3), data=data, crop_size=(16, 16), steps=1, batch_size=1)
    assert demo.find_examples(config, 4) == []
    assert "examples     none: " in capsys.readouterr().err

    def split(self, name):
        return [{"name": f"{name}{i}", "image": np.full((2, 2, 3), i, np.uint8)} for i in range(9)]

    monkeypatch.setattr(Folder, "split", split)
    config = dataclasses.replace(config, eval_split="test")
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
    assert "the first --share downloads from Hugging Face" in " ".join(said.split())


class Launched(Exception):
    """The page would be served now."""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Serve a page that notes how it is launched and gets no public address; return what was noted."""
    noted = []

    class Blocks:
        def launch(self, **arguments):
            noted.append(arguments["server_name"])
            if not arguments["share"]:
                raise Launched
            return None, "http://127.0.0.1:7860/", None

        def close(self, **_):
            noted.append("closed")

    monkeypatch.setitem(sys.modules, "gradio", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "starlette.middleware", types.SimpleNamespace(Middleware=lambda *_, **__: None))
    monkeypatch.setattr(demo, "theme", lambda gradio: None)
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)

    def serve(host, share):
        demo.serve(Blocks(), tmp_path, host=host, port=7860, share=share, max_bytes=1)

    return serve, noted


def test_a_page_that_cannot_be_shared_ends_in_an_error(launch, capsys):
    serve, noted = launch
    with pytest.raises(
        InputError, match=r"No public address could be had from Gradio for --share: .* leave --share out and give"
    ):
        serve("127.0.0.1", share=True)
    assert noted == ["127.0.0.1", "closed"]
    assert capsys.readouterr().out == "", "no address is given that is closed again"


@pytest.mark.parametrize(("host", "name"), [("::1", "[::1]"), ("0.0.0.0", "0.0.0.0")])
def test_an_address_of_ipv6_is_in_brackets(launch, host, name):
    serve, noted = launch
    with pytest.raises(Launched):
        serve(host, share=False)
    assert noted == [name]
