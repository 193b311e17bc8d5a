import os
import pickle
import random
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, Codes, CorruptCache, IncompleteCache, LosaError, Manifest
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.storage.byte_ranges import LocalRanges
from losa.cache_format.storage.sealed_json import seal, unseal
from losa.cache_format.stores import StoreName
from losa.cache_format.stores.base import MetadataArray

FLIPS = 25  # in each of two stores: 50 for every class of files
STORED = [
    *((codec, None) for codec in get_args(CodecName)),
    ("int8", "zstd"),
    ("int4", "blosc"),
    ("float16", "lz4"),
    ("bfloat16", "blosc"),
]
"""Codecs and compressors that are read in every way; more combinations would show nothing new."""


@pytest.fixture(params=get_args(StoreName))
def store(request):
    """Both stores, for all of these tests."""
    return request.param


@pytest.fixture(params=STORED, ids=str)
def stored(request, recipe):
    """A recipe for every codec, and for every compressor."""
    codec, compressor = request.param
    return replace(recipe, codec=codec, compressor=compressor)


@pytest.fixture
def shared(recipe, tiny):
    """A recipe with a third split whose order mixes the two segments."""
    return replace(recipe, splits=(*recipe.splits, ("trainval", tiny.TRAINVAL)))


def sites_of(codes: Codes, positions: list[int]) -> Codes:
    scales = None if codes.scales is None else codes.scales[:, positions]
    return Codes(codes.values[:, positions], scales)


# --- Reading ------------------------------------------------------------------------------------------


def test_any_order_and_duplicates(stored, shared, finished, tiny):
    recipe = replace(stored, splits=shared.splits)
    cache = Cache(finished(recipe))
    rng = np.random.default_rng(0)
    for name, keys in recipe.splits:
        split = cache.split(name)
        assert len(split) == len(keys)
        assert split.image_shape == recipe.image_shape
        for indices in (np.arange(len(keys)), rng.permutation(len(keys)), rng.integers(0, len(keys), 30)):
            tiny.assert_same_codes(split.read(indices), recipe.stored([keys[index] for index in indices]))


def test_decoded_codes_are_the_activations(codec, recipe, finished, tiny):
    recipe = replace(recipe, codec=codec)
    tolerance = 0.3 if codec == "int4" else 0.05
    cache = Cache(finished(recipe))
    decoded = cache.codec(cache.sites).decode(cache.split("val").read(np.arange(4)))
    activations = recipe.activations(tiny.VAL)
    loudest = np.abs(activations).max(axis=(0, 1, 2))
    assert (np.abs(decoded - activations) <= tolerance * loudest).all()


def test_every_subset_of_sites(stored, finished, tiny):
    recipe = stored
    cache = Cache(finished(recipe))
    indices = np.array([5, 0, 5, 6])
    whole = cache.split("train").read(indices)
    decoded = cache.codec(cache.sites).decode(whole)
    subsets = [list(some) for count in (1, 2, 3) for some in combinations(range(3), count)]
    for positions in subsets:
        sites = [recipe.sites[position] for position in positions]
        split = cache.split("train", sites[::-1])
        assert split.sites == tuple(sites)
        assert split.image_shape == (len(sites), *recipe.image_shape[1:])
        codes = split.read(indices)
        tiny.assert_same_codes(codes, sites_of(whole, positions))
        np.testing.assert_array_equal(cache.codec(split.sites).decode(codes), decoded[:, positions])
    assert cache.split("train", 1).sites == ("block.05",)
    with pytest.raises(
        LosaError, match=r"no site 'block\.01' here; there are block\.00, block\.02, block\.05"
    ):
        cache.split("train", "block.01")


def test_lists_and_slices_are_read_like_arrays(recipe, finished, tiny):
    split = Cache(finished(recipe)).split("train")
    expected = split.read(np.array([2, 3, 4]))
    for indices in ([2, 3, 4], range(2, 5), slice(2, 5), slice(-5, -2)):
        tiny.assert_same_codes(split.read(indices), expected)


