"""What is trained to choose from, and for which line of the table."""

from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.selection import Candidate, as_candidate, choose
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.split_roles import SplitRoles

ROLES = SplitRoles(fit="train800", held_out="val200", both=("train800val200",))
SWEEP = ("side=linear,losa", "rank=4,8", "lr=1e-3,3e-3")


def test_each_side_network_has_a_line_and_a_choice_of_its_own(options: Any) -> None:
    candidates = Candidates(options(*SWEEP))
    assert {line: len(points) for line, points in candidates.lines.items()} == {"linear": 4, "losa": 4}
    assert candidates.tried == ["side", "rank", "lr"]
    # The rank of a linear probe has no effect: two of its points are the same member.
    assert candidates.counts(ROLES) == (2 + 4, 2 * 2)


def test_other_options_may_have_lines_too(options: Any) -> None:
    assert list(Candidates(options(*SWEEP, "select=[side,rank]")).lines) == [
        "linear",
        "losa rank=4",
        "losa rank=8",
    ]
    assert list(Candidates(options(*SWEEP, "select=[]")).lines) == ["chosen"]


def test_candidates_never_see_the_images_that_are_scored(options: Any) -> None:
    candidates = Candidates(options(*SWEEP, "choice_seeds=2"))
    configs = [as_candidate(config) for config in candidates.of_line("losa", Path("cache"), ROLES)]
    assert [config.seed for config in configs] == [config.data_seed for config in configs] == [0, 1] * 4
    assert {(config.train_splits, config.eval_splits) for config in configs} == {(("train800",), ("val200",))}


def test_the_choice_is_trained_on_both_for_every_seed_and_not_scored(options: Any, make_summary: Any) -> None:
    candidates = Candidates(options(*SWEEP, "seeds=3"))
    found = [
        Candidate(config, make_summary(config, accuracy={"val200": config.lr}))
        for config in candidates.of_line("losa", Path("cache"), ROLES)
    ]
    finals = candidates.finals(choose(found))
    assert [(config.seed, config.data_seed, config.lr) for config in finals] == [
        (seed, seed, 3e-3) for seed in range(3)
    ]
    assert {(config.train_splits, config.eval_splits) for config in finals} == {(("train800val200",), ())}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "select=[rnk]",
            "expected options of the sweep (side, rank, lr, dropout, epochs), found 'rnk'",
        ),
        ("select=[side,heads]", "found 'heads'"),
        ("rank=0,8", "rank=0: "),
        ("side=losa,lats", "did you mean 'last'?"),
    ],
)
def test_a_wrong_option_is_refused(options: Any, typed: str, message: str) -> None:
    with pytest.raises(LosaError) as caught:
        Candidates(options(typed))
    assert message in str(caught.value)
