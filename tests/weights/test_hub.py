"""The Hub, as a server of our own that answers what the client asks: no network."""

import http.server
import importlib
import json
import threading

import numpy as np
import pytest
from safetensors.numpy import save

from jaxseg.errors import InputError
from jaxseg.weights import hub, readers

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = importlib.import_module("huggingface_hub.constants")

REVISION = "0" * 39 + "1"
W = save({"conv1.weight": np.ones(3, np.float32)})
FILES = {
    "me/one": {"model.safetensors": W, "config.json": b'{"mean": [0.5], "std": [0.5]}', "README.md": b"hi"},
    "me/shards": {
        "model.safetensors.index.json": json.dumps({"weight_map": {"conv1.weight": "model-00001-of-00001.safetensors"}}).encode(),
        "model-00001-of-00001.safetensors": W,
    },
    "me/two": {"a.safetensors": W, "b.safetensors": W, "deep/c.safetensors": W},
    "me/none": {"README.md": b"hi"},
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            files = FILES.get("/".join(parts[2:4]))
            tree = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in files or ()]
            return self._send(json.dumps(tree).encode() if files else None, body, "application/json")
        files = FILES.get("/".join(parts[:2]), {})
        return self._send(files.get("/".join(parts[4:])) if parts[2:3] == ["resolve"] else None, body, "application/octet-stream")

    def _send(self, content, body, kind):
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Content-Type", kind)
        self.send_header("ETag", f'"{len(content or b"")}"')
        self.send_header("X-Repo-Commit", REVISION)
        if content is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", here)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
        server.shutdown()
        thread.join()


def test_a_repository_gives_its_weights_and_what_is_beside_them(server):
    path = hub.download("hf://me/one")
    assert readers.read(path).arrays.keys() == {"conv1.weight"}
    assert (path.parent / "config.json").is_file()
    assert not (path.parent / "README.md").exists()


def test_all_shards_are_fetched(server):
    assert readers.read(hub.download("hf://me/shards")).arrays.keys() == {"conv1.weight"}


def test_a_file_of_several_must_be_named(server):
    assert hub.download("hf://me/two/deep/c.safetensors").name == "c.safetensors"
    with pytest.raises(InputError, match=r"which file\? Give one of a\.safetensors, b\.safetensors, deep/c\.safetensors"):
        hub.download("hf://me/two")
    with pytest.raises(InputError, match=r"there is no such file\. The repository has a\.safetensors"):
        hub.download("hf://me/two/x.safetensors")
    with pytest.raises(InputError, match="which file"):
        hub.download("hf://me/none")


def test_what_is_not_there_is_named(server):
    with pytest.raises(InputError, match=r"hf://me/nothing cannot be fetched \(RepositoryNotFoundError"):
        hub.download("hf://me/nothing")


@pytest.mark.parametrize("address", ["hf://me", "hf://", "hf://me//x.pth"])
def test_an_address_has_an_owner_and_a_name(address):
    with pytest.raises(InputError, match="is no address on the Hub"):
        hub.download(address)


def test_without_the_client_the_remedy_is_named(monkeypatch):
    def missing(name, *args):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"needs the client of the Hub: pip install 'jaxseg\[hub\]'"):
        hub.download("hf://me/one")


def test_a_revision_is_part_of_the_address(server, monkeypatch):
    asked = []
    own = huggingface_hub.HfApi.list_repo_files
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *a, **k: asked.append(k["revision"]) or own(*a, **k))
    hub.download("hf://me/one@main")
    hub.download("hf://me/one")
    assert asked == ["main", None]


def test_what_was_fetched_is_found_again_without_a_network(server, monkeypatch):
    fetched = hub.download("hf://me/one")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.download("hf://me/one") == fetched
    assert hub.download("hf://me/one/model.safetensors") == fetched
    with pytest.raises(InputError, match=r"hf://me/shards cannot be fetched \(OfflineModeIsEnabled"):
        hub.download("hf://me/shards")