def test_activations_in_one_call(stored, finished):
    cache = Cache(finished(stored))
    split = cache.split("train", 2)
    expected = cache.codec(split.sites).decode(split.read(np.arange(7)))
    assert expected.shape == (7, *split.image_shape)
    np.testing.assert_array_equal(cache.activations("train", sites=2), expected)
    np.testing.assert_array_equal(cache.activations("train", [5, 0], 2), expected[[5, 0]])
    np.testing.assert_array_equal(split.activations(range(3)), expected[:3])


def test_a_split_is_a_sequence_of_activations(recipe, finished):
    split = Cache(finished(recipe)).split("train", ["block.05"])
    expected = split.activations()
    assert len(list(split)) == len(split) == 7
    for image, activations in enumerate(split):
        np.testing.assert_array_equal(activations, expected[image])
    for several in (slice(2, 4), slice(None, None, -1), [6, 0]):
        np.testing.assert_array_equal(split[several], expected[several])
    for wrong in (7, -1):
        with pytest.raises(IndexError, match="expected 0 to 6"):
            split[wrong]


def test_no_images(codec, recipe, finished):
    split = Cache(finished(replace(recipe, codec=codec))).split("val")
    codes = split.read(np.array([], np.int64))
    assert codes.values.shape[:3] == (0, *recipe.image_shape[:2])
    assert (codes.scales is None) == (codec not in ("int8", "int4"))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 7], "indices from 0 to 7: expected 0 to 6"),
        ([-1], "indices from -1 to -1: expected 0 to 6"),
        ([3, -8, 100], "indices from -8 to 100: expected 0 to 6"),
    ],
)
def test_positions_out_of_range_are_refused(recipe, finished, indices, message):
    with pytest.raises(IndexError) as caught:
        Cache(finished(recipe)).split("train").read(np.array(indices))
    assert str(caught.value) == message


def test_codes_are_read_into_the_callers_memory(stored, finished, tiny):
    split = Cache(finished(stored)).split("train", ["block.00", "block.05"])
    expected = split.read(np.array([6, 0, 3]))
    out = split.read(np.array([1, 2, 5]))
    values, scales = out.values, out.scales
    again = split.read(np.array([6, 0, 3]), out=out)
    assert again.values is values
    assert again.scales is scales
    tiny.assert_same_codes(again, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v, s: (v[:2], s),
            r"out: expected a C-contiguous int8\[3, 3, 4, 6\], found int8\[2, 3, 4, 6\]",
        ),
        (lambda v, s: (v.astype(np.int16), s), r"expected .* int8\[3, 3, 4, 6\], found int16\[3, 3, 4, 6\]"),
        (lambda v, s: (v.view(np.uint8), s), r"found uint8\["),
        (lambda v, s: (np.asfortranarray(v), s), r"expected a C-contiguous int8"),
        (lambda v, s: (np.repeat(v, 2, 0)[::2], s), r"expected a C-contiguous int8"),
        (lambda v, s: (v, None), r"expected a C-contiguous float32\[3, 3, 4, 1\], found None"),
        (lambda v, s: (v, s.astype(np.float16)), r"float32\[3, 3, 4, 1\], found float16\[3, 3, 4, 1\]"),
        (lambda v, s: (v, s[..., 0]), r"float32\[3, 3, 4, 1\], found float32\[3, 3, 4\]"),
    ],
)
def test_other_memory_is_refused_and_left_alone(recipe, finished, change, message):
    split = Cache(finished(recipe)).split("train")
    codes = split.read(np.array([0, 1, 2]))
    values, scales = change(codes.values, codes.scales)
    before = values.copy()
    # Without shape checks, because beartype would refuse some of these before losa's own check.
    out = object.__new__(Codes)
    object.__setattr__(out, "values", values)
    object.__setattr__(out, "scales", scales)
    with pytest.raises(ValueError, match=message):
        split.read(np.array([3, 4, 5]), out=out)
    np.testing.assert_array_equal(values, before)


