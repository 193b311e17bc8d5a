import errno
import io
import logging
import os
import re
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from losa.cache_format import (
    Cache,
    CacheError,
    CacheInUse,
    Codes,
    IdentityMismatch,
    LabelColumn,
    LosaError,
    Manifest,
    SplitContents,
)
from losa.cache_format.codecs import CodecName
from losa.cache_format.storage.file_record import record_of
from losa.cache_format.storage.lock import LOCK_NAME
from losa.cache_format.stores import StoreName


@pytest.fixture(params=get_args(StoreName))
def store(request):
    """Both stores, for all of these tests."""
    return request.param


def shards(writer) -> list[tuple[str, int]]:
    return [(segment.name, shard) for segment, shard in writer.missing()]


# --- Contents and order of writes ---------------------------------------------------------------------


def zarr_files(root: str) -> set[str]:
    files = {f"{root}/{group}zarr.json" for group in ("", "constants/", "segments/", "splits/")}
    for name in ("final_norm.weight", "final_norm.bias"):
        files |= {f"{root}/constants/{name}/{file}" for file in ("zarr.json", "c.0")}
    for name in ("centre", "spread"):
        files |= {f"{root}/constants/{name}/{file}" for file in ("zarr.json", "c.0.0")}
    for segment, count in (("train", 3), ("val", 2)):
        folder = f"{root}/segments/{segment}"
        files |= {f"{folder}/{array}zarr.json" for array in ("", "codes/", "scales/", "keys/", "labels/")}
        for array in ("keys/bytes", "keys/offsets", "labels/species", "labels/colour"):
            files |= {f"{folder}/{array}/zarr.json", f"{folder}/{array}/c.0"}
        for shard in range(count):
            files |= {f"{folder}/codes/c.{shard}.0.0.0", f"{folder}/codes/commit.{shard}.json"}
            files.add(f"{folder}/scales/c.{shard}.0.0.0")
        files |= {f"{root}/splits/{segment}/{file}" for file in ("zarr.json", "index/zarr.json")}
        files.add(f"{root}/splits/{segment}/index/c.0.0")
    return files


def hdf5_files(root: str) -> set[str]:
    names = ("final_norm.weight", "final_norm.bias", "centre", "spread")
    files = {f"{root}/constants/{name}.h5" for name in names}
    for segment, count in (("train", 3), ("val", 2)):
        folder = f"{root}/segments/{segment}"
        arrays = ("keys/bytes", "keys/offsets", "labels/species", "labels/colour")
        files |= {f"{folder}/{array}.h5" for array in arrays}
        for shard in range(count):
            files |= {f"{folder}/shard.{shard}.h5", f"{folder}/commit.{shard}.json"}
        files.add(f"{root}/splits/{segment}/index.h5")
    return files


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_the_files_of_a_cache(recipe, finished, compressor):
    named = zarr_files if recipe.store == "zarr" else hdf5_files
    path = finished(replace(recipe, compressor=compressor))
    expected = named(f"arrays.{recipe.store}")
    assert set(finished_files(path)) == {"manifest.json", LOCK_NAME, *expected}
    manifest = Cache(path).manifest
    shards = ("commit.", "codes/c.", "scales/c.", "shard.")
    assert set(manifest.files) == {file for file in expected if not any(name in file for name in shards)}
    assert manifest.files == {name: record_of((path / name).read_bytes()) for name in manifest.files}


def finished_files(path: Path) -> list[str]:
    return [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]


def test_a_shard_counts_only_after_all_its_files_are_on_the_device(recipe, tmp_path, system_calls):
    with recipe.open(tmp_path / "cache") as writer:
        segment, shard = writer.missing()[0]
        system_calls.clear()
        recipe.write_shard(writer, segment, shard)
    written = writer.files(segment)
    paths = [*written.shard_paths(0), written.commit_path(0)]
    files = [path.relative_to(tmp_path).as_posix() for path in paths]
    expected = []
    for file in files:
        size = (tmp_path / file).stat().st_size
        expected += [
            ("fsync", f"{file}.tmp", size),
            ("rename", f"{file}.tmp", file),
            ("fsync", file.rpartition("/")[0], "folder"),
        ]
    assert system_calls == expected


