import tempfile
from itertools import pairwise
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from losa.cache_format import CorruptCache, Segment
from losa.cache_format.common.hashes import hash_keys
from losa.cache_format.metadata.keys import key_arrays, read_keys
from losa.cache_format.stores import StoreName
from losa.cache_format.stores.base import MetadataArray

KEYS = ["größe.jpg", "", "\U0001f40d/\0"]


@pytest.fixture(params=get_args(StoreName))
def store(request):
    return request.param


def segment_of(keys: list[str]) -> Segment:
    return Segment(
        name="s", number=0, images=len(keys), keys_sha256=hash_keys(keys), rows_per_shard=1, labels_sha256={}
    )


@pytest.fixture
def write_keys(tiny, store):
    """``write_keys(path, keys, **arrays)``: metadata of a cache with keys; ``arrays`` replace theirs."""

    def write(path, keys, **arrays):
        named = key_arrays(keys) | {f"keys/{name}": array for name, array in arrays.items()}
        return tiny.write_arrays(path, store, {f"segments/s/{name}": array for name, array in named.items()})

    return write


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=12, unique=True))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_of_any_unicode_come_back(write_keys, keys):
    with tempfile.TemporaryDirectory() as folder:
        metadata = write_keys(Path(folder), keys)
        assert read_keys(metadata, segment_of(keys)) == keys


def test_plain_readers_see_bytes_and_offsets(write_keys, store, tmp_path):
    write_keys(tmp_path, KEYS)
    folder = tmp_path / f"arrays.{store}/segments/s/keys"
    if store == "zarr":
        data, offsets = (zarr.open_array(folder / name, mode="r")[...] for name in ("bytes", "offsets"))
    else:
        with h5py.File(folder / "bytes.h5") as one, h5py.File(folder / "offsets.h5") as two:
            data, offsets = one["bytes"][...], two["offsets"][...]
    assert offsets.dtype == np.int64
    assert [data.tobytes()[start:end].decode() for start, end in pairwise(offsets)] == KEYS


@pytest.mark.parametrize("array", ["bytes", "offsets"])
def test_every_single_bit_flip_is_detected(write_keys, store, tmp_path, tiny, array):
    metadata = write_keys(tmp_path, KEYS)
    file = tmp_path / tiny.Recipe(store=store).array_file(f"segments/s/keys/{array}")
    size = file.stat().st_size
    for place in range(0, size, 1 if store == "zarr" else 97):
        for bit in range(8):
            tiny.flip(file, place, bit)
            with pytest.raises(CorruptCache, match=f"keys/{array}"):
                read_keys(metadata, segment_of(KEYS))
            tiny.flip(file, place, bit)
    assert read_keys(metadata, segment_of(KEYS)) == KEYS


def test_the_keys_of_another_segment_are_refused(write_keys, tmp_path):
    metadata = write_keys(tmp_path, KEYS)
    with pytest.raises(CorruptCache, match="not the keys whose hash is in the manifest"):
        read_keys(metadata, segment_of(KEYS[::-1]))
    with pytest.raises(CorruptCache):
        read_keys(metadata, segment_of(KEYS[:-1]))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([1, 3, 4], "offsets are not a rising list"),
        ([0, 3, 2], "offsets are not a rising list"),
        ([0, -1, 3], "offsets are not a rising list"),
        ([0, 0, -5], "offsets are not a rising list"),
        ([0, 5, 2**62], "offsets are not a rising list"),
        ([0, 1, 4], "'utf-8' codec can't decode"),
        ([0, 2, 4], "not the keys whose hash is in the manifest"),
        ([0, 2, 9999], "expected 9999 bytes of values, found a file of another size"),
    ],
    ids=str,
)
def test_nonsense_with_a_right_checksum_is_refused(write_keys, tmp_path, offsets, message):
    wrong = MetadataArray(np.array(offsets, np.int64), ("offsets",))
    metadata = write_keys(tmp_path, ["äb", "c"], offsets=wrong)
    with pytest.raises(CorruptCache, match=message):
        read_keys(metadata, segment_of(["äb", "c"]))


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_keys_are_read_a_few_at_a_time(write_keys, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("losa.cache_format.metadata.keys._AT_ONCE", at_once)
    metadata = write_keys(tmp_path, KEYS)
    assert read_keys(metadata, segment_of(KEYS)) == KEYS
