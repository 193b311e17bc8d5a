import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from pydantic import ValidationError

from losa.adapt import AdaptConfig
from losa.adapt.architecture import Start
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format.engines import EngineConfig
from losa.cache_format.identity import TokenLayout

OTHER: dict[str, Any] = {
    "cache": "elsewhere",
    "rank": 12,
    "heads": 2,
    "order": "token_channel",
    "norm": "none",
    "start": "last",
    "probe_share": 0.25,
    "pool": "mean",
    "bias": True,
    "mixing": "factorised",
    "sites": 2,
    "label": "colour",
    "class_weights": "balanced",
    "train_split": "train800",
    "views": 2,
    "eval_split": "val200",
    "val_split": "val200",
    "protocol": "select",
    "epochs": 3,
    "stop_after": 2,
    "batch_size": 7,
    "optimizer": "sgd",
    "lr": 0.5,
    "weight_decay": 0.0,
    "momentum": 0.5,
    "warmup": 0.0,
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "mixup": 0.1,
    "dtype": "bfloat16",
    "seed": 1,
    "data_seed": 1,
}
WHEREABOUTS = {
    "out": "elsewhere",
    "overwrite": True,
    "device": "cpu",
    "residency": "ram",
    "threads": 2,
    "compile": False,
    "checkpoint_seconds": 1.0,
    "engine": EngineConfig(kind="ray"),
    "tracker": "tensorboard",
}
ELSEWHERE = {"patience", "halve_at", "select_train_split", "select_split"}
"""Need another option to have an effect; each has a test of its own."""
FOREIGN = {
    "losa": {"heads"},
    "last": {"order", "bias", "start"},
    "lst": {"order", "bias", "start", "mixing"},
    "linear": {"rank", "heads", "order", "norm", "bias", "start", "mixing", "dropout", "probe_share"},
    "mlp": {"heads", "order", "norm", "bias", "start", "mixing", "probe_share"},
    "relay": {"heads", "order", "bias", "start"},
    "attentive": {"rank", "order", "bias", "start", "mixing"},
}
KINDS = tuple(SIDE_NETWORKS)


def test_every_option_is_covered_here() -> None:
    assert {field.name for field in fields(AdaptConfig)} == {
        "side",
        *OTHER,
        *WHEREABOUTS,
        *ELSEWHERE,
    }
    assert set(FOREIGN) == set(KINDS)


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("option", OTHER)
def test_member_id_changes_with_options_that_matter(side: str, option: str) -> None:
    plain = AdaptConfig(cache="here", side=side)
    other = AdaptConfig(**{"cache": "here", "side": side, option: OTHER[option]})
    assert (plain.member_id == other.member_id) == (option in FOREIGN[side] | {"momentum"})


@pytest.mark.parametrize("side", KINDS)
def test_rank_that_is_not_given_is_that_of_the_kind(side: str) -> None:
    default = SIDE_NETWORKS[side].default_rank
    plain = AdaptConfig(cache="here", side=side)
    given = AdaptConfig(cache="here", side=side, rank=default)
    assert (given.member_id, given.member_name) == (plain.member_id, plain.member_name)
    assert plain.architecture_for(TokenLayout(cls=1, registers=0, grid=(7, 7))).rank == default
    assert plain.effective_rank in (None, default)


@pytest.mark.parametrize("side", KINDS)
def test_dropout_that_is_not_given_is_that_of_the_kind(side: str) -> None:
    kind = SIDE_NETWORKS[side]
    plain = AdaptConfig(cache="here", side=side)
    assert plain.dropout_rate == kind.default_dropout
    given = AdaptConfig(cache="here", side=side, dropout=kind.default_dropout)
    assert (given.member_id, given.member_name) == (plain.member_id, plain.member_name)
    assert AdaptConfig(cache="here", side=side, dropout=0.25).dropout_rate == (
        0.25 if kind.has_dropout else 0
    )


@pytest.mark.parametrize("side", KINDS)
def test_probe_share_that_is_not_given_is_that_of_the_kind(side: str) -> None:
    kind = SIDE_NETWORKS[side]
    default = kind.default_probe_share
    plain = AdaptConfig(cache="here", side=side)
    given = AdaptConfig(cache="here", side=side, probe_share=default)
    assert plain.resolved_probe_share == default
    assert (given.member_id, given.member_name) == (plain.member_id, plain.member_name)
    other = AdaptConfig(cache="here", side=side, probe_share=0.25)
    assert other.resolved_probe_share == (0.25 if "probe_share" in kind.options else 0)
    assert ("-probe_share0.25-" in other.member_name) == ("probe_share" in kind.options)