def test_a_shard_made_again_is_kept_if_the_disk_is_full_at_the_last_moment(
    recipe, tmp_path, finished, tiny, monkeypatch
):
    path = finished(recipe)
    before = tiny.tree(path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        recipe.open(path) as writer,
        monkeypatch.context() as patch,
        pytest.raises(CacheError, match="no space"),
    ):
        patch.setattr(os, "fsync", full)
        recipe.write_shard(writer, writer.manifest.segments[0], 0)
    assert tiny.tree(path) == before


def test_a_shard_made_again_first_loses_its_commit_record(recipe, tmp_path, finished, system_calls):
    path = finished(recipe)
    with recipe.open(path) as writer:
        system_calls.clear()
        recipe.write_shard(writer, writer.manifest.segments[0], 0)
    record = recipe.files(path, "train").commit_path(0).relative_to(tmp_path).as_posix()
    first = recipe.files(path, "train").shard_paths(0)[0].relative_to(tmp_path).as_posix()
    # The new file is complete on the disk before anything is removed.
    assert [call[:2] for call in system_calls[:2]] == [("fsync", f"{first}.tmp"), ("unlink", record)]
    removed = ("fsync", record.rpartition("/")[0], "folder")
    published = next(place for place, call in enumerate(system_calls) if call[0] == "rename")
    assert system_calls.index(removed) < published
    assert system_calls[published] == ("rename", f"{first}.tmp", first)


def test_the_manifest_comes_after_all_it_speaks_of(recipe, tmp_path, system_calls):
    with recipe.open(tmp_path / "cache"):
        pass
    assert system_calls[-3:] == [
        ("fsync", "cache/manifest.json.tmp", (tmp_path / "cache/manifest.json").stat().st_size),
        ("rename", "cache/manifest.json.tmp", "cache/manifest.json"),
        ("fsync", "cache", "folder"),
    ]
    made = {call[1] for call in system_calls if call[0] == "mkdir"}
    assert made == {
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "cache").rglob("*") if path.is_dir()
    } | {"cache"}
    for place, call in enumerate(system_calls):
        if call[0] in ("mkdir", "rename"):
            assert system_calls[place + 1] == ("fsync", Path(call[-1]).parent.as_posix(), "folder")


# --- Splits -------------------------------------------------------------------------------------------


def test_splits_that_share_images_store_each_once(recipe, finished, tiny):
    splits = (("train", tiny.TRAIN), ("val", tiny.VAL), ("trainval", tiny.TRAINVAL))
    shared = replace(recipe, splits=splits)
    cache = Cache(finished(shared, "shared"))
    assert [(segment.name, segment.images) for segment in cache.manifest.segments] == [
        ("train", 7),
        ("val", 4),
    ]
    assert [(split.name, split.images) for split in cache.manifest.splits] == [
        ("train", 7),
        ("val", 4),
        ("trainval", 11),
    ]
    apart, together = finished_files(finished(recipe, "apart")), finished_files(cache.path)
    assert {file.partition("/splits/")[2].partition("/")[0] for file in set(together) - set(apart)} == {
        "trainval"
    }
    split = cache.split("trainval")
    assert split.keys == list(tiny.TRAINVAL)
    tiny.assert_same_codes(split.read(np.arange(11)), recipe.stored(tiny.TRAINVAL))
    for column, labels in recipe.labels(tiny.TRAINVAL).items():
        np.testing.assert_array_equal(split.labels(column), labels)


def test_a_whole_first_and_its_parts_later_need_no_new_shards(recipe, finished, tiny):
    whole = replace(recipe, splits=(("trainval", tiny.TRAINVAL),))
    path = finished(whole)
    segments = path / f"arrays.{recipe.store}/segments"
    before = tiny.tree(segments)
    with recipe.open(path) as writer:
        assert shards(writer) == []
        assert [split.name for split in writer.manifest.splits] == ["trainval", "train", "val"]
    assert tiny.tree(segments) == before
    for name, keys in recipe.splits:
        split = Cache(path).split(name)
        assert split.keys == list(keys)
        tiny.assert_same_codes(split.read(np.arange(len(keys))), whole.stored(keys))


