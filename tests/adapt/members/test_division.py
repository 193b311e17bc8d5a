"""How the members of a sweep are divided among workers."""

from pathlib import Path
from typing import Any

import pytest

from losa.adapt import Job
from losa.adapt.members.division import divide
from losa.adapt.members.preparation import JobPreparer, PreparedJob

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

SEEDS: list[dict[str, Any]] = [{"seed": seed} for seed in range(6)]


@pytest.fixture
def prepare(member: Any, tmp_path: Path) -> Any:
    """``prepare(options, ...)``: one job for each."""

    def prepared(*options: dict[str, Any]) -> list[PreparedJob]:
        preparer = JobPreparer()
        configs = [member(**({"val_split": "val"} | each)) for each in options]
        return [preparer.prepare(Job(config, tmp_path / config.member_name)) for config in configs]

    return prepared


def sizes(parts: list[list[PreparedJob]]) -> list[int]:
    return [len(part) for part in parts]


@pytest.mark.parametrize(
    ("workers", "expected"), [(1, [6]), (2, [3, 3]), (4, [2, 2, 1, 1]), (6, [1] * 6), (9, [1] * 6)]
)
def test_every_worker_gets_a_part_while_there_are_members(
    prepare: Any, workers: int, expected: list[int]
) -> None:
    members = prepare(*SEEDS)
    parts = divide(members, workers)
    assert sizes(parts) == expected
    assert sorted(id(member) for part in parts for member in part) == sorted(map(id, members))


def test_one_worker_has_all_readings(prepare: Any) -> None:
    members = prepare({}, {"data_seed": 1})
    assert divide(members, 1) == [members]


def test_readings_are_apart_and_the_larger_one_is_divided(prepare: Any) -> None:
    parts = divide(prepare(*SEEDS, {"data_seed": 1}), 3)
    assert sizes(parts) == [3, 3, 1]
    assert all(len({member.config.data_seed for member in part}) == 1 for part in parts)


def test_members_of_one_network_stay_together(prepare: Any) -> None:
    mixed = [{"rank": rank, "seed": seed} for seed in range(3) for rank in (2, 4)]
    ranks = [{member.config.rank for member in part} for part in divide(prepare(*mixed), 2)]
    assert ranks == [{2}, {4}]


def test_members_that_are_compared_are_not_divided(prepare: Any) -> None:
    compared = [each | {"halve_at": [1]} for each in SEEDS]
    assert sizes(divide(prepare(*compared), 4)) == [6]
    assert sizes(divide(prepare(*compared, {}, {"seed": 1}), 4)) == [6, 1, 1]


def test_those_with_most_to_compute_come_first(prepare: Any) -> None:
    parts = divide(prepare({}, {"epochs": 9}, {"epochs": 5}), 3)
    assert [part[0].config.epochs for part in parts] == [9, 5, 3]


def test_no_members(prepare: Any) -> None:
    assert divide([], 3) == []
