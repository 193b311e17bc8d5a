"""The messages of `verify` and `repair`; ``test_faults.py`` tests that they find everything."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from upath import UPath

from losa.cache_format import CacheError, CacheInUse, CorruptCache, repair, verify
from losa.cache_format.manifest import MANIFEST_NAME, Manifest
from losa.cache_format.storage import byte_ranges as byte_ranges_module

TRAIN = "arrays.zarr/segments/train"


def test_a_whole_cache(recipe, finished, tiny):
    path = finished(recipe)
    heard = []
    found = verify(path, lambda done, total: heard.append((done, total)))
    assert found.ok
    assert found.images == 11
    tree = {name: data for name, data in tiny.tree(path).items() if name != ".writer.lock"}
    assert (found.files, found.bytes) == (len(tree), sum(map(len, tree.values())))
    assert not found.missing_shards
    assert not found.strays
    assert heard[-1] == (found.bytes, found.bytes)
    assert heard == sorted(heard)


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_a_remote_cache(recipe, tiny, store, compressor, tmp_path):
    remote = UPath(f"memory://{tmp_path.name}-{store}-{compressor}/cache")
    recipe = replace(recipe, store=store, compressor=compressor)
    recipe.write(remote)
    found = verify(remote)
    assert found.ok
    assert found.images == 11
    assert not found.strays
    assert not found.missing_shards
    (name,) = (name for name in recipe_shards(remote) if "train" in name and ".1." in name)
    whole = (remote / name).read_bytes()
    (remote / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    (bad,) = verify(remote).bad_shards
    assert (bad.segment, bad.shard) == ("train", 1)
    assert repair(remote).dropped_shards == (("train", 1),)
    assert verify(remote).missing_shards == {"train": 1}
    recipe.write(remote)
    assert (remote / name).read_bytes() == whole
    assert verify(remote) == found


def recipe_shards(path: UPath) -> list[str]:
    """Shard files with codes."""
    names = [found[len(path.path.rstrip("/")) + 1 :] for found in path.fs.find(path.path)]
    return [name for name in names if "codes/c." in name or "shard." in name]


def test_each_bad_image_is_named(recipe, finished, tiny):
    path = finished(recipe)
    codes = path / TRAIN / "codes/c.1.0.0.0"
    tiny.flip(codes, 30, 2)  # the second of three sites of 4 x 6 bytes
    (bad,) = verify(path).bad_shards
    assert (bad.segment, bad.shard) == ("train", 1)
    (image,) = bad.images
    assert (image.segment, image.row, image.key, image.site) == ("train", 3, "train/03.jpg", "block.02")
    assert image.problem.startswith("expected crc32c ")
    assert bad.problems[0].startswith(f"{codes}: expected crc32 ")


def test_without_keys_images_have_rows(recipe, finished, tiny):
    path = finished(recipe)
    tiny.flip(path / TRAIN / "codes/c.1.0.0.0", 30, 2)
    tiny.flip(path / TRAIN / "keys/bytes/c.0", 3, 2)
    found = verify(path)
    (bad,) = found.bad_shards
    assert [(image.row, image.key) for image in bad.images] == [(3, None)]
    assert [file.name for file in found.bad_files] == [f"{TRAIN}/keys/bytes/c.0"]


def test_everything_that_is_wrong_is_told(recipe, finished, tiny):
    path = finished(recipe)
    (path / TRAIN / "codes/c.0.0.0.0").unlink()
    tiny.flip(path / TRAIN / "codes/commit.2.json", 50, 1)
    tiny.flip(path / TRAIN / "labels/colour/c.0", 5, 1)
    (path / "arrays.zarr/segments/val/codes/commit.1.json").unlink()
    (path / TRAIN / "codes/c.0.0.0.0.tmp").write_bytes(b"half")
    (path / "arrays.zarr/notes.txt").write_text("mine")
    found = verify(path)
    assert [(bad.segment, bad.shard) for bad in found.bad_shards] == [("train", 0), ("train", 2)]
    assert {image.problem for image in found.bad_shards[0].images} == {"codes/c.0.0.0.0 is missing"}
    assert [image.row for image in found.bad_shards[0].images] == [0, 1, 2]
    assert [file.name for file in found.bad_files] == [f"{TRAIN}/labels/colour/c.0"]
    assert found.missing_shards == {"val": 1}
    assert found.strays == ("arrays.zarr/notes.txt", f"{TRAIN}/codes/c.0.0.0.0.tmp")
    done = repair(path)
    assert done.found == found
    assert done.dropped_shards == (("train", 0), ("train", 2))
    assert done.removed == (f"{TRAIN}/codes/c.0.0.0.0.tmp",)
    assert done.left == ("arrays.zarr/notes.txt",)
    assert done.not_repaired == (f"{TRAIN}/labels/colour/c.0",)
    assert done.advice == (
        "Run the losa-extract command that made the cache: it makes missing shards.",
        "Metadata files are damaged. Run the losa-extract command that made the cache, with all its splits "
        "(splits=[train,val]): it writes them again and keeps the shards.",
    )


def test_a_shard_of_another_cache_is_no_whole_shard(recipe, finished):
    """Its crc32c would be the same, because each of its chunks ends with its own crc32c."""
    recipe = replace(recipe, codec="float16")
    path = finished(recipe)
    other = finished(replace(recipe, seed=1), "other")
    name = f"{TRAIN}/codes/c.1.0.0.0"
    (path / name).write_bytes((other / name).read_bytes())
    (bad,) = verify(path).bad_shards
    assert len(bad.images) == 9
    assert bad.problems[0].startswith(f"{path / name}: expected crc32 ")


def test_an_unfinished_cache_is_not_damaged(recipe, tmp_path):
    with recipe.open(tmp_path / "cache") as writer:
        recipe.write_shard(writer, *writer.missing()[1])
    found = verify(tmp_path / "cache")
    assert found.ok
    assert found.missing_shards == {"train": 2, "val": 2}
    assert found.images == 3
    assert repair(tmp_path / "cache").advice == (
        "Run the losa-extract command that made the cache: it makes missing shards.",
    )


def test_what_is_no_cache_is_left_as_it_was(tmp_path):
    for look in (verify, repair):
        with pytest.raises(CacheError, match="is not a cache"):
            look(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_manifest_is_told(recipe, finished, tiny):
    path = finished(recipe)
    tiny.flip(path / MANIFEST_NAME, 100, 3)
    for look in (verify, repair):
        with pytest.raises(CorruptCache):
            look(path)


def test_a_cache_that_is_written_to_is_not_repaired(recipe, tmp_path):
    path = tmp_path / "cache"
    with recipe.open(path):
        with pytest.raises(CacheInUse):
            repair(path)
        assert verify(path).ok


def test_repair_takes_the_record_before_the_data(recipe, finished, tiny, system_calls):
    path = finished(recipe)
    tiny.flip(path / TRAIN / "codes/c.1.0.0.0", 30, 2)
    system_calls.clear()
    repair(path)
    prefix = f"cache/{TRAIN}"
    assert system_calls == [
        ("unlink", f"{prefix}/codes/commit.1.json"),
        ("fsync", f"{prefix}/codes", "folder"),
        ("unlink", f"{prefix}/codes/c.1.0.0.0"),
        ("unlink", f"{prefix}/scales/c.1.0.0.0"),
        ("fsync", f"{prefix}/codes", "folder"),
        ("fsync", f"{prefix}/scales", "folder"),
    ]


def test_repair_removes_what_a_dropped_split_has_left(recipe, finished, tiny):
    path = finished(recipe)
    manifest = Manifest.read(path)
    gone = ("arrays.zarr/segments/val/", "arrays.zarr/splits/val/")
    replace(
        manifest,
        segments=manifest.segments[:1],
        splits=manifest.splits[:1],
        files={name: record for name, record in manifest.files.items() if not name.startswith(gone)},
    ).write(path)
    found = verify(path)
    assert found.ok
    assert all(name.startswith(gone) for name in found.strays)
    kept = repair(path)
    assert (kept.removed, kept.left) == ((), found.strays)
    assert repair(path, prune=True).removed == ("arrays.zarr/segments/val", "arrays.zarr/splits/val")
    assert not verify(path).strays


def test_a_file_in_the_place_of_a_folder_goes(recipe, finished, tiny):
    path = finished(recipe)
    whole = tiny.tree(path)
    for name in ("keys", "codes", "labels/colour"):
        folder = path / TRAIN / name
        shutil.rmtree(folder)
        folder.write_bytes(b"")
        found = verify(path)
        assert found.strays == (f"{TRAIN}/{name}",)
        assert not found.ok
        assert repair(path).removed == (f"{TRAIN}/{name}",)
        recipe.write(path)
        assert tiny.tree(path) == whole


def test_a_dead_sector_is_damage_and_no_permission_is_not(recipe, finished, monkeypatch):
    path = finished(recipe)
    preadv = os.preadv

    def failing(number: int):
        def read(descriptor: int, buffers: list, offset: int) -> int:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == "c.1.0.0.0":
                raise OSError(number, os.strerror(number))
            return preadv(descriptor, buffers, offset)

        return read

    monkeypatch.setattr(byte_ranges_module.os, "preadv", failing(5))
    assert {(bad.segment, bad.shard) for bad in verify(path).bad_shards} == {("train", 1), ("val", 1)}
    monkeypatch.setattr(byte_ranges_module.os, "preadv", failing(13))
    with pytest.raises(CacheError, match=r"cannot be read \(Permission denied\)"):
        repair(path)
    monkeypatch.undo()
    assert verify(path).ok
