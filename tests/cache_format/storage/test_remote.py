"""Caches in buckets: in the memory of this process, and on a local S3 server."""

import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from upath import UPath

from losa.cache_format import Cache, CacheError, CacheInUse, CorruptCache, IncompleteCache
from losa.cache_format.storage.lock import LOCK_NAME

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
STORED = [
    *(("memory", store, compressor) for store in ("zarr", "hdf5") for compressor in (None, "zstd")),
    ("s3", "zarr", None),
    ("s3", "hdf5", "lz4"),
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL of a server that speaks S3 and has a bucket named ``bucket``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
        yield url
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request) -> UPath:
    """An empty folder of a bucket."""
    name = uuid.uuid4().hex
    if request.param == "memory":
        return UPath(f"memory://{name}/cache")
    return UPath(f"s3://bucket/{name}/cache", endpoint_url=request.getfixturevalue("endpoint"))


def tree(folder: UPath) -> dict[str, bytes]:
    """Every object below a folder."""
    folder.fs.invalidate_cache()
    root = folder.path.rstrip("/") + "/"
    names = folder.fs.find(folder.path)
    found = folder.fs.cat(names) if names else {}
    return {name.removeprefix(root): found[name] for name in sorted(found)}


def local_tree(tiny, path) -> dict[str, bytes]:
    return {name: data for name, data in tiny.tree(path).items() if name != LOCK_NAME}


@pytest.mark.parametrize(("place", "store", "compressor"), STORED, indirect=["place"])
def test_the_same_objects_as_files_and_the_same_codes(recipe, place, finished, tiny, compressor):
    recipe = replace(recipe, compressor=compressor, splits=(*recipe.splits, ("trainval", tiny.TRAINVAL)))
    recipe.write(place)
    local = finished(recipe)
    assert tree(place) == local_tree(tiny, local)
    cache = Cache(place)
    assert cache.statistics() == Cache(local).statistics()
    for name, keys in recipe.splits:
        split, twin = cache.split(name), Cache(local).split(name)
        assert split.keys == list(keys)
        tiny.assert_same_codes(split.read(np.arange(len(keys))), twin.read(np.arange(len(keys))))
        np.testing.assert_array_equal(split.labels("colour"), twin.labels("colour"))
        assert split.valid.all()
    for sites in (["block.00", "block.05"], "block.02"):
        split, twin = cache.split("trainval", sites), Cache(local).split("trainval", sites)
        out = split.read(np.array([10, 0, 10]))
        tiny.assert_same_codes(out, twin.read(np.array([10, 0, 10])))
        again = split.read(np.array([4, 5, 1]), out=out)
        assert again.values is out.values
        tiny.assert_same_codes(again, twin.read(np.array([4, 5, 1])))
        assert len(split.read(np.array([], np.int64)).values) == 0


class Interrupted(BaseException):
    """Like KeyboardInterrupt, not an Exception."""


@pytest.mark.parametrize(("place", "store", "compressor"), STORED[2:5], indirect=["place"])
def test_an_interrupted_shard_leaves_nothing_and_is_resumed(recipe, place, finished, tiny, compressor):
    recipe = replace(recipe, compressor=compressor)

    def extract_until_interrupted() -> None:
        with recipe.open(place) as writer:
            first, (segment, shard), *_ = writer.missing()
            recipe.write_shard(writer, *first)
            before.update(tree(place))
            with writer.shard(segment, shard) as out:
                recipe.append(out, recipe.keys[3:5])
                raise Interrupted

    before: dict[str, bytes] = {}
    with pytest.raises(Interrupted):
        extract_until_interrupted()
    assert tree(place) == {name: data for name, data in before.items() if name != LOCK_NAME}
    with pytest.raises(IncompleteCache, match="2 of 3 shards of segment 'train' are missing"):
        Cache(place).split("train")
    with recipe.open(place) as writer:
        assert [(segment.name, shard) for segment, shard in writer.missing()] == [
            ("train", 1),
            ("train", 2),
            ("val", 0),
            ("val", 1),
        ]
    recipe.write(place)
    assert tree(place) == local_tree(tiny, finished(recipe))


def test_a_split_is_added_later(recipe, place, tiny):
    features, constants = recipe.features, recipe.constants
    train = replace(recipe, splits=recipe.splits[:1])
    with train.open(place, features=features, constants=constants) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    before = tree(place)
    with recipe.open(place, splits=[recipe.contents("val")]) as writer:
        assert [segment.name for segment, _ in writer.missing()] == ["val", "val"]
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    del before["manifest.json"]
    assert before.items() <= tree(place).items()
    for name, keys in recipe.splits:
        tiny.assert_same_codes(Cache(place).split(name).read(np.arange(len(keys))), recipe.stored(keys))


def test_one_writer_at_a_time(recipe, place):
    with recipe.open(place):
        assert (place / LOCK_NAME).exists()
        with pytest.raises(CacheInUse, match=f"is written to by process {os.getpid()} on "):
            recipe.open(place)
    assert LOCK_NAME not in tree(place)
    with recipe.open(place):
        pass


