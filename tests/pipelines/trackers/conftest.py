"""Runs for the tests of trackers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable


@pytest.fixture
def sweep_run(tmp_path: Path) -> Callable[..., SweepRun]:
    """``sweep_run(earlier)``: a run of a sweep in the folder of the test."""

    def make(earlier: str | None = None) -> SweepRun:
        return SweepRun(folder=tmp_path, options=["cache=cache", "rank=4,8"], earlier=earlier)

    return make


@pytest.fixture
def table() -> MembersTable:
    """A table of two members."""
    return MembersTable(["member", "rank", "accuracy/test"], [["a", 8, 0.5], ["b|c", None, 0.25]])
