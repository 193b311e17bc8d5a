import json
import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.adapt.members.summary import ColumnScores, Company, MemberSummary

KEYS = """member name status side rank lr seed accuracy scores train_loss epochs best_epoch best_val_accuracy
parameters head_parameters seconds train_seconds pass images sites device residency options cache folder"""


@pytest.fixture
def summary(make_summary: Any) -> MemberSummary:
    """A summary with scores."""
    scores = ColumnScores(top1=0.5, top5=1.0, mean_per_class=0.25, images=12)
    return make_summary(scores={"test": {"label": scores}})  # type: ignore[no-any-return]


def test_keys_and_their_order(summary: MemberSummary) -> None:
    content = summary.to_json()
    assert list(content) == [*KEYS.split(), "company", "micro_batch_sizes", "threads"]
    assert list(content["pass"]) == ["members", "seconds", "peak_bytes"]
    assert list(content["scores"]["test"]["label"]) == ["top1", "top5", "mean_per_class", "images"]


@pytest.mark.parametrize("change", [{}, {"rank": None}, {"train_loss": math.inf}, {"status": "pruned"}])
def test_round_trip(change: dict[str, Any], summary: MemberSummary) -> None:
    changed = replace(summary, **change)
    assert MemberSummary.from_json(json.loads(json.dumps(changed.to_json()))) == changed


def test_scored_splits_in_another_order(summary: MemberSummary) -> None:
    both = replace(summary, accuracy={"val": 0.5, "test": 0.25}, scores={"val": {}, "test": {}})
    assert both.in_order(["val", "test"]) is both
    other = both.in_order(["test", "val"])
    assert (list(other.accuracy), list(other.scores)) == (["test", "val"], ["test", "val"])
    assert other == both


def test_the_company_of_a_halved_member(summary: MemberSummary) -> None:
    """Summaries from before there was such a field are read."""
    halved = replace(summary, company=Company(members=["a", "b"], failed=["b"]))
    content = json.loads(json.dumps(halved.to_json()))
    assert MemberSummary.from_json(content) == halved
    del content["company"], content["micro_batch_sizes"], content["threads"], content["pass"]["peak_bytes"]
    assert MemberSummary.from_json(content) == summary


def test_options_that_came_later(make_summary: Any) -> None:
    """Members trained before them are of one configuration with members that say so."""
    for side, share in (("losa", 0.0), ("attentive", 0.0), ("linear", None)):
        config = AdaptConfig(cache="cache", side=side, probe_share=0.0)
        idle = config.idle_options
        options = {name: value for name, value in asdict(config).items() if name not in idle}
        content = json.loads(json.dumps(make_summary(config, options=options).to_json()))
        for name in ("views", "stop_after", "mixing", "probe_share"):
            content["options"].pop(name, None)
        found = MemberSummary.from_json(content)
        assert found.options.get("probe_share") == share
        assert found.options == options


def test_unknown_fields_are_ignored(summary: MemberSummary) -> None:
    assert MemberSummary.from_json(summary.to_json() | {"later": 1, "shared_pass": 2}) == summary


@pytest.mark.parametrize("key", KEYS.split())
def test_a_missing_field_is_refused(key: str, summary: MemberSummary) -> None:
    content = summary.to_json()
    del content[key]
    with pytest.raises(ValueError, match="Field required"):
        MemberSummary.from_json(content)


@pytest.mark.parametrize(
    "wrong", [{"status": "running"}, {"lr": "0.1"}, {"rank": 1.5}, {"side": "lasagne"}, {"pass": {}}]
)
def test_an_invalid_field_is_refused(wrong: dict[str, Any], summary: MemberSummary) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MemberSummary.from_json(summary.to_json() | wrong)