def test_only_a_probe_beside_the_attentive_one_pools() -> None:
    alone, beside = (AdaptConfig(cache="here", side="attentive", probe_share=share) for share in (0.0, 0.5))
    assert "pool" in alone.idle_options
    assert replace(alone, pool="mean").member_id == alone.member_id
    assert "pool" not in beside.idle_options
    assert replace(beside, pool="mean").member_id != beside.member_id


@pytest.mark.parametrize(("share", "start"), [(0.0, "last"), (0.25, "first")])
def test_a_stream_starts_where_no_probe_reads(share: float, start: Start) -> None:
    automatic = AdaptConfig(cache="here", probe_share=share)
    assert automatic.resolved_start == start
    assert AdaptConfig(cache="here", probe_share=share, start=start).member_id == automatic.member_id
    assert AdaptConfig(cache="here", probe_share=share, start="last").resolved_start == "last"


def test_a_name_tells_that_there_is_no_probe() -> None:
    assert "-start_last-probe_share0-" in AdaptConfig(cache="here", probe_share=0.0).member_name
    assert "probe_share" not in AdaptConfig(cache="here", side="last", probe_share=0.0).member_name


@pytest.mark.parametrize(("lr", "steps"), [(1e-3, 400), (3e-3, 20_000)])
def test_automatic_decay_forgets_the_same_in_trainings_of_all_lengths(lr: float, steps: int) -> None:
    decay = AdaptConfig(cache="here", lr=lr).weight_decay_over(steps)
    assert lr * decay * steps == pytest.approx(1)
    assert AdaptConfig(cache="here", lr=lr, weight_decay=0.1).weight_decay_over(steps) == 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_automatic_decay_of_sgd_forgets_what_that_of_adamw_does(momentum: float) -> None:
    steps, weight, velocity = 400, 1.0, 0.0
    config = AdaptConfig(cache="here", optimizer="sgd", lr=0.1, momentum=momentum)
    for _ in range(steps):  # the steps of a weight without a gradient, at the peak rate
        velocity = momentum * velocity + config.weight_decay_over(steps) * weight
        weight -= config.lr * velocity
    assert weight == pytest.approx(math.exp(-1), rel=0.03)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_automatic_decay_never_takes_more_than_half_of_a_weight(steps: int) -> None:
    config = AdaptConfig(cache="here", lr=0.1)
    assert 0.1 * config.weight_decay_over(steps) == pytest.approx(min(1 / steps, 0.5))


def test_an_end_after_all_epochs_is_none() -> None:
    ids = [AdaptConfig(cache="here", epochs=20, stop_after=value).member_id for value in (None, 20, 19)]
    assert ids[0] == ids[1] != ids[2]


def test_the_order_of_scored_splits_makes_no_other_member() -> None:
    splits = (["val", "test"], ["test", "val"], ["test", "val", "test"], ["test"])
    ids = [AdaptConfig(cache="here", eval_split=value).member_id for value in splits]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_momentum_matters_to_sgd_alone() -> None:
    with_sgd = {
        AdaptConfig(cache="here", optimizer="sgd", momentum=value).member_id for value in (0.0, 0.5, 0.9)
    }
    assert len(with_sgd) == 3


def test_patience_matters_and_needs_a_split_to_watch() -> None:
    watched = [AdaptConfig(cache="here", val_split="val200", patience=value) for value in (None, 1, 2)]
    assert len({config.member_id for config in watched}) == 3
    with pytest.raises(ValidationError, match=r"patience=\.\.\. needs a split to watch: val_split=\.\.\."):
        AdaptConfig(cache="here", patience=1)