def test_a_split_added_later_gives_the_cache_that_both_at_once_give(recipe, tmp_path, finished, tiny):
    features, constants = recipe.features, recipe.constants
    alone = replace(recipe, splits=recipe.splits[:1])
    path = tmp_path / "grown"
    with alone.open(path, features=features, constants=constants) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    folder = recipe.files(path, "train").folder
    train = tiny.tree(folder)
    with recipe.open(path, splits=[recipe.contents("val")]) as writer:
        assert shards(writer) == [("val", 0), ("val", 1)]
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    assert tiny.tree(folder) == train
    at_once = finished(recipe)
    grown, whole = Manifest.read(path), Manifest.read(at_once)
    assert grown == whole
    # In the order in which files were added, which differs.
    assert list(grown.files) != list(whole.files)
    for folder in (path, at_once):
        (folder / "manifest.json").unlink()
    assert tiny.tree(path) == tiny.tree(at_once)


def test_a_split_that_gives_known_images_other_labels_is_refused(recipe, finished, tiny):
    path = finished(recipe)
    before = tiny.tree(path)
    labels = recipe.labels(tiny.TRAIN[:2])
    labels["colour"][1] += 1
    with pytest.raises(
        LosaError, match=rf"image '{tiny.TRAIN[1]}' has colour \d+ in split 'few', but \d+ in"
    ):
        recipe.open(path, splits=[SplitContents(name="few", keys=tiny.TRAIN[:2], labels=labels)])
    assert tiny.tree(path) == before


def test_a_split_without_labels_has_minus_one_and_hinders_nobody(recipe, tmp_path, tiny):
    path = tmp_path / "cache"
    unlabelled = SplitContents(name="train", keys=tiny.TRAIN)
    with recipe.open(path, splits=[unlabelled]) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    assert Cache(path).split("train").labels("species").tolist() == [-1] * 7
    with recipe.open(path, splits=[unlabelled, recipe.contents("val")]) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    expected = recipe.labels(tiny.VAL)["species"]
    np.testing.assert_array_equal(Cache(path).split("val").labels("species"), expected)


# --- Shards -------------------------------------------------------------------------------------------


def test_invalid_images_are_zeros_with_a_reason(recipe, finished, tiny):
    invalid = frozenset({tiny.TRAIN[1], *tiny.TRAIN[3:6], tiny.VAL[0]})
    recipe = replace(recipe, invalid=invalid)
    path = finished(recipe)
    cache = Cache(path)
    for name, keys in recipe.splits:
        split = cache.split(name)
        assert split.valid.tolist() == [key not in invalid for key in keys]
        codes = split.read(np.arange(len(keys)))
        tiny.assert_same_codes(codes, recipe.stored(keys))
        assert not codes.values[~split.valid].any()
        assert not codes.scales[~split.valid].any()
    commits = list(recipe.files(path, "train").commits(range(3)))
    reason = "cannot decode train/{:02d}.jpg".format
    assert [commit.invalid for commit in commits] == [
        {"1": reason(1)},
        {"0": reason(3), "1": reason(4), "2": reason(5)},
        {},
    ]
    sources = [bytes(16) if key in invalid else tiny.source_hash(key) for key in tiny.TRAIN]
    assert b"".join(sources).hex() == "".join(commit.source_blake2b for commit in commits)
    valid = [key for key in tiny.TRAIN if key not in invalid]
    for site, expected in enumerate(recipe.statistics(valid)):
        found = reduce(add, (commit.statistics[site] for commit in commits))
        assert (found.count, found.minimum, found.maximum) == (
            expected.count,
            expected.minimum,
            expected.maximum,
        )
        assert found.sum_squares == pytest.approx(expected.sum_squares)
        assert found.error_sum_squares == pytest.approx(expected.error_sum_squares)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_leave_no_trace_in_codes(recipe, tmp_path, finished, tiny, batch):
    with recipe.open(tmp_path / "mine") as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard, batch)
    expected = tiny.tree(finished(recipe))
    for name, data in tiny.tree(tmp_path / "mine").items():
        if "commit." not in name:  # sums over batches may be rounded differently
            assert data == expected[name]


