import json
from itertools import pairwise

import numpy as np
import pytest
import zarr
from losa.cache_format.zarr_layout import (
    ShardLayout,
    checksum,
    chunk_name,
    read_array,
    write_array,
    write_array_metadata,
    write_group,
)

from losa.cache_format import Cache, CorruptCache

ARRAYS = [
    np.arange(-3, 4, dtype=np.int64),
    np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    np.arange(250, 256, dtype=np.uint8),
    np.arange(8, dtype=np.uint16)[::2],
    np.zeros(5, np.float32),
    np.zeros(0, np.uint8),
    np.arange(4, dtype=">i4"),
]
AXES = ["images", "width"]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{list(array.shape)}")
def test_a_small_array_is_read_by_us_and_by_plain_zarr(tmp_path, array):
    write_array(tmp_path / "a", array, AXES[: array.ndim])
    read = read_array(tmp_path / "a", array.dtype.name, array.shape)
    np.testing.assert_array_equal(read, array)
    opened = zarr.open_array(tmp_path / "a", mode="r")
    assert opened.dtype == array.dtype.newbyteorder("=")
    assert opened.metadata.dimension_names == tuple(AXES[: array.ndim])
    np.testing.assert_array_equal(opened[...], array)


def test_every_damage_to_a_small_array_is_detected(tmp_path, tiny):
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    write_array(tmp_path, array, AXES)
    file = tmp_path / "c.0.0"
    for place in range(6 * 8 + 4):
        for bit in range(8):
            tiny.flip(file, place, bit)
            with pytest.raises(CorruptCache, match=r"c\.0\.0: its crc32c does not fit its content"):
                read_array(tmp_path, "int64", (2, 3))
            tiny.flip(file, place, bit)
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"\0"):
        file.write_bytes(damaged)
        with pytest.raises(CorruptCache, match=rf"c\.0\.0: expected 52 bytes, found {len(damaged)}"):
            read_array(tmp_path, "int64", (2, 3))
    file.unlink()
    with pytest.raises(CorruptCache, match=r"c\.0\.0: expected 52 bytes, found no file"):
        read_array(tmp_path, "int64", (2, 3))


@pytest.mark.parametrize("present", [1, 3, 4])
def test_a_shard_is_laid_out_as_plain_zarr_expects(tmp_path, present):
    chunks = np.random.default_rng(0).integers(0, 100, (4, 2, 3), np.int8)
    chunks[present:] = 0
    write_array_metadata(
        tmp_path, shape=(4, 2, 3), dtype="int8", chunk=(4, 2, 3), inner_chunk=(1, 2, 3), axes="its"
    )
    layout = ShardLayout(slots=4, chunk_bytes=6)
    parts = [part for chunk in chunks[:present] for part in (chunk.tobytes(), checksum(chunk))]
    shard = b"".join([*parts, layout.index(present)])
    assert len(shard) == layout.file_bytes(present)
    assert layout.stride == 10
    (tmp_path / chunk_name(0, 0, 0)).write_bytes(shard)
    opened = zarr.open_array(tmp_path, mode="r")
    assert (opened.chunks, opened.shards) == ((1, 2, 3), (4, 2, 3))
    np.testing.assert_array_equal(opened[...], chunks)  # zarr fills absent chunks with zeros


def test_metadata_is_plain_zarr_version_3(tmp_path):
    write_group(tmp_path)
    assert json.loads((tmp_path / "zarr.json").read_text()) == {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {},
    }
    write_array(tmp_path / "a", np.arange(3), ["images"])
    assert json.loads((tmp_path / "a" / "zarr.json").read_text()) == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [3],
        "data_type": "int64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "dimension_names": ["images"],
        "attributes": {},
    }


@pytest.fixture
def shared(tiny, codec, finished):
    """A recipe whose splits share images, with unreadable ones, and its finished cache."""
    splits = (("train", tiny.TRAIN), ("val", tiny.VAL), ("trainval", tiny.TRAINVAL))
    recipe = tiny.Recipe(codec=codec, splits=splits, unreadable=frozenset({tiny.TRAIN[4], tiny.VAL[3]}))
    return recipe, finished(recipe)


def test_plain_zarr_reads_what_our_reader_reads(shared, tiny):
    recipe, path = shared
    root = zarr.open(path / "arrays.zarr", mode="r")
    cache = Cache(path)
    segments = [root[f"segments/{segment.name}"] for segment in cache.manifest.segments]

    def end_to_end(name):
        return np.concatenate([segment[name][...] for segment in segments])

    stored_keys = []
    for segment in segments:
        data, offsets = segment["keys/bytes"][:].tobytes(), segment["keys/offsets"][:]
        stored_keys += [data[start:end].decode() for start, end in pairwise(offsets)]
    for name, keys in recipe.splits:
        split = cache.split(name)
        rows = root[f"splits/{name}/index"][:]
        assert split.keys == [stored_keys[row] for row in rows] == list(keys)
        codes = split.read(np.arange(len(split)))
        scales = end_to_end("scales")[rows] if codes.scales is not None else None
        found = type(codes)(end_to_end("codes")[rows], scales)
        tiny.assert_same_codes(codes, found)
        tiny.assert_same_codes(codes, recipe.stored(keys))
        for column, expected in recipe.labels(keys).items():
            labels = end_to_end(f"labels/{column}")[rows]
            np.testing.assert_array_equal(split.labels(column), labels)
            np.testing.assert_array_equal(labels, expected)
    for name, constant in cache.constants.items():
        np.testing.assert_array_equal(root[f"constants/{name}"][...], constant)


def test_plain_zarr_lists_every_node_without_a_warning(shared):
    recipe, path = shared
    scaled = recipe.codec == "int8"
    leaves = {"codes", "labels", "labels/species", "labels/colour", "keys", "keys/bytes", "keys/offsets"}
    leaves |= {"scales"} if scaled else set()
    constants = ["final_norm.weight", "final_norm.bias", *(["centre", "spread"] if scaled else [])]
    expected = {"constants", "segments", "splits", *(f"constants/{name}" for name in constants)}
    for segment in ("train", "val"):
        expected |= {f"segments/{segment}", *(f"segments/{segment}/{leaf}" for leaf in leaves)}
    for split in ("train", "val", "trainval"):
        expected |= {f"splits/{split}", f"splits/{split}/index"}
    members = dict(zarr.open(path / "arrays.zarr", mode="r").members(max_depth=None))
    assert set(members) == expected
    codes = members["segments/train/codes"]
    assert codes.chunks == (1, *recipe.image_shape)
    assert codes.shards == (3, *recipe.image_shape)
    assert codes.metadata.dimension_names == ("images", "sites", "tokens", "width")


def test_plain_zarr_detects_damage_too(recipe, finished, tiny):
    path = finished(recipe)
    tiny.flip(path / "arrays.zarr/segments/train/codes/c.1.0.0.0", 40, 3)
    codes = zarr.open(path / "arrays.zarr", mode="r")["segments/train/codes"]
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        codes[3]
