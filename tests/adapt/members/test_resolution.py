"""One spelling for options that say the same of a cache."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt.members.resolution import features_of, idle_options_on_cache, resolved
from losa.cache_format import LosaError
from losa.cache_format.identity import FeatureIdentity, TokenLayout

BLOCKS = tuple(f"block.{number:02d}" for number in range(4))


@pytest.fixture
def a_cache(toy_cache: Any) -> Callable[..., FeatureIdentity]:
    """``a_cache(path)``: the features of a cache of four blocks and their embedding."""
    return lambda _: cache_of(toy_cache, "embed", *BLOCKS)


def cache_of(toy_cache: Any, *sites: str) -> FeatureIdentity:
    features: FeatureIdentity = replace(toy_cache, sites=sites).features
    return replace(features, backbone=replace(features.backbone, depth=len(BLOCKS)))


@pytest.mark.parametrize(("cls", "pool"), [(1, "cls"), (0, "mean")])
def test_the_pool_is_chosen_by_the_tokens(
    cls: int, pool: str, toy_cache: Any, make_config: Any, tmp_path: Path
) -> None:
    tokens = TokenLayout(cls=cls, registers=0, grid=(2, 2))
    config = make_config(cache=str(replace(toy_cache, tokens=tokens).write(tmp_path / "cache")))
    assert features_of(config.cache).group.tokens == tokens
    assert resolved(config) == replace(config, pool=pool, rank=8, start="last")


@pytest.mark.parametrize(
    ("frames", "mixing", "expected"),
    [(1, "auto", "auto"), (1, "factorised", "auto"), (4, "auto", "factorised"), (4, "joint", "joint")],
)
def test_mixing_is_named_by_what_it_does(
    frames: int, mixing: str, expected: str, toy_cache: Any, make_config: Any, tmp_path: Path
) -> None:
    tokens = TokenLayout(cls=1, registers=0, grid=(2, 2), frames=frames)
    config = make_config(
        cache=str(replace(toy_cache, tokens=tokens).write(tmp_path / "cache")), mixing=mixing
    )
    found = resolved(config)
    assert found.mixing == expected
    # Members from before there was the option keep their ids.
    plain = replace(found, mixing="auto")
    assert (found.member_id == plain.member_id) == (expected != "factorised")
    assert ("mixing_factorised" in found.member_name) == (expected == "factorised")


def test_probe_and_start_are_named_by_what_they_are(make_config: Any, a_cache: Any) -> None:
    found = resolved(make_config(probe_share="auto"), a_cache)
    assert (found.probe_share, found.start) == (0.5, "first")
    found = resolved(make_config(side="last", probe_share="auto"), a_cache)
    assert (found.probe_share, found.start) == (0.0, "last")


@pytest.mark.parametrize(("side", "rate"), [("losa", 0.5), ("mlp", 0.3), ("linear", 0.0)])
def test_dropout_is_named_by_its_rate(side: str, rate: float, make_config: Any, a_cache: Any) -> None:
    assert resolved(make_config(side=side, dropout="auto"), a_cache).dropout == rate


@pytest.mark.parametrize(
    ("sites", "spelling"),
    [
        ("all", "all"),
        (4, "all"),
        (list(BLOCKS), "all"),
        ([4, "all"], "all"),
        (2, 2),
        (["block.03", "block.01"], 2),
        ("block.03", 1),
        (["block.01"], "block.01"),
        ("block.01", "block.01"),
        (["embed", "all"], ["embed", *BLOCKS]),
        (["block.00", "embed"], ["embed", "block.00"]),
    ],
)
def test_sites_have_one_spelling(sites: Any, spelling: Any, make_config: Any, a_cache: Any) -> None:
    assert resolved(make_config(sites=sites, pool="cls"), a_cache).sites == spelling


@pytest.mark.parametrize("side", ["linear", "mlp", "attentive"])
@pytest.mark.parametrize(
    ("sites", "spelling"),
    [("all", "all"), (2, "all"), (["embed", "block.03"], "all"), (["embed", "block.02"], "block.02")],
)
def test_a_probe_is_named_by_the_site_that_it_reads(
    side: str, sites: Any, spelling: Any, make_config: Any, a_cache: Any
) -> None:
    assert resolved(make_config(side=side, sites=sites, pool="cls"), a_cache).sites == spelling


@pytest.mark.parametrize(
    ("stored", "sites", "spelling"),
    [
        (("sum:all",), "all", "all"),
        (("sum:all",), 1, "all"),
        (("sum:all",), ["sum:4"], "all"),
        (("sum:all", "block.03"), "sum:block.00+1+block.02+block.01", "sum:all"),
        (("sum:all", "block.03"), ["block.03", "sum:all"], "all"),
        (("sum:all", *BLOCKS), 2, 2),
        (("sum:all", *BLOCKS), 4, 4),
        (("sum:all", *BLOCKS), [2, "sum:all"], ["sum:all", "block.01", "block.03"]),
    ],
)
def test_sums_have_one_spelling(
    stored: tuple[str, ...], sites: Any, spelling: Any, make_config: Any, toy_cache: Any
) -> None:
    features = cache_of(toy_cache, *stored)
    assert resolved(make_config(sites=sites, pool="cls"), lambda _: features).sites == spelling


@pytest.mark.parametrize(("sites", "start"), [(1, "last"), (2, "first")])
def test_the_start_has_no_effect_with_one_site(
    sites: int, start: str, make_config: Any, a_cache: Any
) -> None:
    assert resolved(make_config(sites=sites, start="first"), a_cache).start == start


def test_what_has_no_effect_is_known_with_its_reason(make_config: Any, a_cache: Any, tmp_path: Path) -> None:
    config = make_config(side="losa", sites=1, protocol="select", optimizer="sgd")
    assert idle_options_on_cache(config, a_cache) == {
        "heads": "side=losa",
        "mixing": "images, which have one frame",
        "start": "one site",
    }
    config = make_config(side="last", cache=str(tmp_path))
    assert idle_options_on_cache(config) == {
        "bias": "side=last",
        "order": "side=last",
        "start": "side=last",
        "select_train_split": "protocol=direct",
        "select_split": "protocol=direct",
        "momentum": "optimizer=adamw",
    }


@pytest.mark.parametrize("options", [{}, {"sites": 4}, {"side": "linear"}, {"sites": ["embed", 2]}])
def test_resolving_twice_changes_nothing(options: dict[str, Any], make_config: Any, a_cache: Any) -> None:
    once = resolved(make_config(**options), a_cache)
    assert resolved(once, a_cache) is once


@pytest.mark.parametrize("options", [{"sites": 9}, {"sites": "block.17"}])
def test_what_does_not_fit_stays(options: dict[str, Any], make_config: Any, a_cache: Any) -> None:
    config = make_config(**options)
    assert resolved(config, a_cache) is config


def test_without_a_cache_nothing_is_chosen(make_config: Any, tmp_path: Path) -> None:
    config = make_config(cache=str(tmp_path))
    with pytest.raises(LosaError):
        features_of(config.cache)
    assert resolved(config) is config
