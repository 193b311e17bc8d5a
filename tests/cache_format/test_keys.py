import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from losa.cache_format.zarr_layout import write_array

from losa.cache_format import CorruptCache, Segment
from losa.cache_format.identity import hash_keys
from losa.cache_format.keys import read_keys, write_keys

KEYS = ["größe.jpg", "", "\U0001f40d/\0"]


def segment_of(keys: list[str]) -> Segment:
    return Segment(name="s", images=len(keys), keys_sha256=hash_keys(keys), rows_per_shard=1, labels={})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=12, unique=True))
@settings(deadline=None, max_examples=30)
def test_keys_of_any_unicode_come_back(keys):
    with tempfile.TemporaryDirectory() as folder:
        write_keys(Path(folder), keys)
        assert read_keys(Path(folder), segment_of(keys)) == keys


def test_plain_zarr_reads_them_as_bytes_and_offsets(tmp_path):
    write_keys(tmp_path, KEYS)
    group = zarr.open_group(tmp_path / "keys", mode="r")
    data, offsets = group["bytes"][:].tobytes(), group["offsets"][:]
    assert offsets.dtype == np.int64
    assert [data[start:end].decode() for start, end in pairwise(offsets)] == KEYS


@pytest.mark.parametrize("array", ["bytes", "offsets"])
def test_every_single_bit_flip_is_detected(tmp_path, tiny, array):
    write_keys(tmp_path, KEYS)
    file = tmp_path / "keys" / array / "c.0"
    for place in range(file.stat().st_size):
        for bit in range(8):
            tiny.flip(file, place, bit)
            with pytest.raises(CorruptCache, match=f"keys/{array}/c.0"):
                read_keys(tmp_path, segment_of(KEYS))
            tiny.flip(file, place, bit)
    assert read_keys(tmp_path, segment_of(KEYS)) == KEYS


def test_the_keys_of_another_segment_are_refused(tmp_path):
    write_keys(tmp_path, KEYS)
    with pytest.raises(CorruptCache, match="not the keys whose hash stands in the manifest"):
        read_keys(tmp_path, segment_of(KEYS[::-1]))
    with pytest.raises(CorruptCache, match="expected 28 bytes, found 36"):
        read_keys(tmp_path, segment_of(KEYS[:-1]))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1, 3, 4], "keys/offsets: not a rising list of offsets"),
        ([0, 3, 2], "keys/offsets: not a rising list of offsets"),
        ([0, -1, 3], "keys/offsets: not a rising list of offsets"),
        ([0, 0, -5], "keys/offsets: not a rising list of offsets"),
        ([0, 5, 2**62], "keys/offsets: not a rising list of offsets"),
        ([0, 1, 4], "keys: 'utf-8' codec can't decode"),
        ([0, 2, 4], "keys: not the keys whose hash stands in the manifest"),
        ([0, 2, 3], "keys/bytes/c.0: expected 7 bytes, found 8"),
    ],
    ids=str,
)
def test_nonsense_with_a_right_checksum_is_refused(tmp_path, offsets, message):
    write_keys(tmp_path, ["äb", "c"])
    write_array(tmp_path / "keys" / "offsets", np.array(offsets, np.int64), ["offsets"])
    with pytest.raises(CorruptCache, match=message):
        read_keys(tmp_path, segment_of(["äb", "c"]))
