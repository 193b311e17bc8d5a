"""The caches of a study: one for each codec, with views where they are wanted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import Cache
from losa.extract import extract
from losa.pipelines.bench.study import caches
from losa.pipelines.bench.study.caches import SetCaches


@pytest.fixture
def extractions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the caches that an extraction was asked for."""
    asked: list[str] = []

    def recording(config: Any) -> Any:
        asked.append(Path(config.cache).name)
        return extract(config)

    monkeypatch.setattr(caches, "extract", recording)
    return asked


def test_each_codec_has_a_cache_of_all_splits(settings: Callable[..., Any], extractions: list[str]) -> None:
    study = settings()
    found = SetCaches(study, "dusk")
    plain, small = found.of(), found.of("int4")
    assert [plain.relative_to(study.out), small.relative_to(study.out)] == [
        Path("caches/dusk"),
        Path("caches/dusk-int4"),
    ]
    assert [Cache(cache).manifest.features.codec for cache in (plain, small)] == ["int8", "int4"]
    assert [split.name for split in Cache(plain).manifest.splits] == [
        "train800",
        "val200",
        "train800val200",
        "test",
    ]
    assert found.of() == found.of("int8") == plain
    assert extractions == ["dusk", "dusk-int4"]


def test_views_are_added_to_the_cache_with_the_default_codec(settings: Callable[..., Any]) -> None:
    found = SetCaches(settings(), "dusk")
    before = Cache(found.of()).split("test").read([0, 1]).values
    found.add_views(["train800"], 3)
    cache = Cache(found.of())
    assert len(cache.split("train800-views3")) == 3 * len(cache.split("train800"))
    assert (cache.split("test").read([0, 1]).values == before).all()
