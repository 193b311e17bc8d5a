"""More than a thousand single faults: each is detected, and no undamaged data is lost.

Each test damages a finished cache by one fault after another. For every fault: `verify` reports it and
nothing else; everything that is read is right or refused with a `LosaError`; `repair` does not change
undamaged shards; and after `repair` and the next run of the writer the cache is byte-identical to the
original, with which the next fault begins. The faults follow from a seed.
"""

import logging
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.cache_format import Cache, CorruptCache, LosaError, Verification, repair, verify
from losa.cache_format.manifest import MANIFEST_NAME
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.sealed_json import unseal
from losa.cache_format.stores.base import Strided

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

CODECS: list[tuple[str, str | None]] = [
    ("int8", None),
    ("float16", None),
    ("int4", None),
    ("int8", "zstd"),
    ("int4", "lz4"),
]
CASES = [(store, codec, compressor) for store in ("zarr", "hdf5") for codec, compressor in CODECS]
FLIPPED = {
    "codes": 5,
    "chunk checksum": 10,
    "shard index": 10,
    "scales": 7,
    "scales padding": 13,
    "hdf5 head": 10,
    "labels": 5,
    "keys bytes": 5,
    "keys offsets": 5,
    "index": 5,
    "constants": 5,
    "zarr.json": 14,
    "commit record": 5,
    "manifest": 5,
}
"""Class of bytes -> number of bits that are flipped in each case that has the class, at least 50 in all."""
WHOLE = ("codes", "scales")
"""Classes of files; each case applies every fault of whole files to one of them."""
SMALL = (
    "labels",
    "keys bytes",
    "keys offsets",
    "index",
    "constants",
    "zarr.json",
    "commit record",
    "manifest",
)
"""Classes of files that hardly depend on codec and compressor; each store gets every fault twice."""
SLOW_ROUNDS = 5

injected: Counter[tuple[str, str]] = Counter()
"""(class, kind of fault) -> number of faults so far."""
finished_cases: set[tuple[str, str, str | None]] = set()


@dataclass(frozen=True)
class Fault:
    """A single fault."""

    place: str
    """Class of bytes or of files."""
    kind: str
    apply: Callable[[], None]
    touched: tuple[str, ...]
    """Changed files, relative to the cache."""
    taken_on_trust: frozenset[str] = frozenset()
    """Parts that may be read wrongly, because they come from an undamaged but wrong record or manifest."""

    def __str__(self) -> str:
        return f"{self.kind} of {self.place}: {', '.join(self.touched)}"