def test_buffers_may_be_used_again_after_append(recipe, tmp_path, tiny):
    path = tmp_path / "cache"
    recipe = replace(recipe, splits=(("train", tiny.TRAIN[:3]),))
    with recipe.open(path) as writer:
        buffer = recipe.encode(tiny.TRAIN[:1])
        with writer.shard(*writer.missing()[0]) as out:
            for key in tiny.TRAIN[:3]:
                codes = recipe.encode([key])
                buffer.values[:], buffer.scales[:] = codes.values, codes.scales
                out.append(buffer, [tiny.source_hash(key)], recipe.statistics([key]))
    tiny.assert_same_codes(Cache(path).split("train").read(np.arange(3)), recipe.stored(tiny.TRAIN[:3]))


def test_a_view_into_a_larger_array_is_stored_like_a_copy(recipe, tmp_path, tiny):
    path = tmp_path / "cache"
    recipe = replace(recipe, splits=(("train", tiny.TRAIN[:2]),))
    codes = recipe.encode(tiny.TRAIN[:2])
    with recipe.open(path) as writer, writer.shard(*writer.missing()[0]) as out:
        spaced = Codes(
            np.repeat(codes.values, 2, axis=-1)[..., ::2], np.repeat(codes.scales, 2, axis=-1)[..., ::2]
        )
        out.append(spaced, list(map(tiny.source_hash, tiny.TRAIN[:2])), recipe.statistics(tiny.TRAIN[:2]))
    tiny.assert_same_codes(Cache(path).split("train").read(np.arange(2)), codes)


@pytest.mark.parametrize(
    ("keys", "change", "message"),
    [
        (2, lambda codes: codes, "shard 0: 2 of 3 rows"),
        (4, lambda codes: codes, "shard 0: 4 of 3 rows"),
        (3, lambda codes: Codes(codes.values.astype(np.float16), codes.scales), "float16"),
        (3, lambda codes: Codes(codes.values[..., :5], codes.scales), r"\(3, 4, 5\)"),
    ],
)
def test_a_shard_of_wrong_rows_is_not_published(recipe, tmp_path, tiny, keys, change, message):
    with recipe.open(tmp_path) as writer:
        missing = shards(writer)
        with pytest.raises(AssertionError, match=message), writer.shard(*writer.missing()[0]) as out:
            codes = change(recipe.encode(tiny.TRAIN[:keys]))
            out.append(codes, [bytes(16)] * keys, recipe.statistics(tiny.TRAIN[:keys]))
        assert shards(writer) == missing
    assert not [
        name for name in finished_files(tmp_path) if re.search(r"c\.0\.0\.0\.0|shard|commit|tmp", name)
    ]


# --- Resuming -----------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Like KeyboardInterrupt, not an Exception."""


STORED = [
    *((codec, None) for codec in get_args(CodecName)),
    ("int8", "zstd"),
    ("int4", "blosc"),
    ("int8", "lz4"),
]


@pytest.mark.parametrize(("codec", "compressor"), STORED)
@pytest.mark.parametrize("stop", [0, 2, 4])
def test_resumed_after_an_exception_is_byte_identical(
    codec, compressor, recipe, tmp_path, finished, tiny, stop
):
    recipe = replace(recipe, codec=codec, compressor=compressor, invalid=frozenset(tiny.TRAIN[2:4]))
    path = tmp_path / "interrupted"

    def extract_until_interrupted():
        with recipe.open(path) as writer:
            for number, (segment, shard) in enumerate(writer.missing()):
                if number == stop:
                    with writer.shard(segment, shard) as out:
                        recipe.append(out, recipe.keys[:1])
                        raise Interrupted
                recipe.write_shard(writer, segment, shard)

    with pytest.raises(Interrupted):
        extract_until_interrupted()
    assert not [name for name in finished_files(path) if name.endswith(".tmp")]
    with recipe.open(path) as writer:
        assert len(shards(writer)) == 5 - stop
    recipe.write(path)
    assert tiny.tree(path) == tiny.tree(finished(recipe))


