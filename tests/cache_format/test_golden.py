"""Caches that were written once and must be readable for ever (see tests/golden/README.md)."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

import h5py
import hdf5plugin  # noqa: F401 -- registers the filters with h5py
import numpy as np
import pytest
import zarr

from losa.cache_format import Cache, CacheWriter, CorruptCache, Manifest
from losa.cache_format.storage.lock import LOCK_NAME
from losa.cache_format.storage.sealed_json import unseal

GOLDEN = Path(__file__).parents[1] / "golden"
CACHES = sorted(path.parent for path in GOLDEN.glob("version-*/*/manifest.json"))
NAMES = [path.name for path in CACHES if path.parent.name == "version-1"]


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


@pytest.fixture(params=CACHES, ids=name_of)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def make(tiny: ModuleType) -> ModuleType:
    """The script that wrote the caches; it imports ``tiny_cache``, which ``tiny`` has loaded."""
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["make_golden"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["make_golden"])
    return sys.modules["make_golden"]


def expected_of(path: Path) -> dict[str, Any]:
    folder = path.parent / "expected"
    content = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return {**content, **content["caches"][path.name], "values": np.load(folder / f"{path.name}.npy")}


def assert_reads_as_expected(path: Path, expected: dict[str, Any]) -> None:
    cache = Cache(path)
    assert cache.manifest.features.sha256 == expected["features_sha256"]
    assert {record.name for record in cache.manifest.splits} == expected["splits"].keys()
    value_of = dict(zip(expected["keys"], expected["values"], strict=True))
    for name, contents in expected["splits"].items():
        split = cache.split(name)
        assert split.keys == contents["keys"]
        assert split.valid.tolist() == contents["valid"]
        for column, labels in contents["labels"].items():
            assert split.labels(column).tolist() == labels
        decoded = cache.codec(cache.sites).decode(split.read(np.arange(len(split))))
        whole = np.stack([value_of[key] for key in contents["keys"]])
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded.view(np.uint32), whole.view(np.uint32))
        last = cache.split(name, sites=[cache.sites[-1]])
        decoded = cache.codec(last.sites).decode(last.read(np.arange(len(last))))
        np.testing.assert_array_equal(decoded, whole[:, -1:])
    for found, site in zip(cache.statistics(), expected["statistics"], strict=True):
        assert (found.count, found.minimum, found.maximum) == (
            site["count"],
            site["minimum"],
            site["maximum"],
        )
        assert found.sum_squares == pytest.approx(site["sum_squares"], rel=1e-12)
        assert found.error_sum_squares == pytest.approx(site["error_sum_squares"], rel=1e-12)


def files_of(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != LOCK_NAME
    }


def test_it_is_read_as_it_was_written(path: Path) -> None:
    assert_reads_as_expected(path, expected_of(path))


def plain_row(path: Path, manifest: dict[str, Any], segment: dict[str, Any], row: int) -> list[np.ndarray]:
    """Codes and scales (if any) of a row, read by zarr or h5py alone."""
    if manifest["store"] == "zarr":
        group = zarr.open_group(path / "arrays.zarr/segments" / segment["name"], mode="r")
        return [np.asarray(group[name][row]) for name in ("codes", "scales") if name in group]
    shard, slot = divmod(row, segment["rows_per_shard"])
    with h5py.File(path / f"arrays.hdf5/segments/{segment['name']}/shard.{shard}.h5") as file:
        return [file[name][slot] for name in ("codes", "scales") if name in file]


def plain_constant(path: Path, store: str, name: str) -> np.ndarray:
    if store == "zarr":
        return np.asarray(zarr.open_array(path / f"arrays.zarr/constants/{name}", mode="r")[:])
    with h5py.File(path / f"arrays.hdf5/constants/{name}.h5") as file:
        return np.asarray(file[name][:])


def decoded_as_specified(
    codec: str, codes: np.ndarray, scales: list[np.ndarray], centre: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Decode one image by the table of section 8 in docs/format.md."""
    if codec == "bfloat16":
        return (codes.astype(np.uint32) << 16).view(np.float32)
    if not scales:
        return codes.astype(np.float32)
    width = centre.shape[-1]
    if codec == "int4":
        codes = (
            np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)[..., :width].astype(int) - 8
        )
    size = 32 if codec == "int4" else width
    channel_scales = np.float32(scales[0])[..., np.arange(width) // size]
    return codes.astype(np.float32) * channel_scales * spread[:, None] + centre[:, None]


def test_libraries_and_the_specification_are_enough_to_read_it(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    codec, store = manifest["features"]["codec"], manifest["store"]
    calibration = [
        plain_constant(path, store, name) if codec.startswith("int") else np.empty(0)
        for name in ("centre", "spread")
    ]
    rows = [
        plain_row(path, manifest, segment, row)
        for segment in manifest["segments"]
        for row in range(segment["images"])
    ]
    decoded = [decoded_as_specified(codec, codes, scales, *calibration) for codes, *scales in rows]
    np.testing.assert_array_equal(decoded, expected_of(path)["values"])


def test_some_record_covers_every_file(path: Path) -> None:
    files = files_of(path)
    manifest = unseal(files.pop("manifest.json"), path)
    records = dict(manifest["files"])
    for name in [name for name in files if Path(name).match("commit.*.json")]:
        commit = unseal(files.pop(name), path)
        (segment,) = [str(parent) for parent in Path(name).parents if parent.parent.name == "segments"]
        records |= {f"{segment}/{file}": record for file, record in commit["files"].items()}
    found = {
        name: {"bytes": len(content), "crc32": f"{crc32(content):08x}"} for name, content in files.items()
    }
    assert found == records


def test_its_codes_are_checked(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "cache"))
    commit = next(copy.glob("**/train/**/commit.0.json"))
    codes = unseal(commit.read_bytes(), commit)["codes"]
    chunk = bytes.fromhex(codes["chunks"]) if "chunks" in codes else codes["offset"].to_bytes(8, "little")
    # The file is in the folder of the segment, the record possibly in a folder below it.
    shard = next(folder / codes["file"] for folder in commit.parents if folder.name == "train")
    content = bytearray(shard.read_bytes())
    content[int.from_bytes(chunk[:8], "little") + 20] ^= 1
    shard.write_bytes(content)
    split = Cache(copy).split("train")
    with pytest.raises(CorruptCache, match=r"image 'train/00\.jpg'"):
        split.read(np.arange(1))


def test_every_codec_store_and_compressor_is_among_them() -> None:
    manifests = [Manifest.read(path) for path in CACHES if path.parent.name == "version-1"]
    assert {manifest.features.codec for manifest in manifests} == {
        "float32",
        "float16",
        "bfloat16",
        "int8",
        "int4",
    }
    assert {(manifest.store, manifest.compressor is None) for manifest in manifests} == {
        ("zarr", True),
        ("zarr", False),
        ("hdf5", True),
        ("hdf5", False),
    }
    assert {manifest.compressor for manifest in manifests} == {None, "zstd", "blosc", "lz4"}


@pytest.mark.parametrize("name", NAMES)
def test_the_writer_of_today_writes_the_same(make: ModuleType, name: str, tmp_path: Path) -> None:
    """Libraries make HDF5's heads and compressed frames; losa writes all other bytes itself."""
    golden = GOLDEN / "version-1" / name
    written = make.write(name, tmp_path / "cache")
    assert_reads_as_expected(written, expected_of(golden))
    ours, theirs = files_of(written), files_of(golden)
    assert ours.keys() == theirs.keys()
    manifest = Manifest.read(golden)
    if manifest.store == "zarr":
        varying = ("codes/c.", "codes/commit.") if manifest.compressor else ()
        for file, content in theirs.items():
            if not any(part in file for part in varying):
                assert ours[file] == content, file


@pytest.mark.parametrize("name", NAMES)
def test_the_writer_of_today_takes_it_up(make: ModuleType, name: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(GOLDEN / "version-1" / name, tmp_path / "cache"))
    with make.CACHES[name].open(copy) as writer:
        assert isinstance(writer, CacheWriter)
        assert writer.missing() == []
    assert files_of(copy) == files_of(GOLDEN / "version-1" / name)
