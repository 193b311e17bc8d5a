"""Arbitrary manifests and commit records with right checksums: the only exception is `LosaError`.

Numbers in files must not be trusted: an allocation of that size, or a loop of that length, would kill the
process without an error message.
"""

import json
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from losa.cache_format import Cache, LosaError, verify
from losa.cache_format.codecs.compressors import Compressor
from losa.cache_format.manifest import MANIFEST_NAME
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.sealed_json import seal, unseal

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

MOST_MEMORY = 64 * 2**20
"""Bytes that Python and numpy may allocate for a cache of a few KB."""
ADDRESS_SPACE = 2 * 2**30
"""Bytes of address space that a process may reserve in addition."""

_POWERS = [1 << bits for bits in (16, 20, 24, 31, 32, 40, 53, 63, 64)]
_NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    *_POWERS,
    2**40 + 1,
    10**30,
    10**400,
    -(2**63),
    0.5,
    -0.0,
    1e-300,
    1e300,
    1.5e308,
]
_NAMES = ["train", "val", "int8", "int4", "float16", "zarr", "hdf5", "zstd", "blosc", "centre", "spread"]
_PATHS = [
    "../x",
    "..",
    ".",
    "/",
    "/etc/hosts",
    "a/../../x",
    "manifest.json",
    "arrays.zarr",
    "arrays.zarr/zarr.json/x",
]
_LONG = ["x" * 300, "/".join(["deep"] * 2000), "[" * 5000, "0" * 40, "0" * 64, "f" * 64]
NUMBERS = st.sampled_from(_NUMBERS)
TEXTS = st.sampled_from(["", "NaN", "Infinity", "\0", "größe", "00", *_NAMES, *_PATHS, *_LONG])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    SCALARS | NUMBERS | TEXTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
DEEP = st.integers(50, 900).map(lambda depth: json.loads("[" * depth + "]" * depth))