KILLED_IN_MID_SHARD = """
import sys
from pathlib import Path
from tiny_cache import Recipe

recipe = Recipe(store=sys.argv[2], compressor="zstd")
with recipe.open(Path(sys.argv[1])) as writer:
    first, (segment, shard), *_ = writer.missing()
    recipe.write_shard(writer, *first)
    with writer.shard(segment, shard) as out:
        recipe.append(out, recipe.keys[3:5])
        print("in mid-shard", flush=True)
        sys.stdin.read()
"""


def test_resumed_after_a_kill_in_mid_shard_is_byte_identical(recipe, tmp_path, finished, tiny, start_python):
    path = tmp_path / "killed"
    recipe = replace(recipe, compressor="zstd")
    process = start_python(KILLED_IN_MID_SHARD, path, recipe.store)
    assert process.stdout.readline() == "in mid-shard\n"
    with pytest.raises(CacheInUse):
        recipe.open(path)
    process.kill()
    process.communicate()
    first = recipe.files(path, "train").shard_paths(1)[0]
    assert first.with_name(f"{first.name}.tmp").exists()
    with recipe.open(path) as writer:
        assert shards(writer) == [("train", 1), ("train", 2), ("val", 0), ("val", 1)]
    recipe.write(path)
    assert tiny.tree(path) == tiny.tree(finished(recipe))


KILLED_EVERYWHERE = """
import logging, os, shutil, signal, sys
from pathlib import Path
import numpy as np
from losa.cache_format import Cache, CacheError, CorruptCache
from tiny_cache import TRAIN, VAL, Recipe, assert_same_codes, tree

folder, step = Path(sys.argv[1]), int(sys.argv[2])
splits = (("train", TRAIN[:3]), ("mixed", (VAL[0], TRAIN[2])))
recipe = Recipe(splits=splits, rows_per_shard=2, store=sys.argv[3])
os.fsync = lambda descriptor: None  # it does not matter for a kill, and is slow
whole = tree(recipe.write(folder / "whole"))

def die_before(call, number, counter=[0]):
    # One counter for all calls.
    def counted(*args, **kwargs):
        counter[0] += 1
        if counter[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return counted

def refuse_damaged_shards(record):
    raise SystemExit(record.getMessage())

logging.getLogger("losa").addFilter(refuse_damaged_shards)
logging.getLogger("losa.cache_format.writer").addFilter(refuse_damaged_shards)
kills, number = 0, 1
while True:
    path = folder / "killed"
    child = os.fork()
    if not child:
        os.fsync = die_before(os.fsync, number)
        Path.replace = die_before(Path.replace, number)
        Path.mkdir = die_before(Path.mkdir, number)
        recipe.write(path)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    kills += 1
    try:
        for name, keys in splits:
            assert_same_codes(Cache(path).split(name).read(np.arange(len(keys))), recipe.stored(keys))
    except CorruptCache:
        raise
    except CacheError:
        pass  # no cache yet, or an incomplete one
    assert tree(recipe.write(path)) == whole, number
    shutil.rmtree(path)
    number += step
print(kills)
"""


def test_killed_before_any_system_call_it_is_resumed_byte_identically(tmp_path, run_python, store):
    assert int(run_python(KILLED_EVERYWHERE, tmp_path, 13 if store == "zarr" else 7, store)) > 10


# --- Refusals -----------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_has_ended(recipe, tmp_path):
    with recipe.open(tmp_path):
        with pytest.raises(CacheInUse) as caught:
            recipe.open(tmp_path)
        assert str(caught.value) == (
            f"another process is writing to {tmp_path}: wait for it, or choose another folder"
        )
    with recipe.open(tmp_path):
        pass


OPENS = """
import sys
from pathlib import Path
from losa.cache_format import CacheInUse
from tiny_cache import Recipe

try:
    Recipe(store=sys.argv[2]).open(Path(sys.argv[1]))
except CacheInUse as error:
    print(error)
"""


def test_a_second_writer_in_another_process_is_refused(recipe, tmp_path, run_python):
    with recipe.open(tmp_path):
        assert f"another process is writing to {tmp_path}" in run_python(OPENS, tmp_path, recipe.store)
    assert run_python(OPENS, tmp_path, recipe.store) == ""


