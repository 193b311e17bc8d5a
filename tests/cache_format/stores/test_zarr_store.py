import io
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import zarr

from losa.cache_format import Cache
from losa.cache_format.codecs import CodeLayout
from losa.cache_format.stores.base import CHUNK_RECORD, Chunked, MetadataArray, ShardGeometry, Strided
from losa.cache_format.stores.zarr_store import ZarrStore, checksum

GEOMETRY = ShardGeometry(
    images=7,
    rows_per_shard=4,
    sites=2,
    tokens=3,
    layout=CodeLayout("int8", 5, "float32", 2),
    compressor=None,
)


def shard_of(geometry, shard, values, scales):
    """The places of the rows of a shard, and its files."""
    file = io.BytesIO()
    stream = ZarrStore().stream(file, geometry, shard)
    for row in values:
        stream.append(row)
    finished = stream.finish(scales)
    return finished, {finished.codes.file: file.getvalue(), **finished.others}


@pytest.fixture
def rows():
    """Codes and scales of seven images."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(-100, 100, (7, 2, 3, 5), np.int8),
        rng.normal(size=(7, 2, 3, 2)).astype(np.float32),
    )


@pytest.mark.parametrize("compressor", [None, "zstd", "blosc", "lz4"])
def test_shards_are_laid_out_as_plain_zarr_expects(tmp_path, rows, compressor):
    """The second shard is not full; zarr reads its absent chunks as zeros."""
    store, geometry = ZarrStore(), replace(GEOMETRY, compressor=compressor)
    codes, scales = rows
    files = dict(store.shard_descriptions(geometry))
    for shard, part in enumerate((slice(0, 4), slice(4, 7))):
        _, made = shard_of(geometry, shard, codes[part], scales[part])
        assert tuple(made) == store.shard_files(geometry, shard)
        predicted, written = store.shard_bytes(geometry, shard), sum(map(len, made.values()))
        assert written == predicted if compressor is None else written <= predicted
        files |= made
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    opened = zarr.open_array(tmp_path / "codes", mode="r")
    assert (opened.chunks, opened.shards) == ((1, 2, 3, 5), (4, 2, 3, 5))
    np.testing.assert_array_equal(opened[...], codes)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "scales", mode="r")[...], scales)


def test_a_shard_byte_by_byte(rows):
    codes, scales = rows
    finished, files = shard_of(GEOMETRY, 1, codes[4:], scales[4:])
    shard, scale_chunk = files.values()
    image, stride = 2 * 3 * 5, 64
    index = b""
    for slot, values in enumerate(codes[4:]):
        assert shard[slot * stride : slot * stride + image] == values.tobytes()
        behind = shard[slot * stride + image : (slot + 1) * stride]
        assert behind == checksum(values.tobytes()).ljust(stride - image, b"\0")
        index += np.array([slot * stride, image + 4], "<u8").tobytes()
    index += b"\xff" * 16  # the slot that the last shard does not have
    assert shard[3 * stride :] == index + checksum(index)
    padded = scales[4:].tobytes() + bytes(2 * 3 * 2 * 4)
    assert scale_chunk == padded + checksum(padded)
    assert finished.codes == Strided(file="codes/c.1.0.0.0", offset=0, stride=stride)
    assert finished.scales == Strided(file="scales/c.1.0.0.0", offset=0, stride=2 * 3 * 2 * 4)


def test_compressed_images_stand_where_the_record_says(rows):
    codes, scales = rows
    geometry = replace(GEOMETRY, compressor="zstd")
    finished, files = shard_of(geometry, 0, codes[:4], scales[:4])
    assert isinstance(finished.codes, Chunked)
    assert finished.codes.table.dtype == CHUNK_RECORD
    shard = files[finished.codes.file]
    for values, (offset, size, crc) in zip(codes, finished.codes.table.tolist(), strict=False):
        packed = shard[offset : offset + size]
        assert checksum(packed) == crc.to_bytes(4, "little") == shard[offset + size : offset + size + 4]
        out = np.empty_like(values)
        geometry.compression.decode(packed, out, "here")
        np.testing.assert_array_equal(out, values)


def test_metadata_is_plain_zarr_version_3():
    store = ZarrStore()
    assert {name: json.loads(content) for name, content in store.group_files().items()} == {
        "zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": {}}
    }
    files = store.array_files("some/a", MetadataArray(np.arange(3), ("images",)))
    assert list(files) == ["some/a/zarr.json", "some/a/c.0"]
    assert json.loads(files["some/a/zarr.json"]) == {
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
    assert files["some/a/c.0"] == np.arange(3).tobytes() + checksum(np.arange(3))


def test_an_empty_array_has_no_chunk():
    empty = MetadataArray(np.zeros((0, 3), np.float32), ("images", "width"))
    assert list(ZarrStore().array_files("a", empty)) == ["a/zarr.json"]


# --- A whole cache ------------------------------------------------------------------------------------


@pytest.fixture
def shared(tiny, codec, finished):
    """A recipe whose splits share images, with invalid ones, and its finished cache."""
    splits = (("train", tiny.TRAIN), ("val", tiny.VAL), ("trainval", tiny.TRAINVAL))
    recipe = tiny.Recipe(codec=codec, splits=splits, invalid=frozenset({tiny.TRAIN[4], tiny.VAL[3]}))
    return recipe, finished(recipe)


def test_plain_zarr_reads_what_our_reader_reads(shared, tiny):
    recipe, path = shared
    root = zarr.open(path / "arrays.zarr", mode="r")
    cache = Cache(path)
    segments = {one.number: root[f"segments/{one.name}"] for one in cache.manifest.segments}
    stored_keys = {}
    for number, segment in segments.items():
        data, offsets = segment["keys/bytes"][:].tobytes(), segment["keys/offsets"][:]
        stored_keys[number] = [data[start:end].decode() for start, end in pairwise(offsets)]
    for name, keys in recipe.splits:
        split = cache.split(name)
        index = root[f"splits/{name}/index"][:]

        def rows_of(array, index=index):
            return np.stack([segments[number][array][row] for number, row in index.tolist()])

        assert split.keys == [stored_keys[number][row] for number, row in index.tolist()] == list(keys)
        codes = split.read(np.arange(len(split)))
        scales = rows_of("scales") if codes.scales is not None else None
        tiny.assert_same_codes(codes, type(codes)(rows_of("codes"), scales))
        tiny.assert_same_codes(codes, recipe.stored(keys))
        for column, expected in recipe.labels(keys).items():
            labels = rows_of(f"labels/{column}")
            np.testing.assert_array_equal(split.labels(column), labels)
            np.testing.assert_array_equal(labels, expected)
    for name, constant in cache.constants.items():
        np.testing.assert_array_equal(root[f"constants/{name}"][...], constant)


def test_plain_zarr_lists_every_node_without_a_warning(shared):
    recipe, path = shared
    scaled = recipe.codec in ("int8", "int4")
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
    sites, tokens, width = recipe.image_shape
    stored_width = width // 2 if recipe.codec == "int4" else width
    assert codes.chunks == (1, sites, tokens, stored_width)
    assert codes.shards == (3, sites, tokens, stored_width)
    assert codes.metadata.dimension_names == ("images", "sites", "tokens", "width")


def test_plain_zarr_detects_damage_too(recipe, finished, tiny):
    path = finished(recipe)
    tiny.flip(path / "arrays.zarr/segments/train/codes/c.1.0.0.0", 40, 3)
    codes = zarr.open(path / "arrays.zarr", mode="r")["segments/train/codes"]
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        codes[3]


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "lz4"])
def test_plain_zarr_reads_compressed_codes(recipe, finished, compressor):
    path = finished(replace(recipe, compressor=compressor, codec="float16"))
    codes = zarr.open(path / "arrays.zarr", mode="r")["segments/train/codes"]
    found = Cache(path).split("train").read(np.arange(7))
    np.testing.assert_array_equal(codes[...], found.values)
