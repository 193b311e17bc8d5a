from typing import Any

import pytest

from losa.pipelines.report.configurations import tasks_of
from losa.pipelines.report.headline import cautions, failures, winners


def seeded(make_member: Any, kind: str, scores: list[float], **fields: Any) -> list[Any]:
    return [make_member(score, kind=kind, seed=seed, **fields) for seed, score in enumerate(scores)]


@pytest.mark.parametrize(("second", "judged"), [([0.3, 0.5], "more"), ([0.75, 0.85], "not more")])
def test_who_won_and_by_how_much(second: list[float], judged: str, make_member: Any) -> None:
    members = [*seeded(make_member, "losa", [0.8, 0.9]), *seeded(make_member, "last", second)]
    (sentence,) = winners(tasks_of([*members, make_member(0.25, kind="linear")]))
    assert sentence.startswith("pets, test: losa reaches 85.0 ± 5.0 % (mean ± standard error of 2 seeds), ")
    ahead = 85 - 50 * sum(second)
    assert f"{ahead:.1f} points ahead of last ({50 * sum(second):.1f} ± " in sentence
    assert f"which is {judged} than the standard error of the difference (" in sentence
    assert sentence.endswith(" The best linear probe reaches 25.0 %.")


def test_one_seed_has_no_error(make_member: Any) -> None:
    (sentence,) = winners(tasks_of([make_member(0.5), make_member(0.25, kind="linear")]))
    assert sentence == (
        "pets, test: losa reaches 50.0 % (1 seed), 25.0 points ahead of linear (25.0 %); with one seed, "
        "nobody knows what chance does."
    )


def test_one_configuration_wins_over_nothing(make_member: Any) -> None:
    (sentence,) = winners(tasks_of([make_member(0.5)]))
    assert sentence == "pets, test: losa reaches 50.0 % (1 seed); there is nothing to compare it with."


def test_several_tasks_have_a_mean(make_member: Any) -> None:
    members = [make_member(score, task=task) for task, score in {"pets": 0.5, "birds": 0.7}.items()]
    mean, *each = winners(tasks_of(members))
    assert mean.startswith("Mean of the 2 tasks: losa reaches 60.0 % (1 seed)")
    assert [sentence.split(":")[0] for sentence in each] == ["pets, test", "birds, test"]
    mean, *_ = winners(tasks_of([*members, make_member(0.1, task="fish", kind="last")]))
    assert mean == "Mean of the 3 tasks: no configuration is complete in all."


def test_nothing_to_compare(make_member: Any) -> None:
    (sentence,) = winners(tasks_of([make_member(None, status="failed")]))
    assert sentence == "pets: no configuration is complete and scored, so there is nothing to compare."


def test_failures_by_their_reasons(make_member: Any) -> None:
    reasons = ["no memory", "no memory", *map(str, range(30))]
    members = [make_member(None, seed=n, status="failed", reason=each) for n, each in enumerate(reasons)]
    first, *others, rest, pruned = failures([*members, make_member(0.5, status="pruned"), make_member(0.5)])
    assert first == "2 members: no memory"
    assert len(others) == 19
    assert rest == "11 members, for 11 other reasons: see the table"
    assert pruned == "1 member dropped by successive halving (halve_at)"
    assert failures([make_member(0.5)]) == []


@pytest.mark.parametrize(("split", "warned"), [("test", True), ("val", False)])
def test_choosing_on_the_split_that_is_told_is_warned_of(split: str, warned: bool, make_member: Any) -> None:
    kinds = ("losa", "last")
    members = [make_member(0.5, kind=kind, split=split, options={"val_split": "val"}) for kind in kinds]
    told = list(cautions(tasks_of(members)))
    assert bool(told) == warned
    assert all("of 2 configurations chooses on test" in caution for caution in told)
    assert not list(cautions(tasks_of(members[:1])))
