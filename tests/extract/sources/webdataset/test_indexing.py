import os
import re
import time

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


@pytest.fixture(params=["local", "memory", "http", "s3"])
def root(request, shards):
    """The shards, here and behind URLs."""
    if request.param == "local":
        return shards
    if request.param == "http":
        return cache_folder(request.getfixturevalue("server")(True))
    folder = UPath(f"memory://indexing/{shards.parent.name}")
    if request.param == "s3":
        endpoint = request.getfixturevalue("endpoint")
        folder = UPath(f"s3://bucket/{shards.parent.name}", endpoint_url=endpoint)
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


def test_after_an_error_the_other_shards_are_not_read_through(shards, tmp_path, monkeypatch):
    read = []

    def fail(file, place, fields):
        read.append(place)
        if not place.endswith("/0.tar"):
            time.sleep(0.05)  # as a shard of some size takes
        raise LosaError(f"{place} is damaged")

    monkeypatch.setattr(indexing, "index_shard", fail)
    names = []
    for number in range(200):
        names.append(f"{number}.tar")
        (shards / names[-1]).touch()
    with pytest.raises(LosaError, match=r"/0\.tar is damaged"):
        index_shards(shards, names, FIELDS, str(tmp_path / "indices"))
    assert len(read) < 200


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
