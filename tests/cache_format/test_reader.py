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

import numpy as np
import pytest
from losa.cache_format.zarr_layout import write_array

from losa.cache_format import Cache, CacheError, Codes, CorruptCache, IncompleteCache, LosaError
from losa.cache_format import segment_reader as segment_reader_module
from losa.cache_format.constants import write_constants
from losa.cache_format.sealed_json import seal, unseal

FLIPS = 50


@pytest.fixture
def shared(recipe, tiny):
    """A recipe with a third split whose order mixes the two segments."""
    return replace(recipe, splits=(*recipe.splits, ("trainval", tiny.TRAINVAL)))


def sites_of(codes: Codes, positions: list[int]) -> Codes:
    scales = None if codes.scales is None else codes.scales[:, positions]
    return Codes(codes.values[:, positions], scales)


# --- Reading ------------------------------------------------------------------------------------------


def test_any_order_and_duplicates(codec, shared, finished, tiny):
    recipe = replace(shared, codec=codec)
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
    cache = Cache(finished(recipe))
    decoded = cache.codec(cache.sites).decode(cache.split("val").read(np.arange(4)))
    activations = recipe.activations(tiny.VAL)
    loudest = np.abs(activations).max(axis=(0, 1, 2))
    assert (np.abs(decoded - activations) <= 0.05 * loudest).all()


def test_every_subset_of_sites(codec, recipe, finished, tiny):
    recipe = replace(recipe, codec=codec)
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


def test_no_images(codec, recipe, finished):
    split = Cache(finished(replace(recipe, codec=codec))).split("val")
    codes = split.read(np.array([], np.int64))
    assert codes.values.shape == (0, *recipe.image_shape)
    assert (codes.scales is None) == (codec != "int8")


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


def test_constants_come_back_with_their_calibration(recipe, finished):
    cache = Cache(str(finished(recipe)))
    assert set(cache.constants) == set(recipe.constants)
    for name, array in recipe.constants.items():
        assert cache.constants[name].dtype == np.float32
        np.testing.assert_array_equal(cache.constants[name], array)
    some = cache.calibration(["block.05", "block.00"])
    np.testing.assert_array_equal(some.centre, recipe.calibration.centre[[2, 0]])
    np.testing.assert_array_equal(some.spread, recipe.calibration.spread[[2, 0]])


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


# --- What is not there --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("file", ["codes/c.1.0.0.0", "scales/c.1.0.0"])
@pytest.mark.parametrize("bytes_left", [None, 0, -1, 10_000])
def test_a_missing_or_truncated_file_is_corrupt(recipe, finished, file, bytes_left):
    path = finished(recipe)
    damaged = path / "arrays.zarr/segments/train" / file
    size = damaged.stat().st_size
    if bytes_left is None:
        damaged.unlink()
    else:
        os.truncate(damaged, size - 1 if bytes_left < 0 else bytes_left)
    found = "no file" if bytes_left is None else damaged.stat().st_size
    with pytest.raises(CorruptCache) as caught:
        Cache(path).split("train")
    assert str(caught.value) == f"{damaged}: expected {size} bytes, found {found}"
    Cache(path).split("val").read(np.arange(4))


def test_files_that_shrink_or_vanish_while_open_are_corrupt(recipe, finished):
    path = finished(recipe)
    folder = path / "arrays.zarr/segments/train"
    split = Cache(path).split("train")
    os.truncate(folder / "codes/c.0.0.0.0", 10)
    (folder / "scales/c.1.0.0").unlink()
    with pytest.raises(CorruptCache, match=r"codes/c\.0\.0\.0\.0: cannot read 72 bytes at 0"):
        split.read(np.array([0]))
    with pytest.raises(CorruptCache, match=r"scales/c\.1\.0\.0 has vanished since the cache was opened"):
        split.read(np.array([3]))


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
        files = path / "arrays.zarr/segments" / segment
        codes, scales = files / f"codes/c.{shard}.0.0.0", files / f"scales/c.{shard}.0.0"
        site_bytes = tokens * width if array == "codes" else tokens * 4
        stride = sites * site_bytes + (4 if array == "codes" else 0)  # zarr's own checksum per image
        place = slot * stride + site * site_bytes + draw.randrange(site_bytes)
        bit = draw.randrange(8)
        file = codes if array == "codes" else scales
        tiny.flip(file, place, bit)
        with pytest.raises(CorruptCache) as caught:
            cache.split(segment).read(np.array([row]))
        assert re.fullmatch(
            re.escape(
                f"{codes} or {scales}: image {keys[row]!r} (row {row} of segment {segment!r}), "
                f"site {recipe.sites[site]!r}: expected crc32c "
            )
            + r"[0-9a-f]{8}, found [0-9a-f]{8}\. Delete "
            + re.escape(
                f"{files / f'codes/commit.{shard}.json'} and run the same losa-extract command again: "
            )
            + "it makes this shard anew",
            str(caught.value),
        )
        others = np.array([index for index in range(len(keys)) if index != row])
        expected = recipe.stored([keys[index] for index in others])
        tiny.assert_same_codes(cache.split(segment).read(others), expected)
        elsewhere = [name for name in recipe.sites if name != recipe.sites[site]]
        cache.split(segment, elsewhere).read(np.array([row]))
        tiny.flip(file, place, bit)
    tiny.assert_same_codes(cache.split("train").read(np.arange(7)), recipe.stored(tiny.TRAIN))