def test_memory_for_scales_that_the_codec_does_not_have_is_refused(recipe, finished):
    split = Cache(finished(replace(recipe, codec="float16"))).split("train")
    out = Codes(split.read(np.array([0])).values, np.zeros((1, 3, 4, 1), np.float32))
    with pytest.raises(ValueError, match="out: expected a C-contiguous None"):
        split.read(np.array([0]), out=out)


def test_the_size_of_an_image(stored, finished):
    for sites in (None, ["block.02"]):
        split = Cache(finished(stored, f"cache{sites is None}")).split("train", sites)
        codes = split.read(np.array([0]))
        assert split.image_bytes == codes.values.nbytes + (0 if codes.scales is None else codes.scales.nbytes)
        nothing = split.cache.select(np.zeros((0, 2), np.int64), "nothing", sites)
        assert (len(nothing), nothing.image_bytes) == (0, split.image_bytes)


def test_constants_come_back_with_their_calibration(recipe, finished):
    cache = Cache(str(finished(recipe)))
    assert set(cache.constants) == set(recipe.constants)
    for name, array in recipe.constants.items():
        assert cache.constants[name].dtype == np.float32
        np.testing.assert_array_equal(cache.constants[name], array)
    some = cache.calibration(["block.05", "block.00"])
    np.testing.assert_array_equal(some.centre, recipe.calibration.centre[[2, 0]])
    np.testing.assert_array_equal(some.spread, recipe.calibration.spread[[2, 0]])


@pytest.mark.parametrize("codec", ["int8", "float16"])
def test_sites_that_are_not_there_list_those_that_are(codec, recipe, finished):
    cache = Cache(finished(replace(recipe, codec=codec)))
    for find in (cache.calibration, cache.codec):
        with pytest.raises(CacheError) as caught:
            find(["block.00", "block.01"])
        message = f"{cache.path} has no site 'block.01'; it has: block.00, block.02, block.05"
        assert str(caught.value) == message


def test_columns_and_splits_that_are_not_there_list_those_that_are(recipe, finished):
    cache = Cache(finished(recipe))
    assert cache.label_column("species").classes[2] == "cat"
    with pytest.raises(CacheError) as caught:
        cache.split("train").labels("size")
    assert str(caught.value) == f"{cache.path} has no label column 'size'; it has: species, colour"
    with pytest.raises(CacheError, match=r"no split 'test'; it has: train, val$"):
        cache.split("test")


def test_no_cache(tmp_path):
    with pytest.raises(CacheError, match=re.escape(f"{tmp_path} is not a cache: it has no manifest.json")):
        Cache(tmp_path)


# --- Missing parts ------------------------------------------------------------------------------------


def test_missing_shards_are_counted_with_advice(recipe, tmp_path, tiny):
    with recipe.open(tmp_path) as writer:
        train, val = writer.manifest.segments
        recipe.write_shard(writer, train, 0)
        for shard in range(2):
            recipe.write_shard(writer, val, shard)
    cache = Cache(tmp_path)
    with pytest.raises(IncompleteCache) as caught:
        cache.split("train")
    assert str(caught.value) == (
        f"{tmp_path}: 2 of 3 shards of segment 'train' are missing (the first is 1): "
        "run the same losa-extract command again to finish it"
    )
    tiny.assert_same_codes(cache.split("val").read(np.arange(4)), recipe.stored(tiny.VAL))


def test_a_split_asks_only_for_the_shards_it_needs(recipe, tmp_path, tiny):
    few = (tiny.VAL[1], tiny.TRAIN[5], tiny.TRAIN[3])
    recipe = replace(recipe, splits=(*recipe.splits, ("few", few)))
    with recipe.open(tmp_path) as writer:
        train, val = writer.manifest.segments
        recipe.write_shard(writer, train, 1)
        recipe.write_shard(writer, val, 0)
    tiny.assert_same_codes(Cache(tmp_path).split("few").read(np.arange(3)), recipe.stored(few))


