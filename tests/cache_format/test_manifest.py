import json
import pickle
import tempfile
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from losa.cache_format import CacheError, CorruptCache, LabelColumn, Manifest, Segment
from losa.cache_format.common.fields import is_name
from losa.cache_format.identity import (
    BackboneIdentity,
    FeatureIdentity,
    FinalNorm,
    Preprocessing,
    SiteGroup,
    TokenLayout,
)
from losa.cache_format.manifest import SplitRecord
from losa.cache_format.storage.file_record import FileRecord
from losa.cache_format.storage.sealed_json import seal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,9}", fullmatch=True).filter(is_name)
SHA256 = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.integers(1, 2**24)

FEATURES = st.builds(
    FeatureIdentity,
    backbone=st.builds(
        BackboneIdentity,
        name=TEXT,
        weights_sha256=SHA256,
        depth=st.integers(1, 10_000),
        architecture=st.none() | TEXT,
        arguments=st.dictionaries(TEXT, st.none() | st.booleans() | SIZES | FLOATS | st.lists(SIZES | TEXT)),
    ),
    preprocessing=st.builds(
        Preprocessing,
        input_size=st.tuples(st.just(3), SIZES, SIZES),
        interpolation=TEXT,
        mean=st.tuples(FLOATS, FLOATS, FLOATS),
        std=st.tuples(FLOATS, FLOATS, FLOATS),
        crop_pct=st.floats(0, 10, exclude_min=True),
        crop_mode=TEXT,
    ),
    site_groups=st.tuples(
        st.builds(
            SiteGroup,
            sites=st.lists(TEXT, min_size=1, max_size=4, unique=True).map(tuple),
            tokens=st.builds(
                TokenLayout,
                cls=st.integers(0, 16),
                registers=st.integers(0, 1024),
                grid=st.tuples(SIZES, SIZES),
                frames=st.integers(1, 65_536),
            ),
            width=SIZES,
        )
    ),
    compute_dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    codec=st.sampled_from(["float32", "float16", "bfloat16", "int8", "int4"]),
    final_norm=st.none()
    | st.builds(
        FinalNorm,
        kind=st.sampled_from(["layer_norm", "rms_norm"]),
        eps=st.floats(0, 1, exclude_min=True, exclude_max=True),
    ),
    codec_parameters=st.just({}),
    constants=st.dictionaries(NAMES, SHA256, max_size=3),
)
CLASSES = st.lists(TEXT, max_size=3).map(tuple)
COLUMNS = st.builds(LabelColumn, name=NAMES, num_classes=st.integers(0, 2**31 - 1)) | st.builds(
    lambda name, classes: LabelColumn(name=name, num_classes=len(classes), classes=classes), NAMES, CLASSES
)
FILES = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,4}(/[A-Za-z0-9][A-Za-z0-9_.\-]{0,4}){0,2}", fullmatch=True),
    st.builds(FileRecord, bytes=st.integers(0, 2**40), crc32=st.integers(0, 2**32 - 1).map("{:08x}".format)),
    max_size=3,
)


def segments(columns: tuple[LabelColumn, ...]) -> st.SearchStrategy:
    one = st.builds(
        Segment,
        name=NAMES,
        number=st.integers(0, 2**40),
        images=st.integers(1, 2**40),
        keys_sha256=SHA256,
        rows_per_shard=st.integers(1, 1_000_000),
        labels_sha256=st.fixed_dictionaries({column.name: SHA256 for column in columns}),
    )
    return some(one, "number")


SPLITS = st.builds(
    SplitRecord, name=NAMES, images=st.integers(1, 2**40), keys_sha256=SHA256, index_sha256=SHA256
)


def some(records: st.SearchStrategy, *unique: str) -> st.SearchStrategy:
    by = tuple(attrgetter(field) for field in ("name", *unique))
    return st.lists(records, max_size=3, unique_by=by).map(tuple)


MANIFESTS = some(COLUMNS).flatmap(
    lambda columns: st.builds(
        Manifest,
        dataset=TEXT,
        features=FEATURES,
        labels=st.just(columns),
        store=st.sampled_from(["zarr", "hdf5"]),
        compressor=st.sampled_from([None, "zstd", "blosc", "lz4"]),
        segments=segments(columns),
        splits=some(SPLITS),
        files=FILES,
        provenance=st.dictionaries(TEXT, TEXT, max_size=3),
    )
)


@pytest.fixture
def manifest(recipe):
    return Manifest(
        store="zarr",
        compressor="zstd",
        dataset="zoo",
        features=recipe.features,
        labels=recipe.columns,
        segments=(
            Segment(
                name="train",
                number=0,
                images=7,
                keys_sha256="11" * 32,
                rows_per_shard=3,
                labels_sha256={"species": "33" * 32, "colour": "55" * 32},
            ),
        ),
        splits=(SplitRecord(name="train", images=7, keys_sha256="22" * 32, index_sha256="44" * 32),),
        files={"arrays.zarr/zarr.json": FileRecord(bytes=78, crc32="0123abcd")},
        provenance={"losa": "0.1.0"},
    )