def test_halving_matters_and_needs_a_split_to_compare_on() -> None:
    halved = [AdaptConfig(cache="here", val_split="val200", halve_at=value) for value in ([], [1], [1, 2])]
    assert len({config.member_id for config in halved}) == 3
    with pytest.raises(ValidationError, match=r"halve_at=\[1,2\] needs a split on .*: val_split=\.\.\."):
        AdaptConfig(cache="here", halve_at=[1, 2])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"select_split": "test"}, "select_split=test"),
        ({"select_split": "a", "eval_split": ["b", "a"]}, "select_split=a"),
        ({"val_split": "test", "patience": 1}, "val_split=test"),
        ({"val_split": "test", "halve_at": [1]}, "val_split=test"),
        ({"val_split": "test"}, "val_split=test"),
        ({"select_train_split": ["train", "test"]}, "select_train_split=test"),
    ],
)
def test_nothing_is_selected_on_a_split_that_is_scored_in_the_end(
    options: dict[str, Any], named: str
) -> None:
    AdaptConfig(cache="here", **options)
    with pytest.raises(ValidationError, match=f"{named} is also in eval_split: with protocol=select"):
        AdaptConfig(cache="here", protocol="select", **options)


@pytest.mark.parametrize("option", ["select_train_split", "select_split"])
def test_splits_to_select_on_matter_to_that_protocol_alone(option: str) -> None:
    for protocol, count in (("direct", 1), ("select", 2)):
        found = {
            AdaptConfig(**{"cache": "here", "protocol": protocol, option: split}).member_id  # type: ignore[arg-type]
            for split in ("one", "other")
        }
        assert len(found) == count


def test_label_columns() -> None:
    one, list_of_one, two = (AdaptConfig(cache="here", label=value) for value in ("a", ["a"], ["a", "b"]))
    assert one.labels == list_of_one.labels == ("a",)
    assert one.member_id == list_of_one.member_id != two.member_id
    assert two.labels == ("a", "b")


@pytest.mark.parametrize("written", ["./here", "here/", "there/../here", ".//here"])
def test_one_cache_written_in_two_ways_is_one_member(written: str) -> None:
    assert AdaptConfig(cache=written).member_id == AdaptConfig(cache="here").member_id


@pytest.mark.parametrize("option", WHEREABOUTS)
def test_member_id_ignores_where_it_is_computed(option: str) -> None:
    other = AdaptConfig(**{"cache": "here", option: WHEREABOUTS[option]})
    assert other.member_id == AdaptConfig(cache="here").member_id


def test_member_id_differs_between_kinds() -> None:
    assert len({AdaptConfig(cache="here", side=side).member_id for side in KINDS}) == len(KINDS)


def test_no_split_is_another_member_with_a_name_that_says_so() -> None:
    config = AdaptConfig(cache="here", eval_split=[])
    assert config.eval_splits == ()
    assert config.member_id != AdaptConfig(cache="here").member_id
    assert "eval_split_none" in config.member_name


def test_one_eval_split_is_a_list_of_one() -> None:
    name, several = (AdaptConfig(cache="here", eval_split=value) for value in ("test", ["test"]))
    assert name.eval_splits == several.eval_splits == ("test",)
    assert name.member_id == several.member_id
    assert AdaptConfig(cache="here", eval_split=["test", "val"]).member_id != name.member_id


def test_member_id_stays_the_same_in_later_versions() -> None:
    # Folders of finished members carry it: a change trains everything again.
    earlier = AdaptConfig(cache="here", dropout=0.0, weight_decay=1e-4, start="last", probe_share=0.0)
    assert earlier.member_id == "3eb70c5218"


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
        {"dropout": 1.0},
        {"label_smoothing": 1.0},
        {"mixup": -0.1},
        {"dtype": "float16"},
        {"class_weights": "even"},
        {"halve_at": [0], "val_split": "val200"},
        {"halve_at": [-1], "val_split": "val200"},
        {"halve_at": [2, 1], "val_split": "val200"},
        {"halve_at": [1, 1], "val_split": "val200"},
        {"halve_at": [3], "val_split": "val200", "epochs": 3},
        {"halve_at": [9], "val_split": "val200", "epochs": 3},
        {"halve_at": [2], "val_split": "val200", "epochs": 3, "stop_after": 2},
        {"stop_after": 0},
        {"stop_after": 4, "epochs": 3},
        {"patience": 0, "val_split": "val200"},
        {"label": []},
        {"protocol": "test"},
        {"checkpoint_seconds": -1.0},
        {"ranks": 8},
    ],
)
def test_impossible_options_are_refused(
    wrong: dict[str, Any], make_config: Callable[..., AdaptConfig]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        make_config(**wrong)


def test_label_columns_are_named_once() -> None:
    with pytest.raises(
        ValueError, match=r"label=\[colour,species,colour\]: expected label columns, each once"
    ):
        AdaptConfig(cache="cache", label=["colour", "species", "colour"])
