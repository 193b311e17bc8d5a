"""One option at a time is changed, where it has an effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.pipelines.bench.study.caches import SetCaches
from losa.pipelines.bench.study.changes import CHANGES
from losa.pipelines.bench.study.variants import variants


@pytest.fixture
def found(settings: Callable[..., Any], extracted: Path) -> Callable[..., dict[str, Any]]:
    """``found(side, options, **settings)``: the variants on a cache of two sites."""

    class Caches(SetCaches):
        def of(self, codec: str = "int8") -> Path:
            return extracted / "cache" if codec == "int8" else extracted / f"cache/../{codec}"

        def add_views(self, splits: Any, views: int) -> None:
            assert (list(splits), views) == (["train800val200"], 4)

    def make(side: str, options: list[str], **others: Any) -> dict[str, Any]:
        study = settings(**others)
        return dict(variants(study, Caches(study, "dusk"), side, options))

    return make


def test_options_without_an_effect_and_values_of_the_default_are_left_out(found: Any) -> None:
    assert list(found("losa", ["start", "order", "norm", "bias", "pool", "probe_share"])) == [
        "default",
        "start=last",
        "order=token_channel",
        "norm=layer",
        "norm=none",
        "bias=true",
        "pool=mean",
        "probe_share=0",
        "probe_share=0.25",
    ]
    assert list(found("relay", ["start", "order", "bias", "norm"])) == ["default", "norm=layer", "norm=none"]
    assert list(found("linear", [name for name in CHANGES if name not in ("codec", "views")])) == [
        "default",
        "pool=mean",
    ]


def test_sites_are_those_of_the_backbone(found: Any) -> None:
    assert list(found("losa", ["sites"])) == ["default", "sites=1"]
    assert list(found("losa", ["sites"], sites="1")) == ["default", "sites=2"]


def test_heads_follow_a_rank_below_them(found: Any) -> None:
    last = found("last", ["rank"], overrides=["rank=32"])
    assert list(last) == ["default", "rank=2 heads=2", "rank=4", "rank=8", "rank=16"]
    assert (last["rank=2 heads=2"].rank, last["rank=2 heads=2"].heads) == (2, 2)
    assert last["rank=4"].heads == last["default"].heads
    assert "rank=2" in found("losa", ["rank"])


def test_codec_and_views_are_taken_from_caches(found: Any) -> None:
    changed = found("losa", ["codec", "views"])
    assert list(changed) == ["default", "codec=int4", "codec=float32", "views=4"]
    assert changed["codec=int4"].cache.endswith("int4")
    assert changed["views=4"].views == 4
    assert changed["views=4"].cache == changed["default"].cache