def with_advice(path, problem):
    return (
        f"{problem}. Run losa-cache repair {path}, then the losa-extract command that made the cache: "
        "it makes the damaged shards again"
    )


@pytest.mark.parametrize("file", [0, -1], ids=["first file", "last file"])
@pytest.mark.parametrize("bytes_left", [None, 0, -1, 10_000])
def test_a_missing_or_truncated_file_is_corrupt(recipe, finished, file, bytes_left):
    path = finished(recipe)
    damaged = recipe.files(path, "train").shard_paths(1)[file]
    size = damaged.stat().st_size
    if bytes_left is None:
        damaged.unlink()
    else:
        os.truncate(damaged, size - 1 if bytes_left < 0 else bytes_left)
    found = "no file" if bytes_left is None else damaged.stat().st_size
    with pytest.raises(CorruptCache) as caught:
        Cache(path).split("train")
    assert str(caught.value) == with_advice(path, f"{damaged}: expected {size} bytes, found {found}")
    Cache(path).split("val").read(np.arange(4))


def test_files_that_shrink_or_vanish_while_open_are_corrupt(recipe, finished):
    path = finished(recipe)
    files = recipe.files(path, "train")
    split = Cache(path).split("train")
    codes = files.commit(0).codes
    os.truncate(files.shard_paths(0)[0], codes.offset + 10)
    files.shard_paths(1)[-1].unlink()
    with pytest.raises(CorruptCache) as caught:
        split.read(np.array([0]))
    short = f"{files.shard_paths(0)[0]}: cannot read 72 bytes at {codes.offset}"
    assert str(caught.value) == with_advice(path, short)
    with pytest.raises(CorruptCache) as caught:
        split.read(np.array([3]))
    vanished = f"{files.shard_paths(1)[-1]} has vanished since the cache was opened"
    assert str(caught.value) == with_advice(path, vanished)


# --- Damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ["codes", "scales"])
def test_any_flipped_bit_of_an_image_is_detected_and_named(recipe, finished, tiny, array):
    path = finished(recipe)
    cache = Cache(path)
    draw = random.Random(0)
    sites, tokens, width = recipe.image_shape
    for _ in range(FLIPS):
        segment, keys = draw.choice(recipe.splits)
        row, site = draw.randrange(len(keys)), draw.randrange(sites)
        shard, slot = divmod(row, 3)
        files = recipe.files(path, segment)
        extent = getattr(files.commit(shard), array)
        site_bytes = tokens * width if array == "codes" else tokens * 4
        place = extent.offset + slot * extent.stride + site * site_bytes + draw.randrange(site_bytes)
        bit = draw.randrange(8)
        tiny.flip(files.folder / extent.file, place, bit)
        with pytest.raises(CorruptCache) as caught:
            cache.split(segment).read(np.array([row]))
        where = " or ".join(map(str, files.shard_paths(shard)))
        assert re.fullmatch(
            re.escape(
                f"{where}: image {keys[row]!r} (row {row} of segment {segment!r}), "
                f"site {recipe.sites[site]!r}: expected crc32c "
            )
            + r"[0-9a-f]{8}, found [0-9a-f]{8}\. "
            + re.escape(
                f"Run losa-cache repair {path}, then the losa-extract command that made the cache: "
                "it makes the damaged shards again"
            ),
            str(caught.value),
        )
        others = np.array([index for index in range(len(keys)) if index != row])
        expected = recipe.stored([keys[index] for index in others])
        tiny.assert_same_codes(cache.split(segment).read(others), expected)
        elsewhere = [name for name in recipe.sites if name != recipe.sites[site]]
        cache.split(segment, elsewhere).read(np.array([row]))
        tiny.flip(files.folder / extent.file, place, bit)
    tiny.assert_same_codes(cache.split("train").read(np.arange(7)), recipe.stored(tiny.TRAIN))


