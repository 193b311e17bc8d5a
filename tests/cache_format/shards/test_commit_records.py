"""Commit records are read in one pass, and are not read again when they are known."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from losa.cache_format import Cache, CorruptCache
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards import segment_files
from losa.cache_format.shards.commit_records import CommitRecords


@pytest.fixture
def reads(monkeypatch):
    """How often each commit record was read, by path."""
    counted = Counter()
    read_bytes = Path.read_bytes

    def counting(self):
        if self.name.startswith("commit."):
            counted[self] += 1
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", counting)
    return counted


def test_one_reading_answers_all_questions(recipe, finished, tiny, reads, caplog):
    path = finished(replace(recipe, invalid=frozenset({tiny.VAL[0]})))
    train = recipe.files(path, "train")
    train.commit_path(0).unlink()
    damaged = train.commit_path(2)
    tiny.flip(damaged, 30, 0)
    reads.clear()
    records = CommitRecords.read(CacheMetadata.read(path))
    assert set(reads.values()) == {1}
    names = {segment.name: segment for segment in records.segments}
    assert list(names) == ["train", "val"]
    assert [commit.shard for commit in records.committed(names["train"])] == [1]
    assert [commit.shard for commit in records.committed(names["val"])] == [0, 1]
    with caplog.at_level(logging.WARNING):
        assert records.missing() == [(names["train"], 0), (names["train"], 2)]
    (message,) = caplog.messages
    assert message.startswith(f"{damaged}: ")
    assert message.endswith("This shard is made again.")
    assert records.missing({"val"}) == []
    assert records.missing({"val"}, remake=lambda segment, commit: True) == [(names["val"], 0)]
    asked = []
    assert records.missing(remake=lambda *shard: asked.append(shard)) == records.missing()
    assert [(segment.name, commit.shard) for segment, commit in asked] == [("val", 0)]
    assert set(reads.values()) == {1}


def test_the_bytes_of_few_records_are_in_memory_at_once(recipe, finished, monkeypatch):
    path = finished(recipe)
    asked, read = [], segment_files.read_existing
    monkeypatch.setattr(segment_files, "RECORDS_AT_ONCE", 2)
    monkeypatch.setattr(segment_files, "read_existing", lambda paths: asked.append(len(paths)) or read(paths))
    records = CommitRecords.read(CacheMetadata.read(path))
    assert asked == [2, 1, 2]
    assert [[images.shard for images in records.committed(one)] for one in records.segments] == [
        [0, 1, 2],
        [0, 1],
    ]


def test_segments_can_be_chosen(recipe, finished, reads):
    path = finished(recipe)
    reads.clear()
    records = CommitRecords.read(CacheMetadata.read(path), frozenset({"val"}))
    assert [segment.name for segment in records.segments] == ["val"]
    assert reads == {recipe.files(path, "val").commit_path(shard): 1 for shard in range(2)}


def test_a_writer_knows_the_statistics_of_what_it_read_and_wrote(recipe, finished, reads):
    path = finished(recipe)
    expected = Cache(path).statistics()
    recipe.files(path, "train").commit_path(1).unlink()
    reads.clear()
    with recipe.open(path) as writer:
        missing = writer.missing()
        assert [(segment.name, shard) for segment, shard in missing] == [("train", 1)]
        recipe.write_shard(writer, *missing[0])
        assert writer.statistics() == expected
    kept = [recipe.files(path, "train").commit_path(shard) for shard in (0, 2)]
    kept += [recipe.files(path, "val").commit_path(shard) for shard in (0, 1)]
    assert {record: reads[record] for record in kept} == dict.fromkeys(kept, 1)
    assert Cache(path).statistics() == expected


def test_a_writer_reads_the_records_of_splits_that_were_not_requested(recipe, finished, tiny):
    path = finished(recipe)
    expected = Cache(path).statistics()
    with recipe.open(path, splits=[recipe.contents("val")]) as writer:
        assert writer.missing() == []
        assert writer.statistics() == expected
        tiny.flip(recipe.files(path, "train").commit_path(1), 30, 0)
        with pytest.raises(CorruptCache):
            writer.statistics()
