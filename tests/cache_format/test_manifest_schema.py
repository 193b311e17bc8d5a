"""The published JSON schema of manifests."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from losa.cache_format.manifest_schema import manifest_schema

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs/manifest.schema.json"
MANIFESTS = sorted((ROOT / "tests/golden").glob("version-1/*/manifest.json"))


@pytest.fixture(scope="module")
def published() -> Draft202012Validator:
    return Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))


def test_the_published_schema_is_current() -> None:
    """``losa-cache schema > docs/manifest.schema.json`` makes it so."""
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == manifest_schema()


def test_it_is_a_schema(published: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(published.schema)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_golden_manifests_are_valid(published: Draft202012Validator, path: Path) -> None:
    published.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 2),
        (("store",), "parquet"),
        (("record_crc32c",), "E3069283"),
        (("features", "codec"), "int3"),
        (("features", "backbone", "depth"), 0),
        (("features", "site_groups"), []),
        (("features", "site_groups", 0, "tokens", "cls"), -1),
        (("segments", 0, "name"), "../segment"),
        (("splits", 0, "keys_sha256"), "abc"),
        (("something_else",), 1),
    ],
)
def test_others_are_not(published: Draft202012Validator, place: tuple[Any, ...], value: Any) -> None:
    manifest = json.loads(MANIFESTS[0].read_text(encoding="utf-8"))
    *outer, name = place
    inside = manifest
    for step in outer:
        inside = inside[step]
    inside[name] = value
    assert not published.is_valid(manifest)


@pytest.mark.parametrize("name", ["format", "version", "store", "features", "files", "record_crc32c"])
def test_fields_may_not_be_missing(published: Draft202012Validator, name: str) -> None:
    manifest = json.loads(MANIFESTS[0].read_text(encoding="utf-8"))
    del manifest[name]
    assert not published.is_valid(manifest)
