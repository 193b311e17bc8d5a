import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from losa.cache_format import LosaError
from losa.extract import BackboneConfig, hub, load_backbone
from losa.extract.hub import hub_or_copies


@pytest.fixture(autouse=True)
def _empty_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def nobody(monkeypatch):
    """The hub is at a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield


@pytest.fixture
def busy(monkeypatch):
    """The hub answers that it is overloaded; the number of its answers."""
    answers = []

    class Busy(BaseHTTPRequestHandler):
        def do_HEAD(self):
            answers.append(self.path)
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["test_vit", "hf-hub:we/model"])
def test_without_a_hub_the_error_comes_within_seconds(name, nobody, monkeypatch, caplog):
    monkeypatch.setattr(hub, "PAUSE", 0.1)
    monkeypatch.setattr(hub, "PATIENCE", 0.3)
    start = time.monotonic()
    with pytest.raises(LosaError, match=r"LocalEntryNotFoundError: .*connection"):
        load_backbone(BackboneConfig(name=name))
    assert time.monotonic() - start < 3, "huggingface_hub waits for half a minute for each file"
    (record,) = caplog.records
    assert "does not answer (ConnectError: " in record.getMessage()
    assert record.getMessage().endswith(": only copies on this machine are used")
    assert not constants.HF_HUB_OFFLINE


def test_without_a_hub_copies_are_used(nobody, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(hub, "PATIENCE", 0.0)
    root = tmp_path / "models--we--model"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text("c0ffee")
    copy = root / "snapshots/c0ffee/config.json"
    copy.parent.mkdir(parents=True)
    copy.touch()
    with hub_or_copies():
        assert hf_hub_download("we/model", "config.json") == str(copy)
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download("we/model", "model.safetensors")


def test_a_hub_that_answers_gets_its_retries(busy, caplog):
    with hub_or_copies():
        assert busy == ["/"]
        assert not constants.HF_HUB_OFFLINE
    assert not caplog.records


def test_nobody_is_asked_where_nothing_is_downloaded(busy, monkeypatch):
    with pytest.raises(LosaError, match="there is no file"):
        load_backbone(BackboneConfig(name="test_vit", checkpoint="missing.pth"))
    load_backbone(BackboneConfig(name="test_vit", pretrained=False))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub_or_copies():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE
    assert not busy