def refused(recipe, path, tiny, **changes) -> IdentityMismatch:
    """The error of opening a writer. Nothing on disk may have changed, and the lock must be free."""
    before = tiny.tree(path)
    with pytest.raises(IdentityMismatch) as caught:
        recipe.open(path, **changes)
    assert tiny.tree(path) == before
    recipe.open(path).__exit__(None, None, None)
    assert caught.value.path == path
    return caught.value


def test_another_identity_is_refused_field_by_field(recipe, finished, tiny):
    path = finished(recipe)
    other = replace(recipe, codec="float16", sites=recipe.sites[:2])
    error = refused(recipe, path, tiny, features=other.features, dataset="garden")
    sha256 = recipe.features.constants
    assert str(error).splitlines() == [
        f"{path} is a cache of something else:",
        "  site_groups[0].sites  expected ('block.00', 'block.02'), "
        "found ('block.00', 'block.02', 'block.05')",
        "  codec                 expected 'float16', found 'int8'",
        f"  constants.centre      expected 'nothing', found '{sha256['centre']}'",
        f"  constants.spread      expected 'nothing', found '{sha256['spread']}'",
        "  dataset               expected 'garden', found 'zoo'",
        "Choose another cache=..., or remove this one if it is stale.",
    ]


def test_other_label_columns_are_refused(recipe, finished, tiny):
    path = finished(recipe)
    error = refused(recipe, path, tiny, labels=[LabelColumn(name="colour", num_classes=299)])
    assert [difference.field for difference in error.differences] == [
        "labels.species.name",
        "labels.species.kind",
        "labels.species.num_classes",
        "labels.species.classes",
    ]
    assert error.differences[0] == ("labels.species.name", "nothing", "species")


@pytest.mark.parametrize("column", ["species", "colour"])
def test_other_labels_of_the_same_images_are_refused(recipe, finished, tiny, column):
    path = finished(recipe)
    labels = recipe.labels(tiny.VAL)
    labels[column][3] += 1
    split = SplitContents(name="val", keys=tiny.VAL, labels=labels)
    error = refused(recipe, path, tiny, splits=[recipe.contents("train"), split])
    assert error.differences == (
        (f"splits.val.labels.{column}", "the labels of the data set", "other labels"),
    )


def test_another_size_of_shards_is_refused(recipe, finished, tiny):
    error = refused(recipe, finished(recipe), tiny, rows_per_shard=4)
    assert error.differences == (("train.rows_per_shard", 4, 3), ("val.rows_per_shard", 4, 3))


def test_provenance_is_of_the_first_run_and_never_compared(recipe, finished, tiny):
    path = finished(recipe)
    with recipe.open(path, provenance={"losa": "9.9.9"}) as writer:
        assert writer.manifest.provenance == {"losa": "0.1.0"}


def test_a_folder_of_something_else_is_refused_and_left_alone(recipe, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"sun")
    with pytest.raises(CacheError) as caught:
        recipe.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a cache and not empty (it holds 'holiday.jpg'). "
        "Choose another cache=..., or remove this one if it is stale."
    )
    assert {file.name for file in tmp_path.iterdir()} <= {"holiday.jpg", LOCK_NAME}
    assert (tmp_path / "holiday.jpg").read_bytes() == b"sun"


# --- Damage and full disks ----------------------------------------------------------------------------


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("harm", [truncate, Path.unlink])
@pytest.mark.parametrize("file", [0, -1], ids=["first file", "last file"])
def test_a_damaged_shard_is_logged_and_made_again(recipe, finished, tiny, caplog, file, harm):
    path = finished(recipe)
    expected = tiny.tree(path)
    damaged = recipe.files(path, "train").shard_paths(1)[file]
    size = damaged.stat().st_size
    harm(damaged)
    found = damaged.stat().st_size if damaged.exists() else "no file"
    with caplog.at_level(logging.WARNING), recipe.open(path) as writer:
        assert shards(writer) == [("train", 1)]
    assert caplog.messages == [f"{damaged}: expected {size} bytes, found {found}. This shard is made again."]
    recipe.write(path)
    assert tiny.tree(path) == expected