def test_a_shard_whose_record_was_removed_is_made_anew(recipe, finished, tiny):
    path = finished(recipe)
    whole = tiny.tree(path)
    files = recipe.files(path, "val")
    tiny.flip(files.shard_paths(0)[0], files.commit(0).codes.offset + 40, 0)
    with pytest.raises(CorruptCache):
        Cache(path).split("val").read(np.arange(4))
    files.commit_path(0).unlink()
    recipe.write(path)
    assert tiny.tree(path) == whole


def test_damage_is_found_without_scales_and_compressed_too(stored, finished, tiny):
    path = finished(stored)
    files = stored.files(path, "val")
    codes = files.commit(1).codes
    place = codes.offset if stored.compressor is None else int(codes.table[0]["offset"])
    tiny.flip(files.folder / codes.file, place, 7)
    split = Cache(path).split("val")
    with pytest.raises(CorruptCache) as caught:
        split.read(np.array([3]))
    assert str(caught.value).startswith(str(files.shard_paths(1)[0]))
    what = "site 'block.00'" if stored.compressor is None else "compressed codes"
    assert f"image {tiny.VAL[3]!r} (row 3 of segment 'val'), {what}: expected" in str(caught.value)
    with pytest.raises(CorruptCache):
        split.read(np.array([3]))
    split.read(np.arange(3))


def everything(path: Path) -> bytes:
    """Everything that can be read from a cache."""
    cache = Cache(path)
    found: list[object] = [cache.manifest.to_json(), sorted(cache.constants.items())]
    for record in cache.manifest.splits:
        split = cache.split(record.name)
        codes = split.read(np.arange(len(split)))
        found += [split.keys, split.valid, codes.values, codes.scales]
        found += [split.labels(column.name) for column in cache.manifest.labels]
    return pickle.dumps(found)


FILES = [
    "manifest.json",
    "arrays.*/segments/**/*.json",
    "arrays.*/segments/*/labels/**/*",
    "arrays.*/segments/*/keys/**/*",
    "arrays.*/splits/**/*",
    "arrays.*/constants/**/*",
]
SHARDS = ["arrays.*/segments/*/codes/c.*", "arrays.*/segments/*/scales/c.*", "arrays.*/segments/*/shard.*"]


