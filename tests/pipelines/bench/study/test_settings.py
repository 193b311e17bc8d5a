"""The configurations of a study: the defaults of losa-adapt, with overrides and splits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError

CACHE = Path("cache")


def test_without_overrides_members_have_the_defaults(settings: Any) -> None:
    config = settings(overrides=()).config(CACHE, "relay")
    assert config == AdaptConfig(cache="cache", side="relay")


def test_overrides_and_sites_are_read_as_losa_adapt_reads_them(settings: Any) -> None:
    study = settings(overrides=["lr=1e-2", "patience=null", "pool=mean"], sites="[embed,2]", device="cuda:0")
    assert study.config(CACHE, "losa", rank=2) == AdaptConfig(
        cache="cache", lr=1e-2, pool="mean", sites=["embed", 2], device="cuda:0", rank=2
    )
    assert settings(sites="4").config(CACHE, "losa").sites == 4


def test_both_seeds_vary(settings: Any) -> None:
    study = settings(seeds=3)
    members = study.seeded(study.config(CACHE, "losa"))
    assert [(member.seed, member.data_seed) for member in members] == [(0, 0), (1, 1), (2, 2)]
    assert [replace(member, seed=0, data_seed=0) for member in members] == [members[0]] * 3


def test_seeds_may_share_the_order_of_images(settings: Any) -> None:
    study = settings(seeds=3, same_order=True)
    members = study.seeded(study.config(CACHE, "losa"))
    assert [(member.seed, member.data_seed) for member in members] == [(0, 0), (1, 0), (2, 0)]
    assert "of 3 seeds with the same order of images." in study.described


def test_validated_members_see_nothing_of_the_test_split(settings: Any) -> None:
    config = settings().config(CACHE, "losa")
    assert settings().trained(config) is config
    validated = settings(validate=True).trained(config)
    assert (validated.train_splits, validated.eval_splits) == (("train800",), ("val200",))
    assert validated.protocol == "direct"


def test_the_description_names_what_is_not_a_default(settings: Any) -> None:
    assert settings(overrides=["rank=4", "lr=0.1"], seeds=1, sites="2").described == (
        "test_vit, frozen, sites=2. All members: rank=4 lr=0.1. Trained on train800val200; accuracy on test "
        "in percent, one seed. Parameters: without the head."
    )
    assert "All members" not in settings(overrides=()).described
    assert "sites=all, grid=2x1. All" in settings(grid="2x1").described


@pytest.mark.parametrize("grid", ["0", "2x", "2,1", "x"])
def test_a_grid_that_cannot_be_read_is_refused_before_anything_is_extracted(settings: Any, grid: str) -> None:
    with pytest.raises(LosaError, match=f"--grid={grid}: expected a number"):
        settings(grid=grid)


@pytest.mark.parametrize(
    "option", ["cache", "side", "sites", "seed", "++data_seed", "out", "views", "eval_split", "+protocol"]
)
def test_what_a_study_sets_itself_is_no_override(settings: Any, option: str) -> None:
    with pytest.raises(LosaError, match=f"--override {option.lstrip('+')}=...: "):
        settings(overrides=[f"{option}=1"])
