from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from losa.cache_format import CorruptCache, SiteStatistics
from losa.cache_format.commit import Commit
from losa.cache_format.sealed_json import seal

STATISTICS = SiteStatistics(count=3, minimum=-1.5, maximum=1e-5, sum_squares=4.0, error_sum_squares=0.0)


@pytest.fixture
def commit():
    return Commit(
        features_sha256="ab" * 32,
        segment="train",
        segment_keys_sha256="cd" * 32,
        shard=4,
        sizes={"codes": 1000, "scales": 48},
        rows=2,
        crc32c="01020304ffffffff00000000a0b0c0d0",
        sources="11" * 16 + "00" * 16,
        invalid={"1": "cannot decode größe.jpg"},
        statistics=(STATISTICS, STATISTICS),
    )


def test_what_is_written_is_read(commit, tmp_path):
    commit.write(tmp_path / "commit.4.json")
    assert Commit.read(tmp_path / "commit.4.json") == commit


def test_checksums_are_little_endian_rows_by_sites(commit):
    expected = np.array([[0x04030201, 0xFFFFFFFF], [0, 0xD0C0B0A0]], np.uint32)
    np.testing.assert_array_equal(commit.checksums, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 3}, "crc32c: 32 digits for 3 rows"),
        ({"statistics": (STATISTICS,)}, "crc32c: 32 digits for 2 rows"),
        ({"sources": "11" * 16}, "sources: 32 digits for 2 rows"),
        ({"invalid": {"2": "why"}}, "invalid: there is no row 2"),
        ({"invalid": {"-1": "why"}}, "invalid: there is no row -1"),
        ({"invalid": {"²": "why"}}, "invalid: there is no row ²"),
        ({"crc32c": "0102030X" * 4}, "crc32c"),
        ({"rows": 0, "crc32c": "", "sources": "", "invalid": {}}, "rows"),
        ({"shard": -1}, "shard"),
    ],
)
def test_an_inconsistent_record_cannot_be_built(commit, change, message):
    with pytest.raises(ValidationError, match=message):
        replace(commit, **change)


def test_an_uncommitted_shard_has_no_record(tmp_path):
    with pytest.raises(FileNotFoundError):
        Commit.read(tmp_path / "commit.0.json")


def test_a_sealed_record_of_something_else_is_corrupt(tmp_path):
    path = tmp_path / "commit.0.json"
    path.write_bytes(seal({"shard": 1}))
    with pytest.raises(CorruptCache, match=r"commit\.0\.json is not a valid commit record: Field required"):
        Commit.read(path)
