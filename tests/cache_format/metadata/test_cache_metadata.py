from dataclasses import replace
from typing import get_args

import h5py
import numpy as np
import pytest
import zarr

from losa.cache_format import CorruptCache
from losa.cache_format.stores import StoreName
from losa.cache_format.stores.base import MetadataArray

ARRAYS = [
    np.arange(-3, 4, dtype=np.int64),
    np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    np.arange(250, 256, dtype=np.uint8),
    np.arange(8, dtype=np.uint16)[::2],
    np.zeros(5, np.float32),
    np.zeros(0, np.uint8),
    np.arange(4, dtype=">i4"),
]
AXES = ("images", "width")


@pytest.fixture(params=get_args(StoreName))
def store(request):
    return request.param


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{list(array.shape)}")
def test_a_small_array_is_read_by_us_and_by_the_stores_own_library(tmp_path, tiny, store, array):
    metadata = tiny.write_arrays(tmp_path, store, {"some/a": MetadataArray(array, AXES[: array.ndim])})
    read = metadata.read_array("some/a", array.dtype.name, array.shape)
    np.testing.assert_array_equal(read, array)
    if store == "zarr":
        opened = zarr.open_array(tmp_path / "arrays.zarr/some/a", mode="r")
        assert opened.metadata.dimension_names == AXES[: array.ndim]
        dtype, values = opened.dtype, opened[...]
    else:
        with h5py.File(tmp_path / "arrays.hdf5/some/a.h5") as file:
            assert list(file) == ["a"]
            assert file["a"].attrs["axes"].decode() == " ".join(AXES[: array.ndim])
            dtype, values = file["a"].dtype, file["a"][...]
    assert dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(values, array)


def test_every_damage_to_a_small_array_is_detected(tmp_path, tiny, store):
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    metadata = tiny.write_arrays(tmp_path, store, {"a": MetadataArray(array, AXES)})
    file = tmp_path / tiny.Recipe(store=store).array_file("a", 2)
    size = file.stat().st_size

    def refused(message: str) -> None:
        with pytest.raises(CorruptCache) as caught:
            metadata.read_array("a", "int64", (2, 3))
        assert str(caught.value) == f"{file}: {message}"

    for place in range(size) if store == "zarr" else (0, 50, 2047, *range(2048, size)):
        tiny.flip(file, place, place % 8)
        refused("its crc32 is not the one in the manifest")
        tiny.flip(file, place, place % 8)
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"\0"):
        file.write_bytes(damaged)
        refused(f"expected {size} bytes, found {len(damaged)}")
    file.unlink()
    refused(f"expected {size} bytes, found no file")
    file.mkdir()
    with pytest.raises(CorruptCache, match=f"expected (a file of )?{size} bytes, found"):
        metadata.read_array("a", "int64", (2, 3))


def test_a_file_in_the_place_of_a_folder_is_corrupt(tmp_path, tiny, store):
    metadata = tiny.write_arrays(tmp_path, store, {"some/a/b": MetadataArray(np.arange(3), ("images",))})
    folder = tmp_path / f"arrays.{store}/some"
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"")
    with pytest.raises(CorruptCache, match=r"expected \d+ bytes, found no file"):
        metadata.read_array("some/a/b", "int64", (3,))


def test_a_file_without_a_record_is_not_read(tmp_path, tiny, store):
    metadata = tiny.write_arrays(tmp_path, store, {"a": MetadataArray(np.arange(3), ("images",))})
    with pytest.raises(CorruptCache, match="the manifest has no record of this file"):
        replace(metadata, manifest=replace(metadata.manifest, files={})).read_array("a", "int64", (3,))


@pytest.mark.parametrize(("dtype", "shape"), [("int64", (999,)), ("float32", (999, 2)), ("uint8", (9999,))])
def test_another_shape_than_the_file_can_hold_is_refused(tmp_path, tiny, store, dtype, shape):
    arrays = {"a": MetadataArray(np.arange(3), ("images",)), "b": MetadataArray(np.zeros((1, 1)), AXES)}
    metadata = tiny.write_arrays(tmp_path, store, arrays)
    with pytest.raises(CorruptCache, match="bytes of values, found a file of another size"):
        metadata.read_array("ab"[len(shape) - 1], dtype, shape)