def test_a_damaged_record_is_logged_and_its_shard_made_again(recipe, finished, tiny, caplog):
    path = finished(recipe)
    expected = tiny.tree(path)
    record = recipe.files(path, "train").commit_path(1)
    truncate(record)  # only the last line break is gone
    with recipe.open(path) as writer:
        assert shards(writer) == []
    damage(record)
    with caplog.at_level(logging.WARNING), recipe.open(path) as writer:
        assert shards(writer) == [("train", 1)]
    (message,) = caplog.messages
    assert message.startswith(f"{record}: ")
    assert message.endswith("This shard is made again.")
    record.unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING), recipe.open(path) as writer:
        assert shards(writer) == [("train", 1)]
    assert caplog.messages == []
    recipe.write(path)
    assert tiny.tree(path) == expected


def test_a_commit_record_of_another_shard_does_not_count(recipe, finished, caplog):
    path = finished(recipe)
    files = recipe.files(path, "train")
    files.commit_path(0).rename(files.commit_path(1))
    with caplog.at_level(logging.WARNING), recipe.open(path) as writer:
        assert shards(writer) == [("train", 0), ("train", 1)]
    assert "record of another shard: expected shard 1, found 0" in caplog.text


class FullDisk(io.BufferedWriter):
    """A file on a disk that becomes full after some bytes."""

    def write(self, data) -> int:
        if self.tell() + len(memoryview(data).cast("B")) > 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first file", "second file", "record"])
def test_a_full_disk_keeps_what_is_committed(recipe, tmp_path, finished, tiny, monkeypatch, place):
    path = tmp_path / "full"
    whole = recipe.files(finished(recipe), "train")
    paths = [*whole.shard_paths(1), whole.commit_path(1)]
    if place >= len(paths):
        pytest.skip("HDF5 has one file for a shard")
    name = f"{paths[place].name}.tmp"
    folder = paths[place].parent.name
    opened = Path.open

    def on_full_disk(self, mode="r", *args, **kwargs):
        if (self.parent.name, self.name, mode) == (folder, name, "wb") and "train" in self.as_posix():
            return FullDisk(io.FileIO(self, "w"))
        return opened(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_full_disk)
        with pytest.raises(CacheError) as caught:
            recipe.write(path)
    size = sum(file.stat().st_size for file in whole.shard_paths(1))
    folder = recipe.files(path, "train").folder
    assert str(caught.value) == (
        f"no space left for shard 1 of {folder} ({size:,} bytes): free some and run the "
        "same command again; it resumes after the shards that are committed"
    )
    assert not [file for file in finished_files(path) if file.endswith(".tmp")]
    with recipe.open(path) as writer:
        assert shards(writer) == [("train", 1), ("train", 2), ("val", 0), ("val", 1)]
    recipe.write(path)
    assert tiny.tree(path) == tiny.tree(tmp_path / "cache")


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EDQUOT, CacheError, "no space left for shard 0"),
        (errno.EIO, OSError, "Input/output error"),
    ],
)
def test_a_quota_is_a_full_disk_and_a_broken_disk_is_not(
    recipe, tmp_path, monkeypatch, number, kind, message
):
    def failing(descriptor):
        raise OSError(number, os.strerror(number))

    with recipe.open(tmp_path) as writer:
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(kind, match=message):
            recipe.write_shard(writer, *writer.missing()[0])


FORKS = """
import os, signal, sys
from pathlib import Path
from losa.cache_format import CacheInUse
from losa.cache_format.storage.lock import FileLock

folder = Path(sys.argv[1])
lock = FileLock(folder)
hear, tell = os.pipe()
child = os.fork()
if not child:
    os.write(tell, b"x")
    signal.pause()
try:
    os.read(hear, 1)  # the child runs, so it has released the lock
    try:
        FileLock(folder)
    except CacheInUse:
        print("held by the parent")
    lock.release()
    FileLock(folder).release()
    print("free")
finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_a_forked_child_does_not_hold_the_lock(tmp_path, run_python):
    """A decode worker outlives a killed writer by seconds, but the next writer must not wait for it."""
    assert run_python(FORKS, tmp_path) == "held by the parent\nfree\n"


def test_a_refused_folder_is_left_as_it_was(recipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CacheError, match=r"not a cache and not empty \(it holds 'notes.txt'\)"):
        recipe.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_no_folder(recipe, tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(CacheError, match="is a file, not the folder of a cache"):
        recipe.write(tmp_path / "cache")
