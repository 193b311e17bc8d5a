from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from losa.adapt import AdaptConfig
from losa.adapt.architecture import SideKind

OTHER: dict[str, Any] = {
    "cache": "elsewhere",
    "rank": 16,
    "heads": 2,
    "order": "token_channel",
    "norm": "frozen",
    "pool": "mean",
    "bias": True,
    "sites": 2,
    "label": "colour",
    "train_split": "train800",
    "eval_split": "val200",
    "epochs": 3,
    "batch_size": 7,
    "optimizer": "sgd",
    "lr": 0.5,
    "weight_decay": 0.0,
    "momentum": 0.5,
    "warmup": 0.0,
    "seed": 1,
    "data_seed": 1,
}
WHEREABOUTS = {"out": "elsewhere", "overwrite": True, "device": "cpu", "residency": "ram"}
FOREIGN = {
    "losa": {"heads"},
    "last": {"order", "bias"},
    "linear": {"rank", "heads", "order", "norm", "bias"},
}
KINDS = get_args(SideKind)


def test_every_option_is_covered_here() -> None:
    assert {field.name for field in fields(AdaptConfig)} == {"side", *OTHER, *WHEREABOUTS}
    assert set(FOREIGN) == set(KINDS)


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("option", OTHER)
def test_member_id_changes_with_options_that_matter(side: SideKind, option: str) -> None:
    plain = AdaptConfig(cache="here", side=side)
    other = AdaptConfig(**{"cache": "here", "side": side, option: OTHER[option]})
    assert (plain.member_id == other.member_id) == (option in FOREIGN[side] | {"momentum"})


def test_momentum_matters_to_sgd_alone() -> None:
    with_sgd = {
        AdaptConfig(cache="here", optimizer="sgd", momentum=value).member_id for value in (0.0, 0.5, 0.9)
    }
    assert len(with_sgd) == 3


@pytest.mark.parametrize("written", ["./here", "here/", "there/../here", ".//here"])
def test_one_cache_written_in_two_ways_is_one_member(written: str) -> None:
    assert AdaptConfig(cache=written).member_id == AdaptConfig(cache="here").member_id


@pytest.mark.parametrize("option", WHEREABOUTS)
def test_member_id_ignores_where_it_is_computed(option: str) -> None:
    other = AdaptConfig(**{"cache": "here", option: WHEREABOUTS[option]})
    assert other.member_id == AdaptConfig(cache="here").member_id


def test_member_id_differs_between_kinds() -> None:
    assert len({AdaptConfig(cache="here", side=side).member_id for side in KINDS}) == len(KINDS)


def test_one_eval_split_is_a_list_of_one() -> None:
    name, several = (AdaptConfig(cache="here", eval_split=value) for value in ("test", ["test"]))
    assert name.eval_splits == several.eval_splits == ("test",)
    assert name.member_id == several.member_id
    assert AdaptConfig(cache="here", eval_split=["test", "val"]).member_id != name.member_id


def test_member_id_stays_the_same_in_later_versions() -> None:
    # Folders of finished members carry it: a change trains everything again.
    assert AdaptConfig(cache="here").member_name == "losa-r8-lr0.003-seed0-efff186169"


def test_member_name_has_a_rank_only_where_there_is_one() -> None:
    assert AdaptConfig(cache="here", side="linear").member_name.startswith("linear-lr0.003-seed0-")
    assert AdaptConfig(cache="here", side="last", rank=16).member_name.startswith("last-r16-lr0.003-seed0-")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"rank": "8"},
        {"heads": 0},
        {"lr": 0.0},
        {"epochs": 0},
        {"batch_size": 0},
        {"weight_decay": -1e-4},
        {"momentum": 1.0},
        {"warmup": 1.0},
        {"side": "lasagne"},
        {"norm": "batch"},
        {"pool": "max"},
        {"residency": "disk"},
        {"ranks": 8},
    ],
)
def test_impossible_options_are_refused(
    wrong: dict[str, Any], make_config: Callable[..., AdaptConfig]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make_config(**wrong)