@pytest.mark.parametrize(
    ("pattern", "compressor"),
    [*((pattern, None) for pattern in (*FILES, *SHARDS)), (SHARDS, "zstd")],
    ids=str,
)
def test_no_flipped_bit_in_any_file_ever_gives_a_wrong_value(recipe, finished, tiny, pattern, compressor):
    splits = (("train", tiny.TRAIN[:3]), ("mixed", (tiny.VAL[0], tiny.TRAIN[2])))
    path = finished(replace(recipe, splits=splits, rows_per_shard=2, compressor=compressor))
    expected = everything(path)
    patterns = [pattern] if isinstance(pattern, str) else pattern
    files = sorted(file for one in patterns for file in path.glob(one) if file.is_file())
    if not files:
        pytest.skip("files of the other store")
    draw = random.Random(1)
    detected = 0
    for _ in range(FLIPS):
        file = draw.choice(files)
        place, bit = draw.randrange(file.stat().st_size), draw.randrange(8)
        tiny.flip(file, place, bit)
        try:
            assert everything(path) == expected
        except CacheError as error:
            assert not isinstance(error, IncompleteCache)  # noqa: PT017 -- some flips do no harm
            detected += 1
        tiny.flip(file, place, bit)
    assert everything(path) == expected
    # Descriptions and the heads of HDF5 files are for other readers and never read with the images.
    assert detected > (FLIPS // 4 if recipe.store == "zarr" and pattern != FILES[1] else 0)


def test_hashes_of_the_files_of_images(recipe, finished, tiny):
    split = Cache(finished(recipe)).split("val")
    expected = [
        tiny.source_hash(key) if valid else bytes(16)
        for key, valid in zip(split.keys, split.valid, strict=True)
    ]
    assert split.source_hashes.tobytes() == b"".join(expected)


def test_chosen_images_are_read_like_a_split(recipe, finished):
    cache = Cache(finished(recipe))
    val = cache.split("val")
    chosen = cache.select(val.index[::-1], "backwards")
    assert (chosen.name, len(chosen), chosen.keys) == ("backwards", len(val), val.keys[::-1])
    assert chosen.valid.tolist() == val.valid[::-1].tolist()
    order = np.arange(len(val))
    assert np.array_equal(chosen.read(order).values, val.read(order[::-1]).values)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("row", [0, -1, 4])
def test_another_index_is_corrupt(recipe, finished, tiny, number, row):
    """Once with its old hash, once with its hash in the manifest, when it must not point outside."""
    path = finished(recipe)
    index = np.array([[1, 0], [1, 1], [1, 2], [number, row]])
    tiny.forge(path, "splits/val/index", MetadataArray(index, ("images", "segment and row")))
    with pytest.raises(CorruptCache, match="index of split 'val' is not the one whose hash is in"):
        Cache(path).split("val")
    manifest = Manifest.read(path)
    train, val = manifest.splits
    replace(manifest, splits=(train, replace(val, index_sha256=hash_array(index)))).write(path)
    if number == 0 and row >= 0:
        with pytest.raises(CorruptCache, match="keys of split 'val' are not those whose hash is in"):
            Cache(path).keys("val")
        return
    what = "to an image twice" if (number, row) == (1, 0) else "outside the stored images"
    with pytest.raises(CorruptCache, match=f"index of split 'val' points {what}"):
        Cache(path).split("val")


def test_the_labels_of_another_column_are_corrupt(recipe, finished, tiny):
    path = finished(recipe)
    colour = MetadataArray(recipe.labels(tiny.VAL)["colour"], ("images",))
    tiny.forge(path, "segments/val/labels/species", colour)
    with pytest.raises(CorruptCache, match="labels 'species' of segment 'val' are not those whose hash is"):
        Cache(path).split("val").labels("species")
    np.testing.assert_array_equal(Cache(path).split("val").labels("colour"), colour.values)


def test_the_shard_of_another_segment_is_corrupt(recipe, finished):
    """Codes, scales and commit record together: the files are undamaged, but belong to another shard."""
    path = finished(recipe)
    train, val = (recipe.files(path, name) for name in ("train", "val"))
    for mine, theirs in zip(
        [*train.shard_paths(0), train.commit_path(0)], [*val.shard_paths(0), val.commit_path(0)], strict=True
    ):
        mine.replace(theirs)
    with pytest.raises(CorruptCache, match=r"record of another shard: expected segment 'val', found 'train'"):
        Cache(path).split("val")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"compressor": "zstd"}, "codes 'Chunked', found 'Strided'"),
        ({"codec": "float16"}, "features '"),
        ({"rows_per_shard": 2}, "rows 2, found 3"),
    ],
)
def test_a_record_that_does_not_fit_the_manifest_is_corrupt(recipe, finished, change, field):
    path = finished(recipe)
    other = finished(replace(recipe, **change), "other")
    for mine, theirs in zip(
        recipe.files(path, "train").folder.rglob("commit.0.json"),
        recipe.files(other, "train").folder.rglob("commit.0.json"),
        strict=True,
    ):
        mine.replace(theirs)
    with pytest.raises(CorruptCache, match=f"is the record of another shard: expected .*{field}"):
        Cache(other).split("train")


def test_constants_other_than_those_of_the_manifest_are_corrupt(recipe, finished, tiny):
    path = finished(recipe)
    other = MetadataArray(recipe.constants["spread"] + 1, ("sites", "width"))
    tiny.forge(path, "constants/spread", other)
    with pytest.raises(
        CorruptCache, match="constant 'spread' is not the array whose hash is in the manifest"
    ):
        Cache(path)


