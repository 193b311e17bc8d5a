"""Members of which some are the same one."""

from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.pipelines import different_members
from losa.pipelines.different_members import train_each_once


def test_equal_members_are_trained_once(
    monkeypatch: pytest.MonkeyPatch, make_summary: Any, tmp_path: Path
) -> None:
    given = []

    def adapt_all(jobs: Any) -> Any:
        given.extend(jobs)
        return [make_summary(job.config) for job in jobs]

    monkeypatch.setattr(different_members, "adapt_all", adapt_all)
    # Rank and dropout have no effect on a linear probe.
    configs = [
        AdaptConfig(cache="cache", side="linear", rank=rank, lr=lr) for lr in (1, 2) for rank in (2, 4)
    ]
    outcomes: list[Any] = list(train_each_once(configs, tmp_path))
    assert len(given) == 2
    assert {job.folder.parent for job in given} == {tmp_path}
    assert [outcome.lr for outcome in outcomes] == [1, 1, 2, 2]
