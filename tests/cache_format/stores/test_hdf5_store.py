import io
import time
from dataclasses import replace

import h5py
import hdf5plugin  # noqa: F401 -- registers the filters
import numpy as np
import pytest

from losa.cache_format import Cache
from losa.cache_format.codecs import CodeLayout
from losa.cache_format.stores import hdf5_store
from losa.cache_format.stores.base import Chunked, MetadataArray, ShardGeometry, Strided
from losa.cache_format.stores.hdf5_store import Hdf5Store

HEAD = 2048
GEOMETRY = ShardGeometry(
    images=7,
    rows_per_shard=4,
    sites=2,
    tokens=3,
    layout=CodeLayout("int8", 5, "float32", 2),
    compressor=None,
)


@pytest.fixture
def store():
    return "hdf5"


@pytest.fixture
def rows():
    """Codes and scales of seven images."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(-100, 100, (7, 2, 3, 5), np.int8),
        rng.normal(size=(7, 2, 3, 2)).astype(np.float32),
    )


def shard_of(geometry, shard, values, scales):
    """The places of the rows of a shard, and its file."""
    file = io.BytesIO()
    stream = Hdf5Store().stream(file, geometry, shard)
    for row in values:
        stream.append(row)
    finished = stream.finish(scales)
    assert finished.others == {}
    return finished, file.getvalue()


def test_a_shard_byte_by_byte(rows):
    codes, scales = rows
    finished, data = shard_of(GEOMETRY, 1, codes[4:], scales[4:])
    image, scale = 2 * 3 * 5, 2 * 3 * 2 * 4
    assert finished.codes == Strided(file="shard.1.h5", offset=HEAD, stride=image)
    assert finished.scales == Strided(file="shard.1.h5", offset=HEAD + 3 * image, stride=scale)
    assert data[HEAD:] == codes[4:].tobytes() + scales[4:].tobytes()
    assert len(data) == Hdf5Store().shard_bytes(GEOMETRY, 1)
    assert data[:8] == b"\x89HDF\r\n\x1a\n"


def test_h5py_finds_contiguous_data_sets_at_the_recorded_places(rows):
    codes, scales = rows
    finished, data = shard_of(GEOMETRY, 0, codes[:4], scales[:4])
    with h5py.File(io.BytesIO(data)) as file:
        assert set(file) == {"codes", "scales"}
        for name, values, extent in (
            ("codes", codes, finished.codes),
            ("scales", scales, finished.scales),
        ):
            assert file[name].chunks is None
            assert file[name].id.get_offset() == extent.offset
            assert file[name].dtype == values.dtype
            np.testing.assert_array_equal(file[name][...], values[:4])
        assert file["codes"].attrs["axes"] == b"images sites tokens width"
        assert file["scales"].attrs["axes"] == b"images sites tokens groups"


@pytest.mark.parametrize("layout", [("float32", 5, None, 0), ("uint16", 5, None, 0), ("float16", 1, None, 0)])
def test_codes_without_scales(layout):
    geometry = replace(GEOMETRY, layout=CodeLayout(*layout))
    values = np.arange(7 * 2 * 3 * layout[1]).reshape(7, 2, 3, layout[1]).astype(layout[0])
    finished, data = shard_of(geometry, 1, values[4:], None)
    assert finished.scales is None
    with h5py.File(io.BytesIO(data)) as file:
        assert list(file) == ["codes"]
        np.testing.assert_array_equal(file["codes"][...], values[4:])


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "lz4"])
def test_a_compressed_shard(rows, compressor):
    codes, scales = rows
    geometry = replace(GEOMETRY, compressor=compressor)
    finished, data = shard_of(geometry, 0, codes[:4], scales[:4])
    assert isinstance(finished.codes, Chunked)
    assert len(data) <= Hdf5Store().shard_bytes(geometry, 0)
    with h5py.File(io.BytesIO(data)) as file:
        assert file["codes"].chunks == (1, 2, 3, 5)
        assert file["scales"].id.get_offset() == finished.scales.offset
        np.testing.assert_array_equal(file["codes"][...], codes[:4])
        np.testing.assert_array_equal(file["scales"][...], scales[:4])
    for values, (offset, size, _) in zip(codes, finished.codes.table.tolist(), strict=False):
        out = np.empty_like(values)
        geometry.compression.decode(data[offset : offset + size], out, "here")
        np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("rows_per_shard", [1, 100, 3000])
def test_a_compressed_shard_is_never_larger_than_planned(rows_per_shard):
    """Noise in tiny images: the index of the chunks is larger than the images."""
    geometry = replace(
        GEOMETRY, images=rows_per_shard, rows_per_shard=rows_per_shard, sites=1, tokens=1, compressor="blosc"
    )
    values = np.random.default_rng(0).integers(-128, 128, (rows_per_shard, 1, 1, 5), np.int8)
    scales = np.zeros((rows_per_shard, 1, 1, 2), np.float32)
    _, data = shard_of(geometry, 0, values, scales)
    assert len(data) <= Hdf5Store().shard_bytes(geometry, 0)


@pytest.mark.parametrize("compressor", [None, "zstd", "blosc", "lz4"])
def test_the_same_rows_give_the_same_bytes_at_any_time(rows, compressor, monkeypatch):
    codes, scales = rows
    geometry = replace(GEOMETRY, compressor=compressor)
    _, first = shard_of(geometry, 0, codes[:4], scales[:4])
    hdf5_store._head.cache_clear()
    while time.time() % 1 < 0.9:  # so that HDF5's clock, which counts seconds, advances
        time.sleep(0.02)
    time.sleep(0.15)
    _, second = shard_of(geometry, 0, codes[:4], scales[:4])
    assert first == second


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.zeros((0, 3), np.float32),
        np.zeros(0, np.uint8),
        np.arange(100_000, dtype=np.uint8),
        np.arange(6, dtype=np.float32).reshape(1, 6),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_a_small_array_is_a_head_and_its_values(array):
    store = Hdf5Store()
    axes = ("images", "width")[: array.ndim]
    files = store.array_files("segments/s/labels/a.b", MetadataArray(array, axes))
    ((name, data),) = files.items()
    assert name == "segments/s/labels/a.b.h5" == store.array_file("segments/s/labels/a.b", array.ndim)
    assert data[HEAD:] == array.tobytes() == store.array_bytes(data, array.nbytes)
    with h5py.File(io.BytesIO(data)) as file:
        assert list(file) == ["a.b"]
        assert file["a.b"].dtype == array.dtype
        assert file["a.b"].shape == array.shape
        np.testing.assert_array_equal(file["a.b"][...], array)


def test_the_longest_name_fits_into_the_head():
    name = "x" * 100
    files = Hdf5Store().array_files(name, MetadataArray(np.arange(3)[None], ("images", "segment and row")))
    with h5py.File(io.BytesIO(files[f"{name}.h5"])) as file:
        np.testing.assert_array_equal(file[name][...], [[0, 1, 2]])


def test_a_part_of_a_file_has_no_values():
    assert Hdf5Store().array_bytes(b"123", 4) == b""


# --- A whole cache ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressor", [None, "lz4"])
def test_h5py_opens_every_file_and_reads_what_our_reader_reads(recipe, codec, compressor, finished, tiny):
    splits = (("train", tiny.TRAIN), ("val", tiny.VAL), ("trainval", tiny.TRAINVAL))
    recipe = replace(
        recipe, codec=codec, compressor=compressor, splits=splits, invalid=frozenset({tiny.TRAIN[4]})
    )
    path = finished(recipe)
    opened = {}
    for file in path.rglob("*.h5"):
        with h5py.File(file) as content:
            for name, dataset in content.items():
                opened[file.relative_to(path / "arrays.hdf5").with_suffix("").as_posix(), name] = dataset[()]
    cache = Cache(path)
    shards = {"train": 3, "val": 2}
    for number, (segment, count) in enumerate(shards.items()):
        codes = np.concatenate(
            [opened[f"segments/{segment}/shard.{shard}", "codes"] for shard in range(count)]
        )
        index = opened["splits/trainval/index", "index"]
        mine = index[:, 0] == number
        found = cache.split("trainval").read(np.flatnonzero(mine))
        np.testing.assert_array_equal(found.values, codes[index[mine, 1]])
        if found.scales is not None:
            scales = [opened[f"segments/{segment}/shard.{shard}", "scales"] for shard in range(count)]
            np.testing.assert_array_equal(found.scales, np.concatenate(scales)[index[mine, 1]])
        keys = cache.split(segment).keys
        np.testing.assert_array_equal(
            opened[f"segments/{segment}/labels/species", "species"], recipe.labels(keys)["species"]
        )
        assert opened[f"segments/{segment}/keys/bytes", "bytes"].tobytes().decode() == "".join(keys)
    for name, constant in cache.constants.items():
        np.testing.assert_array_equal(opened[f"constants/{name}", name], constant)
