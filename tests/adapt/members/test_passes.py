"""Which members share a reading of the cache, and which of those a network."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig, Job
from losa.adapt.members.member_files import Checkpoint
from losa.adapt.members.passes import cut_to_memory, group_key, make_groups, plan_passes
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.training.confusion import counting_bytes
from losa.cache_format.engines import EngineConfig

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

OWN: dict[str, Any] = {
    "side": "last",
    "rank": 2,
    "order": "token_channel",
    "norm": "none",
    "start": "first",
    "probe_share": 0.25,
    "pool": "mean",
    "bias": True,
    "sites": 2,
    "patience": 3,
    "optimizer": "sgd",
    "lr": 0.5,
    "weight_decay": 0.5,
    "momentum": 0.5,
    "warmup": 0.5,
    "dropout": 0.5,
    "label_smoothing": 0.5,
    "seed": 5,
    "checkpoint_seconds": 5.0,
    "engine": EngineConfig(kind="ray"),
    "tracker": "tensorboard",
    "out": "elsewhere",
    "overwrite": True,
}
"""Options that may differ within a pass."""
SHARED: dict[str, Any] = {
    "label": ["label", "some"],
    "class_weights": "balanced",
    "train_split": "val",
    "eval_split": ["test", "val"],
    "val_split": "test",
    "halve_at": [2],
    "epochs": 5,
    "stop_after": 2,
    "batch_size": 5,
    "mixup": 0.5,
    "dtype": "bfloat16",
    "data_seed": 5,
    "residency": "ram",
    "threads": 2,
    "compile": False,
}
"""Options that may not."""
ELSEWHERE = {
    "views",
    "cache",
    "heads",
    "mixing",
    "device",
    "protocol",
    "select_train_split",
    "select_split",
}
"""Tested apart, idle here, or not the pass's concern."""


@pytest.fixture
def prepare(member: Any, tmp_path: Path) -> Callable[..., list[PreparedJob]]:
    """``prepare(options, ...)``: one job for each, from one preparer."""

    def prepared(*options: dict[str, Any]) -> list[PreparedJob]:
        preparer = JobPreparer()
        # With a split to watch, as patience asks for.
        configs = [member(**({"val_split": "val"} | each)) for each in options]
        found = [preparer.prepare(Job(config, tmp_path / config.member_name)) for config in configs]
        assert all(isinstance(each, PreparedJob) for each in found)
        return found  # type: ignore[return-value]

    return prepared


def sizes(prepared: list[PreparedJob]) -> list[int]:
    return [len(members) for members in plan_passes(prepared)]


def test_every_option_is_covered_here() -> None:
    assert {field.name for field in fields(AdaptConfig)} == {*OWN, *SHARED, *ELSEWHERE}


def test_options_that_may_differ_within_a_pass(prepare: Any) -> None:
    assert sizes(prepare({}, *({name: value} for name, value in OWN.items()))) == [1 + len(OWN)]


def test_options_that_may_not(prepare: Any) -> None:
    options = [{}, *({name: value} for name, value in SHARED.items())]
    assert sizes(prepare(*options, *options)) == [2] * (1 + len(SHARED))


def test_one_network_has_one_architecture_and_one_kind_of_optimiser(prepare: Any) -> None:
    apart = {"side", "rank", "order", "norm", "pool", "bias", "start", "probe_share", "sites", "optimizer"}
    for name, value in OWN.items():
        first, second = map(group_key, prepare({}, {name: value}))
        assert (first == second) == (name not in apart), name


def test_ranks_of_linear_probes_are_no_difference(prepare: Any) -> None:
    first, second = prepare({"side": "linear", "rank": 2}, {"side": "linear", "rank": 4, "sites": 2})
    assert group_key(first) == group_key(second)


def test_caches_are_read_in_passes_of_their_own(prepare: Any, toy_cache: Any, tmp_path: Path) -> None:
    other = replace(toy_cache, seed=1).write(tmp_path / "other")
    assert sizes(prepare({}, {"cache": str(other)}, {"seed": 1}, {"cache": str(other), "seed": 1})) == [2, 2]


def test_members_that_were_interrupted_at_different_epochs(prepare: Any) -> None:
    first, second, third = prepare({}, {"seed": 1}, {"seed": 2})
    after = [Checkpoint(epoch=epoch, progress={}, state={}) for epoch in (1, 2)]
    members = [first, replace(second, checkpoint=after[0]), replace(third, checkpoint=after[1])]
    assert sizes(members) == [1, 1, 1]
    assert sizes([replace(each, checkpoint=after[0]) for each in members]) == [3]


def test_groups_know_their_members_by_number(prepare: Any) -> None:
    prepared = prepare({"seed": 3}, {"rank": 2}, {"side": "linear"}, {"seed": 4}, {"lr": 1.0, "rank": 2})
    groups = make_groups(dict(zip((10, 11, 12, 13, 14), prepared, strict=True)))
    assert [group.numbers for group in groups] == [[10, 13], [11, 14], [12]]
    assert [group.network.members for group in groups] == [2, 2, 1]
    assert [config.seed for config in groups[0].configs] == [3, 4]
    assert groups[2].network.features.sites == ("block.02",)


@pytest.mark.parametrize(("most", "expected"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (99, [5])])
def test_a_pass_that_memory_does_not_hold_is_cut(
    most: int, expected: list[int], prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "losa.adapt.members.passes.members_at_once",
        lambda networks, device, scoring_bytes: asked.append((len(networks), scoring_bytes)) or most,
    )
    members = prepare({}, {"seed": 1}, {"rank": 2}, {"side": "linear"}, {"side": "linear", "lr": 1.0})
    parts = cut_to_memory(members)
    assert [len(part) for part in parts] == expected
    assert [member for part in parts for member in part] == members
    assert asked == [(3, counting_bytes(12, 3))]  # the test split has most images


def test_one_member_needs_no_measuring(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losa.adapt.members.passes.members_at_once", None)
    members = prepare({})
    assert cut_to_memory(members) == [members]
