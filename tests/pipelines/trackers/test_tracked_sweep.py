import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable
from losa.pipelines.trackers.tracked_sweep import TrackedSweep


class Recorder:
    """A `Tracker` that keeps what it is told, and fails in one of its methods."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, Any]] = []

    def _called(self, name: str, told: Any) -> None:
        self.calls.append((name, told))
        if name == self.failing:
            raise ConnectionError("no\nnetwork")

    def start(self, sweep: SweepRun) -> str:
        self._called("start", sweep.earlier)
        return "id"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._called("log", (step, dict(values)))

    def finish(self, table: MembersTable, *, completed: bool) -> None:
        self._called("finish", ([row[0] for row in table.rows], completed))


@pytest.fixture
def tracked(tmp_path: Path) -> Any:
    """``tracked(recorder)``: a sweep in the folder of the test that tells the recorder."""
    return lambda recorder, anew=False: TrackedSweep(recorder, "wandb", tmp_path, ["rank=4"], anew=anew)


def test_a_run_begins_with_the_training_and_ends_with_the_table(tracked: Any, make_summary: Any) -> None:
    recorder = Recorder()
    sweep = tracked(recorder)
    summary = make_summary(AdaptConfig(cache="cache", epochs=2), accuracy={"test": 0.5})
    sweep.training_starts()
    sweep.training_starts()  # another batch of jobs
    sweep.epoch_ended(summary.name, 0, {summary.name: {"lr": 0.1}})
    sweep.members_scored(summary.name, [summary])
    sweep.collect([summary])
    sweep.finish(completed=True)
    assert recorder.calls == [
        ("start", None),
        ("log", (0, {f"lr/{summary.name}": 0.1})),
        ("log", (1, {f"accuracy/test/{summary.name}": 0.5})),
        ("finish", ([summary.name], True)),
    ]


def test_the_same_sweep_goes_on_with_its_run_unless_it_is_trained_anew(tracked: Any) -> None:
    for anew, earlier in ((False, None), (False, "id"), (True, None)):
        recorder = Recorder()
        tracked(recorder, anew=anew).training_starts()
        assert recorder.calls == [("start", earlier)]


def test_nothing_to_tell_begins_no_run(tracked: Any, tmp_path: Path) -> None:
    recorder = Recorder()
    tracked(recorder).finish(completed=False)
    assert not recorder.calls
    assert not list(tmp_path.iterdir())


def test_finished_members_are_in_the_table_only(tracked: Any, make_summary: Any) -> None:
    recorder = Recorder()
    sweep = tracked(recorder)
    sweep.collect([make_summary()])
    sweep.finish(completed=True)
    assert [name for name, _ in recorder.calls] == ["start", "finish"]


@pytest.mark.parametrize(("members", "series"), [(100, 200), (101, 3)])
def test_a_large_sweep_has_three_series_for_each_number(tracked: Any, members: int, series: int) -> None:
    recorder = Recorder()
    sweep = tracked(recorder)
    names = [f"m{number}" for number in range(members)]
    sweep.expect(names)
    sweep.epoch_ended("m0", 0, {name: {"lr": 0.1, "train_loss": 1.0} for name in names})
    ((_, (_, values)),) = recorder.calls
    assert len(values) == series


@pytest.mark.parametrize("failing", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_left_out(
    tracked: Any, make_summary: Any, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    recorder = Recorder(failing)
    sweep = tracked(recorder)
    with caplog.at_level(logging.WARNING):
        sweep.training_starts()
        for epoch in range(2):
            sweep.epoch_ended("a", epoch, {"a": {"lr": 0.1}})
        sweep.collect([make_summary()])
        sweep.finish(completed=True)
    (message,) = caplog.messages
    assert message.startswith(
        "tracker=wandb has failed and is told nothing more; the training is not affected"
    )
    assert message.endswith("(ConnectionError: no network)")
    assert [name for name, _ in recorder.calls].count(failing) == 1
    assert recorder.calls[-1][0] == failing


def test_a_run_that_is_gone_is_named(tracked: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    tracked(Recorder()).training_starts()
    tracked(Recorder("start")).training_starts()
    (file,) = (tmp_path / "tracked").iterdir()
    assert f"it was to go on with the run id, which {file} names: remove that file" in caplog.text