def test_a_constant_that_the_version_does_not_know_is_refused(recipe, finished):
    path = finished(recipe)
    content = unseal((path / "manifest.json").read_bytes(), path)
    content["features"]["constants"]["mystery"] = "00" * 32
    (path / "manifest.json").write_bytes(seal(content))
    with pytest.raises(
        CorruptCache, match="the manifest names a constant 'mystery' that format version 1 does"
    ):
        Cache(path)


# --- Processes and threads ----------------------------------------------------------------------------


def test_a_split_is_pickled_without_its_open_files(stored, shared, finished, tiny):
    recipe = replace(stored, splits=shared.splits)
    split = Cache(finished(recipe)).split("trainval", ["block.00", "block.05"])
    codes = split.read(np.arange(11))
    copy = pickle.loads(pickle.dumps(split))
    tiny.assert_same_codes(copy.read(np.arange(11)), codes)
    assert copy.keys == split.keys
    del split
    tiny.assert_same_codes(copy.read(np.arange(11)), codes)


WORKERS = """
import multiprocessing, sys
import numpy as np
from losa.cache_format import Cache
from tiny_cache import Recipe, TRAIN, assert_same_codes

split = Cache(sys.argv[1]).split("train")
first = split.read(np.arange(3))  # so that files are open, rows verified and threads started
batches = [np.array([6, 0, row]) for row in range(7)]
with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
    for batch, codes in zip(batches, pool.map(split.read, batches), strict=True):
        assert_same_codes(codes, Recipe().stored([TRAIN[row] for row in batch]))
assert_same_codes(split.read(np.arange(3)), first)
print("same")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(recipe, finished, run_python, method):
    assert run_python(WORKERS, finished(recipe), method) == "same\n"


@pytest.mark.parametrize(("open_files", "compressor"), [(256, None), (1, None), (0, None), (1, "zstd")])
def test_eight_threads_read_at_once(shared, finished, tiny, monkeypatch, open_files, compressor):
    shared = replace(shared, compressor=compressor)
    monkeypatch.setattr(LocalRanges, "__init__", few_descriptors(open_files))
    expected = shared.stored(tiny.TRAINVAL)
    path = finished(shared)

    def read(split, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            indices = rng.integers(0, 11, 5)
            rows = Codes(expected.values[indices], expected.scales[indices])
            tiny.assert_same_codes(split.read(indices), rows)

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(3):
            split = Cache(path).split("trainval")  # again with files to open and rows to verify
            list(pool.map(partial(read, split), range(8 * attempt, 8 * attempt + 8)))


def few_descriptors(most: int):
    make = LocalRanges.__init__

    def make_few(self) -> None:
        make(self)
        self._most = most

    return make_few


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("most", [256, 2, 1, 0])
def test_files_beyond_the_limit_are_opened_for_each_read(recipe, finished, tiny, monkeypatch, most):
    monkeypatch.setattr(LocalRanges, "__init__", few_descriptors(most))
    split = Cache(finished(recipe)).split("train")
    before = open_descriptors()
    for _ in range(3):
        tiny.assert_same_codes(split.read(np.arange(7)), recipe.stored(tiny.TRAIN))
    assert open_descriptors() - before == min(most, 6 if recipe.store == "zarr" else 3)
    with suppress(IndexError):
        split.read(np.array([99]))
    del split
    assert open_descriptors() == before


def test_statistics_are_those_of_all_committed_shards(recipe, finished):
    cache = Cache(finished(recipe))
    stored = np.concatenate([recipe.activations(keys) for _, keys in recipe.splits])
    for index, statistics in enumerate(cache.statistics()):
        values = stored[:, index].astype(np.float64)
        assert statistics.count == values.size
        assert statistics.sum_squares == pytest.approx((values**2).sum(), rel=1e-5)
        assert (statistics.minimum, statistics.maximum) == (values.min(), values.max())