class Bench:
    """A finished cache that is damaged and repaired repeatedly."""

    def __init__(self, tiny: Any, case: tuple[str, str, str | None], folder: Path, seed: int) -> None:
        store, codec, compressor = case
        self.case = case
        self.tiny = tiny
        self.recipe = tiny.Recipe(
            store=store,
            codec=codec,
            compressor=compressor,
            splits=(("train", tiny.TRAIN[:5]), ("mixed", (tiny.VAL[0], tiny.TRAIN[2], tiny.VAL[1]))),
            invalid=frozenset({tiny.TRAIN[1]}),
        )
        self.path = self.recipe.write(folder / "cache")
        self.whole = tiny.tree(self.path)
        # Other images, labels and features, in files of the same names and sizes.
        stranger = replace(
            self.recipe,
            splits=(("train", tiny.TRAIN[2:7]), ("mixed", (tiny.TRAIN[4], tiny.VAL[2], tiny.VAL[3]))),
            invalid=frozenset(),
            seed=1,
        )
        self.stranger = tiny.tree(stranger.write(folder / "stranger"))
        # The same identity, with other invalid images.
        twin = replace(self.recipe, invalid=frozenset({tiny.TRAIN[0], tiny.TRAIN[4], tiny.VAL[0]}))
        self.twin = tiny.tree(twin.write(folder / "twin"))
        younger = replace(self.recipe, splits=self.recipe.splits[:1])
        self.younger = tiny.tree(younger.write(folder / "younger"))
        self.rng = np.random.default_rng([seed, zlib.crc32(repr(case).encode())])
        metadata = CacheMetadata.read(self.path)
        self.manifest = metadata.manifest
        self.shards = {
            (segment.name, shard): SegmentFiles.of(metadata, segment)
            for segment in self.manifest.segments
            for shard in range(segment.shards)
        }
        self.expected = dict(self._expected())

    # --- Targets of damage ------------------------------------------------------------------------------

    def files_of(self, place: str) -> list[str]:
        """The files of a class."""
        codes_files, scales_files, records = [], [], []
        for (_, shard), files in self.shards.items():
            names = [self._name(path) for path in files.shard_paths(shard)]
            codes_files.append(names[0])
            scales_files += names[1:]
            records.append(files.record_name(shard))
        if place == "codes":
            return codes_files
        if place == "scales":
            return scales_files
        if place == "commit record":
            return records
        if place == "manifest":
            return [MANIFEST_NAME]
        small = [name for name in self.manifest.files if place == "zarr.json" or "zarr.json" not in name]
        part = {
            "labels": "/labels/",
            "keys bytes": "/keys/bytes",
            "keys offsets": "/keys/offsets",
            "index": "/index",
            "constants": "/constants/",
            "zarr.json": "zarr.json",
        }[place]
        return [name for name in small if part in name]

    def bytes_of(self, place: str) -> list[tuple[str, range]]:
        """The bytes of a class, as ranges of files."""
        found: list[tuple[str, range]] = []
        for (_, shard), files in self.shards.items():
            names = [self._name(path) for path in files.shard_paths(shard)]
            commit = files.commit(shard)
            geometry = files.geometry
            length = len(self.whole[names[0]])
            if isinstance(commit.codes, Strided):
                starts = [commit.codes.offset + row * commit.codes.stride for row in range(commit.rows)]
                codes = [range(start, start + geometry.image_bytes) for start in starts]
            else:
                table = commit.codes.table.tolist()
                codes = [range(offset, offset + count) for offset, count, _ in table]
            scales: list[range] = []
            if commit.scales is not None:
                first, stride = commit.scales.offset, commit.scales.stride
                scales = [
                    range(first + row * stride, first + (row + 1) * stride) for row in range(commit.rows)
                ]
            if place == "codes":
                found += [(names[0], one) for one in codes]
            elif place == "scales":
                found += [(names[-1], one) for one in scales]
            elif self.recipe.store == "hdf5":
                if place == "hdf5 head":
                    taken = sorted([*codes, *scales], key=lambda one: one.start)
                    begins = [0, *(one.stop for one in taken)]
                    ends = [*(one.start for one in taken), length]
                    gaps = [range(a, b) for a, b in zip(begins, ends, strict=True) if a < b]
                    found += [(names[0], gap) for gap in gaps]
            elif place == "chunk checksum":
                found += [(names[0], range(one.stop, one.stop + 4)) for one in codes]
            elif place == "shard index":
                found.append((names[0], range(length - 16 * geometry.rows_per_shard - 4, length)))
            elif place == "scales padding" and scales:
                found.append((names[1], range(scales[-1].stop, len(self.whole[names[1]]))))
        if place in SMALL:
            found = [(name, range(len(self.whole[name]))) for name in self.files_of(place)]
        return found

    # --- Faults -----------------------------------------------------------------------------------------

    def flips(self, place: str, count: int) -> Iterator[Fault]:
        """Flips of single bits, each at most once."""
        ranges = self.bytes_of(place)
        done: set[tuple[str, int, int]] = set()
        while ranges and len(done) < count:
            name, span = ranges[self.rng.integers(len(ranges))]
            byte, bit = int(self.rng.integers(span.start, span.stop)), int(self.rng.integers(8))
            data = bytearray(self.whole[name])
            data[byte] ^= 1 << bit
            if (name, byte, bit) not in done and self._means_something_else(name, bytes(data)):
                done.add((name, byte, bit))
                yield self._put(place, "bit flip", name, bytes(data))

    def whole_file_faults(self, place: str, count: int) -> Iterator[Fault]:
        """Faults of whole files."""
        names = self.files_of(place)
        for name in self.rng.permutation(np.array(names, object))[:count].tolist():
            yield from self._of_whole_file(place, name, [other for other in names if other != name])

    def _of_whole_file(self, place: str, name: str, others: list[str]) -> Iterator[Fault]:
        data = self.whole[name]
        path = self.path / name
        lengths = [len(data) - 2, int(self.rng.integers(1, len(data) - 2))]
        yield from (self._put(place, "truncation", name, data[:length]) for length in lengths)
        yield self._put(place, "extension", name, data + self.rng.bytes(int(self.rng.integers(1, 40))))
        yield self._put(place, "extension by zeros", name, data + bytes(4096))
        yield self._put(place, "empty file", name, b"")
        yield self._put(place, "zeros", name, bytes(len(data)))
        # Statistics are of the committed shards.
        uncommitted = frozenset({"statistics"} if place == "commit record" else ())
        yield Fault(place, "deletion", path.unlink, (name,), uncommitted)

        def folder(inside: bool) -> None:
            path.unlink()
            path.mkdir()
            if inside:
                (path / "something").write_bytes(b"else")

        yield Fault(place, "folder", lambda: folder(False), (name,))
        yield Fault(place, "folder with a file", lambda: folder(True), (name,))
        temporary = path.with_name(path.name + ".tmp")
        yield Fault(place, "rename that was lost", lambda: path.rename(temporary), (name,), uncommitted)
        yield Fault(place, "temporary file left", lambda: temporary.write_bytes(data[:7]), (f"{name}.tmp",))
        for other in others:
            if self.whole[other] != data:
                yield self._swap(place, name, other)
                break
        for kind, donor in (("file of another cache", self.stranger), ("older file", self.twin)):
            if donor.get(name, data) != data:
                trust = frozenset({"valid", "statistics"} if place == "commit record" else ())
                yield self._put(place, kind, name, donor[name], trust)
        if place == "manifest":
            # A cache of one split, as it was before the second one was added.
            trust = frozenset({"statistics"})
            yield self._put(place, "older file", name, self.younger[name], trust)

    def _put(
        self, place: str, kind: str, name: str, data: bytes, trust: frozenset[str] = frozenset()
    ) -> Fault:
        assert self._means_something_else(name, data), f"{kind}: {name}"
        return Fault(place, kind, lambda: _write(self.path / name, data), (name,), trust)

    def _swap(self, place: str, name: str, other: str) -> Fault:
        def swap() -> None:
            (self.path / name).write_bytes(self.whole[other])
            (self.path / other).write_bytes(self.whole[name])

        return Fault(place, "two files swapped", swap, (name, other))

    def _means_something_else(self, name: str, data: bytes) -> bool:
        """Sealed JSON is compared by value: ``1E-05`` is ``1e-05``, and white space has no meaning."""
        if name != MANIFEST_NAME and not Path(name).name.startswith("commit."):
            return data != self.whole[name]
        try:
            return unseal(data, self.path) != unseal(self.whole[name], self.path)
        except CorruptCache:
            return True

    # --- Expected results -------------------------------------------------------------------------------

    def check(self, fault: Fault) -> None:
        """Damage the cache, check what is reported and read, and repair it."""
        fault.apply()
        lost = MANIFEST_NAME in fault.touched
        good = self._untouched_shard_files(fault)
        try:
            found = verify(self.path)
        except LosaError:
            assert lost, fault
        else:
            self._assert_told(fault, found)
        self._assert_nothing_wrong_is_read(fault)
        if lost:
            _remove(self.path / MANIFEST_NAME)
        else:
            done = repair(self.path)
            assert {(bad.segment, bad.shard) for bad in found.bad_shards} == {*done.dropped_shards}, fault
        for path, before in good.items():
            after = path.stat()
            assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), (fault, path)
            assert path.read_bytes() == self.whole[self._name(path)], (fault, path)
        self.recipe.write(self.path)
        now = self.tiny.tree(self.path)
        assert now.keys() == self.whole.keys(), (fault, now.keys() ^ self.whole.keys())
        assert now == self.whole, (fault, [name for name in now if now[name] != self.whole[name]])
        injected[fault.place, fault.kind] += 1

    def _assert_told(self, fault: Fault, found: Verification) -> None:
        """Assert that `verify` reports the fault and nothing else."""
        hit = self._shards_hit(fault)
        missing = {(name, count) for name, count in found.missing_shards.items()}
        bad = {(one.segment, one.shard) for one in found.bad_shards}
        files = {one.name for one in found.bad_files}
        assert bad | files or missing or found.strays, fault
        if MANIFEST_NAME in fault.touched:
            return
        assert bad <= hit, (fault, found)
        assert {name for name, _ in missing} <= {name for name, _ in hit}, (fault, found)
        # Keys are two files with one hash, so it is unknown which of them is undamaged.
        neighbours = {name.replace("/offsets", "/bytes") for name in fault.touched} | {
            name.replace("/bytes", "/offsets") for name in fault.touched
        }
        assert files <= {*fault.touched} | neighbours, (fault, found)
        if fault.kind != "temporary file left":
            assert len(bad) + sum(found.missing_shards.values()) == len(hit), (fault, found)
            if not hit:
                assert files >= {*fault.touched}, (fault, found)
        if fault.place in ("codes", "scales") and fault.kind == "bit flip":
            (shard,) = found.bad_shards
            assert len({image.row for image in shard.images}) == 1, (fault, found)
        if fault.place in ("chunk checksum", "shard index", "scales padding", "hdf5 head"):
            assert not found.bad_shards[0].images, (fault, found)

    def _assert_nothing_wrong_is_read(self, fault: Fault) -> None:
        for name, read in self._parts():
            try:
                found = _frozen(read())
            except LosaError:
                continue
            if name.partition(" ")[0] not in fault.taken_on_trust:
                assert found == self.expected[name], (fault, name)

    def _parts(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Everything that can be read: a name, and the function that reads it."""
        try:
            cache = Cache(self.path)
        except LosaError:
            return
        yield "constants", lambda: cache.constants
        yield "statistics", cache.statistics
        for name, keys in self.recipe.splits:
            yield f"keys {name}", lambda name=name: cache.keys(name)
            try:
                split = cache.split(name)
            except LosaError:
                continue
            yield f"valid {name}", lambda split=split: split.valid
            for column in self.recipe.columns:
                yield (
                    f"labels {name} {column.name}",
                    lambda split=split, column=column.name: split.labels(column),
                )
            backwards = np.arange(len(keys))[::-1]
            yield f"codes {name}", lambda split=split, backwards=backwards: split.read(backwards)

    def _expected(self) -> Iterator[tuple[str, object]]:
        """The expected values of all `_parts`, from the recipe."""
        recipe = self.recipe
        yield "constants", _frozen(recipe.constants)
        yield "statistics", _frozen(Cache(self.path).statistics())
        for name, keys in recipe.splits:
            yield f"keys {name}", _frozen(list(keys))
            yield f"valid {name}", _frozen(np.array([key not in recipe.invalid for key in keys]))
            for column, labels in recipe.labels(keys).items():
                yield f"labels {name} {column}", _frozen(labels)
            yield f"codes {name}", _frozen(recipe.stored(keys[::-1]))

    def _shards_hit(self, fault: Fault) -> set[tuple[str, int]]:
        return {
            (segment, shard)
            for (segment, shard), files in self.shards.items()
            for path in (*files.shard_paths(shard), files.commit_path(shard))
            if self._name(path) in fault.touched
        }

    def _untouched_shard_files(self, fault: Fault) -> dict[Path, Any]:
        hit = self._shards_hit(fault)
        return {
            path: path.stat()
            for place, files in self.shards.items()
            if place not in hit
            for path in (*files.shard_paths(place[1]), files.commit_path(place[1]))
        }

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _frozen(value: Any) -> object:
    """A form of a value that can be compared bit by bit."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if hasattr(value, "values") and hasattr(value, "scales"):
        return (_frozen(value.values), _frozen(value.scales))
    return value


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """A thousand warnings that a file is written again are of no use."""
    caplog.set_level(logging.ERROR, "losa")


def _name_of(case: tuple[str, str, str | None]) -> str:
    return "-".join(part for part in case if part)


@pytest.mark.parametrize("case", CASES, ids=_name_of)
def test_every_fault_is_found_and_mended(tiny, case, tmp_path):
    bench = Bench(tiny, case, tmp_path, seed=0)
    small = SMALL if case[1:] in (("int8", None), ("float16", None)) else ()
    for place, count in FLIPPED.items():
        if place in small or place not in SMALL or place in ("commit record", "manifest"):
            for fault in bench.flips(place, count):
                bench.check(fault)
    for place in (*WHOLE, *small):
        for fault in bench.whole_file_faults(place, 1):
            bench.check(fault)
    finished_cases.add(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=_name_of)
def test_many_more_faults_are_found_and_mended(tiny, case, tmp_path):
    bench = Bench(tiny, case, tmp_path, seed=1)
    for place, count in FLIPPED.items():
        for fault in bench.flips(place, count * SLOW_ROUNDS):
            bench.check(fault)
    for place in (*WHOLE, *SMALL):
        for fault in bench.whole_file_faults(place, len(bench.files_of(place))):
            bench.check(fault)


def test_count_of_faults():
    """At least a thousand, and fifty of each class."""
    if finished_cases != {*CASES}:
        pytest.skip("counts the faults of the tests above, which did not all run")
    places = Counter[str]()
    for (place, _), count in injected.items():
        places[place] += count
    for (place, kind), count in sorted(injected.items()):
        print(f"{place:16} {kind:24} {count:5}")
    for place, count in sorted(places.items()):
        print(f"{place:16} {'':24} {count:5}")
    print(f"{'all':16} {'':24} {places.total():5}")
    assert places.keys() == {*FLIPPED}
    assert min(places.values()) >= 50, places
    assert places.total() >= 1000


KILLED_AT_RANDOM = """
import logging, os, random, shutil, signal, sys, time
from pathlib import Path
from losa.cache_format import CacheError, verify
from tiny_cache import TRAIN, VAL, Recipe, tree

folder, store, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.fsync = lambda descriptor: None  # it does not matter for a kill, and is slow
splits = (("train", TRAIN), ("mixed", (VAL[0], TRAIN[2], VAL[1])))
recipe = Recipe(splits=splits, rows_per_shard=1, store=store)
whole = tree(recipe.write(folder / "whole"))
path = folder / "killed"
random = random.Random(0)

def refuse_damaged_shards(record):
    raise SystemExit(record.getMessage())

logging.getLogger("losa.cache_format.writer").addFilter(refuse_damaged_shards)

def committed():
    found = {name: data for name, data in (tree(path) if path.exists() else {}).items() if "commit." in name}
    return {name: data for name, data in found.items() if not name.endswith(".tmp")}

def write():
    child = os.fork()
    if not child:
        try:
            recipe.write(path)
        finally:
            os._exit(0)
    return child

begun = time.perf_counter()
os.waitpid(write(), 0)
took = time.perf_counter() - begun
shutil.rmtree(path)
kills, shards_at_kill = 0, set()
while kills < wanted:
    before = committed()
    begun, child = time.perf_counter(), write()
    time.sleep(random.uniform(0, took))
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        took = max(0.001, min(took, time.perf_counter() - begun))
    else:
        kills += 1
    now = committed()
    assert before.items() <= now.items(), "a committed shard is lost"
    shards_at_kill.add(len(now))
    try:
        found = verify(path)
    except CacheError as error:
        assert "is not a cache" in str(error), error
    else:
        assert found.ok, found
        assert sum(found.missing_shards.values()) == 9 - len(now)
    # Killed once or more, it is resumed, killed again or finished.
    if random.random() < 0.3 or len(now) == 9:
        recipe.write(path)
        assert tree(path) == whole
        found = verify(path)
        assert found.ok and not found.missing_shards and not found.strays, found
        shutil.rmtree(path)
        took = max(took, 0.02)
print(kills, len(shards_at_kill))
"""


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_killed_at_any_instant_it_loses_no_shard_and_is_resumed(tmp_path, run_python, store):
    kills, states = map(int, run_python(KILLED_AT_RANDOM, tmp_path, store, 40).split())
    assert kills == 40
    assert states > 2  # the kills happened at different moments