@pytest.mark.parametrize("when", ["before the shard", "in mid-shard", "before the manifest"])
def test_a_writer_that_lost_its_lease_publishes_nothing_more(recipe, place, monkeypatch, when):
    def lose() -> None:
        (place / LOCK_NAME).write_bytes(b'{"token": "x", "process": 1, "host": "there", "renewed": 9e9}')

    if when == "before the manifest":
        monkeypatch.setattr("losa.cache_format.writer.publish_files", lambda path, files: lose())
        with pytest.raises(CacheInUse, match="by process 1 on there"):
            recipe.open(place)
        assert set(tree(place)) == {LOCK_NAME}
        return
    with recipe.open(place) as writer:
        segment, shard = writer.missing()[0]
        if when == "before the shard":
            lose()
        before = tree(place)
        lost = pytest.raises(CacheInUse, match="was taken over by process 1 on there; this one stops")
        with lost, writer.shard(segment, shard) as out:
            recipe.append(out, recipe.keys[:3])
            lose()
        assert {**tree(place), LOCK_NAME: b""} == {**before, LOCK_NAME: b""}
    assert LOCK_NAME in tree(place), "the lease of the other one"


def test_damage_is_detected_and_made_anew(recipe, place, tiny, caplog):
    recipe.write(place)
    whole = tree(place)
    files = recipe.files(place, "train")
    codes = files.shard_paths(0)[0]
    damaged = bytearray(codes.read_bytes())
    damaged[7] ^= 1
    codes.write_bytes(bytes(damaged))
    split = Cache(place).split("train")
    with pytest.raises(CorruptCache, match=r"image 'train/00\.jpg' .* site 'block\.00': expected crc32c"):
        split.read(np.array([0]))
    split.read(np.array([1]))
    codes.unlink()
    with pytest.raises(CorruptCache):
        split.read(np.array([1]))
    with pytest.raises(CorruptCache, match=f"{codes}: expected {len(damaged)} bytes, found no file"):
        Cache(place).split("train")
    codes.write_bytes(bytes(damaged[:-1]))
    with pytest.raises(CorruptCache, match=f"expected {len(damaged)} bytes, found {len(damaged) - 1}"):
        Cache(place).split("train")
    with caplog.at_level(logging.WARNING):
        recipe.write(place)
    assert "This shard is made again" in caplog.text
    assert tree(place) == whole


def test_small_files_are_written_again(recipe, place, caplog):
    recipe.write(place)
    whole = tree(place)
    labels = place / recipe.array_file("segments/train/labels/colour")
    (place / recipe.array_file("constants/spread", 2)).unlink()
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(CorruptCache):
        Cache(place)
    with caplog.at_level(logging.WARNING), recipe.open(place) as writer:
        assert writer.missing() == []
    assert caplog.text.count("It is written again.") == 2
    assert tree(place) == whole


def test_no_cache_there(place):
    advice = "losa-extract ... cache=<folder> makes one"
    with pytest.raises(CacheError, match=f"^{place} is not a cache: it has no manifest.json. {advice}$"):
        Cache(place)


def test_something_else_there_is_left_alone(recipe, place):
    (place / "thesis.tex").write_bytes(b"x")
    with pytest.raises(CacheError, match=r"is not a cache and not empty \(it holds 'thesis\.tex'\)"):
        recipe.open(place)
    assert tree(place) == {"thesis.tex": b"x"}


def test_a_bucket_that_does_not_exist(recipe, endpoint):
    nowhere = UPath("s3://nowhere/cache", endpoint_url=endpoint)
    for attempt in (recipe.open, Cache):
        with pytest.raises(
            CacheError, match=r"^s3://nowhere/cache cannot be reached: .*Check the bucket's name"
        ):
            attempt(nowhere)


READS = """
import multiprocessing, sys
import numpy as np
from losa.cache_format import Cache
from tiny_cache import Recipe, TRAIN, assert_same_codes

split = Cache(sys.argv[1]).split("train")
first = split.read(np.arange(3))  # so that connections are open
batches = [np.array([6, 0, row]) for row in range(7)]
for method in sys.argv[2:]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        for batch, codes in zip(batches, pool.map(split.read, batches), strict=True):
            assert_same_codes(codes, Recipe().stored([TRAIN[row] for row in batch]))
assert_same_codes(split.read(np.arange(3)), first)
print("same")
"""


def test_a_url_is_enough_where_the_environment_says_the_rest_and_workers_read(
    recipe, endpoint, run_python, monkeypatch
):
    name = uuid.uuid4().hex
    recipe.write(UPath(f"s3://bucket/{name}", endpoint_url=endpoint))
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", endpoint)
    assert run_python(READS, f"s3://bucket/{name}", "fork", "spawn") == "same\n"
