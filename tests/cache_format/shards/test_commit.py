from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from losa.cache_format import CacheError, CorruptCache, SiteStatistics
from losa.cache_format.shards.commit import Commit
from losa.cache_format.storage.file_record import FileRecord
from losa.cache_format.storage.sealed_json import seal
from losa.cache_format.stores.base import CHUNK_RECORD, Chunked, Strided

STATISTICS = SiteStatistics(count=3, minimum=-1.5, maximum=1e-5, sum_squares=4.0, error_sum_squares=0.0)


@pytest.fixture
def commit():
    return Commit(
        features_sha256="ab" * 32,
        segment="train",
        segment_keys_sha256="cd" * 32,
        shard=4,
        files={
            "codes/c.4.0.0.0": FileRecord(bytes=1000, crc32="01234567"),
            "scales/c.4.0.0": FileRecord(bytes=52, crc32="89abcdef"),
        },
        codes=Strided(file="codes/c.4.0.0.0", offset=100, stride=450),
        scales=Strided(file="scales/c.4.0.0", offset=0, stride=24),
        rows=2,
        site_crc32c="01020304ffffffff00000000a0b0c0d0",
        source_blake2b="11" * 16 + "00" * 16,
        invalid={"1": "cannot decode größe.jpg"},
        statistics=(STATISTICS, STATISTICS),
    )


def chunked(*chunks: tuple[int, int, int]) -> Chunked:
    return Chunked(file="codes/c.4.0.0.0", chunks=np.array(list(chunks), CHUNK_RECORD).tobytes().hex())


def read(path) -> Commit:
    return Commit.parse(path.read_bytes(), path)


def test_what_is_written_is_read(commit, tmp_path):
    compressed = replace(commit, codes=chunked((100, 20, 1), (0, 30, 2**32 - 1)))
    for record in (commit, compressed, replace(commit, scales=None)):
        record.write(tmp_path / "commit.4.json")
        assert read(tmp_path / "commit.4.json") == record


def test_a_negative_count_is_refused_when_it_is_read(commit, tmp_path):
    replace(commit, statistics=(STATISTICS, replace(STATISTICS, count=-1))).write(tmp_path / "commit.4.json")
    with pytest.raises(CorruptCache, match="greater than or equal to 0"):
        read(tmp_path / "commit.4.json")


def test_chunks_are_a_table_of_the_format_and_no_accident():
    table = chunked((2**32, 5, 7)).table
    assert table.dtype.itemsize == 20
    assert table.tolist() == [(2**32, 5, 7)]
    assert chunked((1, 2, 3)).chunks == "0100000000000000" + "0200000000000000" + "03000000"


def test_checksums_are_little_endian_rows_by_sites(commit):
    expected = np.array([[0x04030201, 0xFFFFFFFF], [0, 0xD0C0B0A0]], np.uint32)
    np.testing.assert_array_equal(commit.checksums, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 3}, "site_crc32c: 32 digits for 3 rows"),
        ({"statistics": (STATISTICS,)}, "site_crc32c: 32 digits for 2 rows"),
        ({"source_blake2b": "11" * 16}, "source_blake2b: 32 digits for 2 rows"),
        ({"invalid": {"2": "why"}}, "invalid: there is no row 2"),
        ({"invalid": {"-1": "why"}}, "invalid: there is no row -1"),
        ({"invalid": {"²": "why"}}, "invalid: there is no row ²"),
        ({"site_crc32c": "0102030X" * 4}, "site_crc32c"),
        ({"rows": 0, "site_crc32c": "", "source_blake2b": "", "invalid": {}}, "rows"),
        ({"shard": -1}, "shard"),
        ({"invalid": {"01": "why"}}, "invalid: there is no row 01"),
        ({"files": {}}, "files"),
        ({"files": {"../up": FileRecord(bytes=1, crc32="00000000")}}, "files"),
        ({"codes": Strided(file="other", offset=0, stride=1)}, "there is no record of file other"),
        ({"codes": Strided(file="codes/c.4.0.0.0", offset=101, stride=450)}, "codes: rows are beyond"),
        ({"scales": Strided(file="scales/c.4.0.0", offset=0, stride=27)}, "scales: rows are beyond"),
        ({"codes": chunked((0, 10, 0))}, "codes: 40 digits for 2 rows"),
        ({"codes": chunked((0, 10, 0), (995, 6, 0))}, "codes: rows are beyond"),
        ({"codes": chunked((2**64 - 1, 2, 0), (0, 6, 0))}, "codes: rows are beyond"),
    ],
)
def test_an_inconsistent_record_cannot_be_built(commit, change, message):
    with pytest.raises(ValidationError, match=message):
        replace(commit, **change)


def test_a_sealed_record_of_something_else_is_corrupt(tmp_path):
    path = tmp_path / "commit.0.json"
    path.write_bytes(seal({"version": 1, "shard": 1}))
    with pytest.raises(CorruptCache, match=r"commit\.0\.json is not a valid commit record: Field required"):
        read(path)


def test_a_record_of_another_version_asks_for_another_losa(tmp_path):
    path = tmp_path / "commit.0.json"
    path.write_bytes(seal({"version": 2}))
    with pytest.raises(CacheError, match="format version 2; this losa reads version 1: install a newer one"):
        read(path)