def test_the_advice_of_the_message_mends_the_cache(recipe, finished, tiny):
    path = finished(recipe)
    whole = tiny.tree(path)
    tiny.flip(path / "arrays.zarr/segments/val/codes/c.0.0.0.0", 80, 0)
    with pytest.raises(CorruptCache) as caught:
        Cache(path).split("val").read(np.arange(4))
    Path(re.search(r"Delete (.*\.json) and", str(caught.value))[1]).unlink()
    recipe.write(path)
    assert tiny.tree(path) == whole


def test_damage_is_found_without_scales_too(codec, recipe, finished, tiny):
    path = finished(replace(recipe, codec=codec))
    file = path / "arrays.zarr/segments/val/codes/c.1.0.0.0"
    tiny.flip(file, 0, 7)
    split = Cache(path).split("val")
    with pytest.raises(CorruptCache) as caught:
        split.read(np.array([3]))
    assert str(caught.value).startswith(str(file))
    assert f"image {tiny.VAL[3]!r} (row 3 of segment 'val'), site 'block.00'" in str(caught.value)
    with pytest.raises(CorruptCache):
        split.read(np.array([3]))


def everything(path: Path) -> bytes:
    """All that a reader can ask of a cache."""
    cache = Cache(path)
    found: list[object] = [cache.manifest.to_json(), sorted(cache.constants.items())]
    for record in cache.manifest.splits:
        split = cache.split(record.name)
        codes = split.read(np.arange(len(split)))
        found += [split.keys, split.valid, codes.values, codes.scales]
        found += [split.labels(column.name) for column in cache.manifest.labels]
    return pickle.dumps(found)


@pytest.mark.parametrize(
    "pattern",
    [
        "manifest.json",
        "arrays.zarr/segments/*/codes/c.*",
        "arrays.zarr/segments/*/scales/c.*",
        "arrays.zarr/segments/*/codes/commit.*.json",
        "arrays.zarr/segments/*/labels/*/c.0",
        "arrays.zarr/segments/*/keys/*/c.0",
        "arrays.zarr/splits/*/index/c.0",
        "arrays.zarr/constants/*/c.*",
        "arrays.zarr/**/zarr.json",
    ],
)
def test_no_flipped_bit_in_any_file_ever_gives_a_wrong_value(recipe, finished, tiny, pattern):
    splits = (("train", tiny.TRAIN[:3]), ("mixed", (tiny.VAL[0], tiny.TRAIN[2])))
    path = finished(replace(recipe, splits=splits, rows_per_shard=2))
    expected = everything(path)
    files = [file for file in sorted(path.glob(pattern)) if file.is_file()]
    assert files
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
    if not pattern.endswith("zarr.json"):  # which we write for others and never read
        assert detected > FLIPS // 4


@pytest.mark.parametrize("index", [[0, 1, 2, 11], [0, 1, 2, -1], [0, 1, 2, 3]])
def test_another_index_is_corrupt(recipe, finished, index):
    path = finished(recipe)
    write_array(path / "arrays.zarr/splits/val/index", np.array(index), ["images"])
    with pytest.raises(CorruptCache, match="val/index: not the index whose hash stands in the manifest"):
        Cache(path).split("val")


def test_the_labels_of_another_column_are_corrupt(recipe, finished):
    path = finished(recipe)
    labels = path / "arrays.zarr/segments/val/labels"
    (labels / "colour/c.0").replace(labels / "species/c.0")
    with pytest.raises(
        CorruptCache, match="labels/species: not the labels whose hash stands in the manifest"
    ):
        Cache(path).split("val").labels("species")


def test_the_shard_of_another_segment_is_corrupt(recipe, finished):
    """Codes, scales and commit record together: every file is whole, but they belong elsewhere."""
    path = finished(recipe)
    segments = path / "arrays.zarr/segments"
    for name in ("codes/c.0.0.0.0", "scales/c.0.0.0", "codes/commit.0.json"):
        (segments / "train" / name).replace(segments / "val" / name)
    with pytest.raises(CorruptCache, match=r"record of another shard: expected segment 'val', found 'train'"):
        Cache(path).split("val")


def test_constants_other_than_those_of_the_manifest_are_corrupt(recipe, finished):
    path = finished(recipe)
    write_constants(path, {"spread": recipe.constants["spread"] + 1})
    with pytest.raises(
        CorruptCache, match="constants/spread: not the array whose hash stands in the manifest"
    ):
        Cache(path)


def test_a_constant_that_the_version_does_not_know_is_refused(recipe, finished):
    path = finished(recipe)
    content = unseal((path / "manifest.json").read_bytes(), path)
    content["features"]["constants"]["mystery"] = "00" * 32
    (path / "manifest.json").write_bytes(seal(content))
    with pytest.raises(CorruptCache, match="constants/mystery: the manifest names a constant that format"):
        Cache(path)


# --- Processes and threads ----------------------------------------------------------------------------


def test_a_split_is_pickled_without_its_open_files(codec, shared, finished, tiny):
    recipe = replace(shared, codec=codec)
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
first = split.read(np.arange(3))  # so that files are open and rows verified
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


@pytest.mark.parametrize("open_files", [256, 1, 0])
def test_eight_threads_read_at_once(shared, finished, tiny, monkeypatch, open_files):
    monkeypatch.setattr(segment_reader_module, "MAX_OPEN_FILES", open_files)
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


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("most", [256, 3, 1, 0])
def test_files_beyond_the_limit_are_opened_for_each_read(recipe, finished, tiny, monkeypatch, most):
    monkeypatch.setattr(segment_reader_module, "MAX_OPEN_FILES", most)
    split = Cache(finished(recipe)).split("train")
    before = open_descriptors()
    for _ in range(3):
        tiny.assert_same_codes(split.read(np.arange(7)), recipe.stored(tiny.TRAIN))
    assert open_descriptors() - before == min(most, 6)
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