def places(value: Any, start: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in JSON."""
    if start:
        yield start
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*start, key))


@st.composite
def mutations(draw: st.DrawFn, content: Any) -> Any:
    """JSON in which one to three values are replaced, removed, doubled, scaled or renamed."""
    changed = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(changed))
        if not ways:
            break
        *outer, last = draw(st.sampled_from(ways))
        holder = changed
        for key in outer:
            holder = holder[key]
        value = holder[last]
        kind = draw(
            st.sampled_from(
                ["replace", "number", "text", "delete", "double", "rename", "other", "deep", "cut"]
            )
        )
        if kind == "delete":
            del holder[last]
        elif kind == "number":
            holder[last] = draw(NUMBERS)
        elif kind == "text":
            holder[last] = draw(TEXTS)
        elif kind == "double" and isinstance(holder, list):
            holder.insert(last, json.loads(json.dumps(value)))
        elif kind == "double" or (kind == "rename" and isinstance(holder, dict)):
            name = draw(TEXTS | st.text("abcdef/.", max_size=6))
            if isinstance(holder, dict):
                holder[name] = holder.pop(last) if kind == "rename" else value
        elif kind == "other":
            way = draw(st.sampled_from(ways))
            found = changed
            try:
                for key in way:
                    found = found[key]
            except (KeyError, IndexError, TypeError):
                continue
            holder[last] = json.loads(json.dumps(found))
        elif kind == "deep":
            holder[last] = draw(DEEP)
        elif kind == "cut" and isinstance(value, str):
            holder[last] = value[: draw(st.integers(0, len(value)))]
        elif kind == "cut" and isinstance(value, int) and not isinstance(value, bool):
            holder[last] = value + draw(st.integers(-3, 3))
        else:
            holder[last] = draw(ANYTHING)
    return changed


class Target:
    """A tiny cache in which one record is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        metadata = CacheMetadata.read(path)
        self.manifest = metadata.manifest
        (self.segment, *_) = self.manifest.segments
        self.record = SegmentFiles.of(metadata, self.segment).commit_path(0)
        self.files = {name: (path / name) for name in (MANIFEST_NAME, str(self.record.relative_to(path)))}
        self.whole = {name: place.read_bytes() for name, place in self.files.items()}
        self.content = {name: unseal(data, path) for name, data in self.whole.items()}

    def use(self, name: str, data: bytes, traced: bool) -> None:
        """Write other bytes into a record, and read everything in the cache."""
        self.files[name].write_bytes(data)
        try:
            with modest(traced):
                read_all(self.path)
        finally:
            self.files[name].write_bytes(self.whole[name])


@contextmanager
def modest(traced: bool) -> Iterator[None]:
    """Fail if much more memory is reserved, or allocated, than a tiny cache needs."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, before[1]))
    if traced:  # takes three times as long
        tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < MOST_MEMORY, f"{peak:,} bytes"
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_all(path: Path) -> None:
    """Read everything in a cache; each part may raise a `LosaError`, but nothing else."""
    with suppress(LosaError):
        str(verify(path))
    with suppress(LosaError):
        cache = Cache(path)
        with suppress(LosaError):
            [site.rms + site.snr_db for site in cache.statistics()]
        for record in cache.manifest.splits:
            with suppress(LosaError):
                cache.keys(record.name)
            with suppress(LosaError):
                read_split(cache, record.name)


def read_split(cache: Cache, name: str) -> None:
    """A few images, labels and keys."""
    split = cache.split(name)
    assert len(split.valid) == len(split)
    codes = split.read(np.arange(min(2, len(split))))
    cache.codec(cache.sites).decode(codes)
    split.read(np.arange(0))
    for column in cache.manifest.labels:
        split.labels(column.name)


CASES = [("zarr", "int8", None), ("zarr", "int4", "lz4"), ("hdf5", "float16", None), ("hdf5", "int8", "zstd")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(part for part in case if part))
def target(request, tiny, tmp_path_factory) -> Target:
    store, codec, compressor = request.param
    recipe = tiny.Recipe(store=store, codec=codec, compressor=compressor)
    return Target(recipe.write(tmp_path_factory.mktemp("fuzz") / "cache"))


def fuzz(target: Target, examples: int, *, traced: bool, seed: int) -> None:
    """Two thirds of the examples are sealed, one third has other bytes somewhere."""
    names = st.sampled_from(list(target.files))
    thorough = settings(deadline=None, database=None, suppress_health_check=[*HealthCheck])

    @hypothesis.seed(seed)
    @settings(thorough, max_examples=examples * 2 // 3)
    @given(names, st.data())
    def sealed(name: str, data: st.DataObject) -> None:
        target.use(name, seal(data.draw(mutations(target.content[name]))), traced)

    @hypothesis.seed(seed)
    @settings(thorough, max_examples=examples // 3)
    @given(names, st.data())
    def raw(name: str, data: st.DataObject) -> None:
        whole = target.whole[name]
        start = data.draw(st.integers(0, len(whole)))
        end = min(len(whole), start + data.draw(st.integers(0, 40)))
        target.use(name, whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:], traced)

    sealed()
    raw()


def test_of_300_records_none_does_harm(target):
    fuzz(target, 75, traced=True, seed=0)


@pytest.mark.slow
def test_of_10000_records_none_does_harm(target):
    fuzz(target, 2_600, traced=False, seed=1)


@pytest.mark.parametrize("number", [2**31, 2**40, 2**63])
def test_no_number_is_believed(target, number):
    """Every number of every record, one after another."""
    for name, content in target.content.items():
        for *outer, last in places(content):
            changed = json.loads(json.dumps(content))
            holder = changed
            for key in outer:
                holder = holder[key]
            if isinstance(holder[last], int) and not isinstance(holder[last], bool):
                holder[last] = number
                target.use(name, seal(changed), traced=False)


@pytest.mark.parametrize(
    "changes", [{"width": 2**24}, {"tokens": {"grid": [2**24, 2**24]}}, {"width": 2**22}]
)
def test_a_lie_that_all_records_agree_on_allocates_nothing(tiny, tmp_path, changes):
    """Compressed codes may decompress to more bytes than their file has, within bounds."""
    for store in ("zarr", "hdf5"):
        target = Target(tiny.Recipe(store=store, codec="float16", compressor="zstd").write(tmp_path / store))
        content = target.content[MANIFEST_NAME]
        features = content["features"]
        group = features["site_groups"][0]
        for field, value in changes.items():
            group[field] = group[field] | value if isinstance(value, dict) else value
        features["constants"] = {}
        target.files[MANIFEST_NAME].write_bytes(seal(content))
        metadata = CacheMetadata.read(target.path)
        for segment in metadata.manifest.segments:
            files = SegmentFiles.of(metadata, segment)
            for shard in files.recorded():
                path = files.commit_path(shard)
                record = unseal(path.read_bytes(), path)
                path.write_bytes(seal(record | {"features_sha256": files.features_sha256}))
        with modest(traced=True):
            read_all(target.path)
        with pytest.raises(LosaError, match="compressed"):
            Cache(target.path).split("train")


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "lz4"])
def test_compressed_codes_that_are_none_are_refused(compressor):
    """Headers of frames are not trusted either: blosc would read beyond the end."""
    codec = Compressor(compressor, 1)
    packed = codec.encode(np.arange(4000, dtype=np.uint8))
    for size in (0, 1, 4, 11, 15, 16, 17, len(packed) - 1):
        with pytest.raises(LosaError, match="cannot be decompressed"):
            codec.decode(np.frombuffer(packed[:size], np.uint8), np.empty(4000, np.uint8), "here")
    for room in (0, 1, 3999, 4001, 100_000):
        with pytest.raises(LosaError, match="cannot be decompressed"):
            codec.decode(np.frombuffer(packed, np.uint8), np.empty(room, np.uint8), "here")
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(packed)
        damaged[rng.integers(16)] ^= 1 << int(rng.integers(8))
        with suppress(LosaError):
            codec.decode(np.frombuffer(damaged, np.uint8), np.empty(4000, np.uint8), "here")
