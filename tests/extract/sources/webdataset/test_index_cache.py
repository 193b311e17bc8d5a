import os

import pytest
from upath import UPath

from losa.extract.sources.webdataset.index_cache import IndexCache, ShardVersion, shard_version
from losa.extract.sources.webdataset.sample_fields import SampleFields
from losa.extract.sources.webdataset.shard_index import ShardIndex

INDEX = ShardIndex(
    names=["a.jpg"], offsets=[512], sizes=[3], texts={"cls": [None]}, left_out={"x": 1}, fields=["jpg"]
)
SHARD = ShardVersion("/x.tar", 10240, "7")
FIELDS = SampleFields(None, ("cls",))


def test_an_index_is_found_again(tmp_path):
    IndexCache(str(tmp_path), FIELDS).put(SHARD, INDEX)
    assert IndexCache(str(tmp_path), FIELDS).get(SHARD) == INDEX


def test_an_index_of_another_shard_or_of_other_options_is_not_found(tmp_path):
    IndexCache(str(tmp_path), FIELDS).put(SHARD, INDEX)
    for change in ({"place": "/y.tar"}, {"size": 1}, {"stamp": "8"}):
        assert IndexCache(str(tmp_path), FIELDS).get(SHARD._replace(**change)) is None
    for fields in (SampleFields("jpg", ("cls",)), SampleFields(None, ("txt",))):
        assert IndexCache(str(tmp_path), fields).get(SHARD) is None


def test_a_damaged_index_is_none(tmp_path):
    cache = IndexCache(str(tmp_path), FIELDS)
    cache.put(SHARD, INDEX)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert cache.get(SHARD) is None


def test_without_a_stamp_nothing_is_kept(tmp_path):
    cache = IndexCache(str(tmp_path), FIELDS)
    cache.put(SHARD._replace(stamp=None), INDEX)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert IndexCache(None, FIELDS).folder == tmp_path / "losa/shards"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert IndexCache(None, FIELDS).folder == tmp_path / ".cache/losa/shards"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    cache = IndexCache(str(tmp_path), FIELDS)
    monkeypatch.setattr("pathlib.Path.replace", _full)
    with pytest.raises(OSError, match="full"):
        cache.put(SHARD, INDEX)
    assert list(tmp_path.iterdir()) == []


def _full(*_):
    raise OSError(28, "full")


def test_a_changed_file_has_another_version(tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(b"1")
    before = shard_version(file)
    os.utime(file, ns=(1, 1))
    assert shard_version(file) != before
    remote = UPath("memory://version/x.tar")
    remote.fs.pipe(remote.path, b"1")
    before = shard_version(remote)
    assert before.place == "memory://version/x.tar"
    assert before.stamp is not None
    remote.fs.pipe(remote.path, b"2")
    assert shard_version(remote) != before