@given(MANIFESTS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read(manifest):
    with tempfile.TemporaryDirectory() as folder:
        manifest.write(Path(folder))
        read = Manifest.read(Path(folder))
    assert read == manifest
    assert read.to_json() == manifest.to_json()
    assert read.features.sha256 == manifest.features.sha256
    assert pickle.loads(pickle.dumps(manifest)) == manifest


def test_a_manifest_is_one_readable_file_of_its_fields(manifest, tmp_path):
    manifest.write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert list(content) == [
        "format",
        "version",
        "store",
        "compressor",
        "dataset",
        "features",
        "labels",
        "segments",
        "splits",
        "files",
        "provenance",
        "record_crc32c",
    ]
    assert (content["format"], content["version"], content["store"]) == ("losa-cache", 1, "zarr")


def test_a_folder_without_manifest_is_no_cache(tmp_path):
    (tmp_path / "file").touch()
    told = {"": "it has no manifest.json", "nowhere": "there is no such folder", "file": "it is a file"}
    for name, lacks in told.items():
        path = tmp_path / name
        with pytest.raises(CacheError) as caught:
            Manifest.read(path)
        advice = "losa-extract ... cache=<folder> makes one"
        assert str(caught.value) == f"{path} is not a cache: {lacks}. {advice}"


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_version_asks_for_another_losa(manifest, tmp_path, version):
    content = manifest.to_json() | {"version": version, "features": "unknown"}
    (tmp_path / "manifest.json").write_bytes(seal(content))
    with pytest.raises(CacheError) as caught:
        Manifest.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'manifest.json'}: format version {version!r}; this losa reads version 1: "
        "install a newer one"
    )


def test_every_problem_of_an_invalid_manifest_is_listed(manifest, tmp_path):
    content = manifest.to_json()
    content["features"]["codec"] = "int3"
    content["segments"][0]["images"] = -1
    content["splits"][0]["name"] = "../train"
    content["surprise"] = 1
    del content["dataset"]
    (tmp_path / "manifest.json").write_bytes(seal(content))
    with pytest.raises(CorruptCache) as caught:
        Manifest.read(tmp_path)
    first, *problems = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'manifest.json'} is not a valid manifest:"
    assert [problem.split(":")[0].strip() for problem in problems] == [
        "dataset",
        "features.codec",
        "segments.0.images",
        "splits.0.name",
        "surprise",
    ]
    assert "'int4' (found 'int3')" in problems[1]
    assert problems[2].endswith("greater than or equal to 1 (found -1)")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("features", "backbone", "depth"), "6"),
        (("features", "backbone", "depth"), 6.5),
        (("features", "norm_applied"), True),
        (("features", "site_groups"), []),
        (("labels", 0, "num_classes"), 4),
        (("segments", 0, "rows_per_shard"), 0),
        (("segments", 0, "keys_sha256"), "11" * 31),
        (("format",), "zip"),
        (("store",), "parquet"),
        (("compressor",), "gzip"),
        (("files",), {"../manifest.json": {"bytes": 1, "crc32": "00000000"}}),
        (("files",), {"/etc/passwd": {"bytes": 1, "crc32": "00000000"}}),
        (("files", "arrays.zarr/zarr.json", "crc32"), "0123ABCD"),
        (("segments", 0, "number"), -1),
        (("provenance",), {"threads": 2}),
        (("splits",), None),
    ],
)
def test_values_of_a_wrong_type_or_range_are_refused_with_their_place(manifest, tmp_path, place, value):
    content = json.loads(json.dumps(manifest.to_json()))
    *outer, last = place
    inner = content
    for step in outer:
        inner = inner[step]
    inner[last] = value
    (tmp_path / "manifest.json").write_bytes(seal(content))
    with pytest.raises(CorruptCache, match=".".join(map(str, outer or place))):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("what", ["segments", "splits", "labels"])
def test_names_must_be_unique(manifest, what):
    records = getattr(manifest, what)
    with pytest.raises(ValidationError, match=f"{what}: names are not unique: {records[0].name}, "):
        replace(manifest, **{what: (records[0], *records)})


@pytest.mark.parametrize("columns", [{}, {"species": "33" * 32}, {"species": "33" * 32, "size": "55" * 32}])
def test_a_segment_has_the_label_columns_of_the_cache(manifest, columns):
    segment = replace(manifest.segments[0], labels_sha256=columns)
    with pytest.raises(ValidationError, match="segment train: expected label columns colour, species, found"):
        replace(manifest, segments=(segment,))


def test_numbers_of_segments_must_be_unique(manifest):
    twin = replace(manifest.segments[0], name="other")
    with pytest.raises(ValidationError, match="segments: names are not unique: 0, 0"):
        replace(manifest, segments=(manifest.segments[0], twin))


def test_class_names_must_fit_their_number():
    with pytest.raises(ValidationError, match="label column animal: 3 classes, 2 names"):
        LabelColumn(name="animal", num_classes=3, classes=("ant", "bee"))


def test_an_unknown_split_lists_the_known_ones(manifest):
    assert manifest.split("train").images == 7
    with pytest.raises(CacheError, match=r"^the cache has no split 'test'; it has: train$"):
        manifest.split("test")
    with pytest.raises(CacheError, match=r"^the cache has no split 'test'; it has: none$"):
        replace(manifest, splits=()).split("test")


@given(st.integers(1, 500), st.integers(1, 60))
@settings(deadline=None)
def test_the_shards_of_a_segment_cover_its_rows_once(images, rows_per_shard):
    segment = Segment(
        name="s",
        number=0,
        images=images,
        keys_sha256="00" * 32,
        rows_per_shard=rows_per_shard,
        labels_sha256={},
    )
    shards = [segment.rows(shard) for shard in range(segment.shards)]
    assert [row for rows in shards for row in rows] == list(range(images))
    assert all(len(rows) == rows_per_shard for rows in shards[:-1])
    assert 1 <= len(shards[-1]) <= rows_per_shard
