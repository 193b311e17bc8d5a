import http.server
import os
import re
import threading

import pytest
from upath import UPath

from losa.cache_format import LosaError
from losa.cache_format.storage.paths import cache_folder
from losa.extract.sources.webdataset import indexing
from losa.extract.sources.webdataset.indexing import index_shards
from losa.extract.sources.webdataset.sample_fields import USUAL_LABELS, SampleFields

FIELDS = SampleFields(None, USUAL_LABELS)
NAMES = ["train-0000.tar", "train-0001.tar", "test-0000.tar"]


def _refuse(*_):
    raise AssertionError("a shard is read through again")


@pytest.fixture
def server(shards):
    """``server(ranges)``: URL of a server of the shards that answers requests for ranges, or does not."""
    servers = []

    def start(ranges):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                data = (shards / self.path.strip("/")).read_bytes()
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if ranges and asked:
                    start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
                    data = data[start:end]
                else:
                    self.send_response(200)
                if ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("ETag", "1")
                self.end_headers()
                self.wfile.write(data)

            def do_HEAD(self):
                self.send_response(200)
                if ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str((shards / self.path.strip("/")).stat().st_size))
                self.send_header("ETag", "1")
                self.end_headers()

            def log_message(self, *_):
                pass

        one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(one)
        threading.Thread(target=one.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{one.server_port}"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.fixture(params=["local", "memory", "http"])
def root(request, shards):
    """The shards, here and behind URLs."""
    if request.param == "local":
        return shards
    if request.param == "http":
        return cache_folder(request.getfixturevalue("server")(True))
    folder = UPath(f"memory://indexing/{shards.parent.name}")
    for name in NAMES:
        folder.fs.pipe(f"{folder.path}/{name}", (shards / name).read_bytes())
    return folder


def test_shards_are_read_through_once_wherever_they_are(root, tmp_path, monkeypatch):
    found, notes = index_shards(root, NAMES, FIELDS, str(tmp_path / "indices"))
    assert [len(index.names) for index in found] == [3, 3, 2]
    assert [index.texts["cls"] for index in found] == [["0", "1", "2"], ["0", "1", "2"], ["0", "1"]]
    assert notes == []
    monkeypatch.setattr(indexing, "index_shard", _refuse)
    assert index_shards(root, NAMES, FIELDS, str(tmp_path / "indices")) == (found, [])


def test_only_a_changed_shard_is_read_through_again(shards, tmp_path, monkeypatch):
    before, _ = index_shards(shards, NAMES, FIELDS, str(tmp_path / "indices"))
    os.utime(shards / NAMES[1], ns=(1, 1))
    read = []
    index_shard = indexing.index_shard
    monkeypatch.setattr(
        indexing,
        "index_shard",
        lambda file, place, *rest: read.append(place) or index_shard(file, place, *rest),
    )
    assert index_shards(shards, NAMES, FIELDS, str(tmp_path / "indices"))[0] == before
    assert read == [str(shards / NAMES[1])]


def test_a_missing_shard_is_named(root, tmp_path):
    with pytest.raises(LosaError, match=r"dataset\.shards: there is no file .*/train-0002\.tar"):
        index_shards(root, ["train-0000.tar", "train-0002.tar"], FIELDS, str(tmp_path / "indices"))


def test_a_server_that_sends_whole_files_only_is_refused(server, tmp_path):
    with pytest.raises(LosaError, match="does not answer requests for parts of a file"):
        index_shards(cache_folder(server(False)), NAMES, FIELDS, str(tmp_path / "indices"))


def test_an_unreachable_server_is_named(tmp_path):
    with pytest.raises(LosaError, match=r"http://127\.0\.0\.1:9/train-0000\.tar"):
        index_shards(cache_folder("http://127.0.0.1:9"), NAMES, FIELDS, str(tmp_path / "indices"))


def test_where_indices_cannot_be_kept_it_is_told(shards, tmp_path):
    (tmp_path / "file").touch()
    found, notes = index_shards(shards, NAMES, FIELDS, str(tmp_path / "file/indices"))
    assert len(found) == 3
    (note,) = notes
    assert re.search(
        r"indices of shards cannot be kept in .*/file/indices \(.*\).*dataset\.index_folder=", note
    )
