"""What is told of a share, without any training."""

from typing import Any

import pytest

from losa.adapt.members.reports import Advanced, JobsEnded, Progress, ReportedBar, Reporter, receiver


class Bar:
    """A `ProgressBar`."""

    def __init__(self) -> None:
        self.done, self.text = 0, ""

    def update(self, n: int) -> None:
        self.done += n

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        self.text = s


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is told, every step of it."""
    monkeypatch.setattr("losa.adapt.members.reports._SECONDS_BETWEEN", 0.0)
    return []


def test_images_count_once_for_every_member_and_over_all_passes(told: list[Any]) -> None:
    reporter = Reporter(told.append)
    with ReportedBar(reporter, members=3, total=10, initial=4) as bar:
        bar.update(2)
    with ReportedBar(reporter, members=1, total=10, initial=0) as bar:
        bar.update(1)
    # The rest of a pass counts at its end: its members may have been stopped early.
    assert [report.images for report in told] == [12, 18, 30, 30, 31, 40]


def test_a_pass_that_fails_is_not_done(told: list[Any]) -> None:
    with pytest.raises(MemoryError), ReportedBar(Reporter(told.append), 1, 10, 0) as bar:
        bar.update(1)
        raise MemoryError
    assert told[-1] == Advanced(1)


def test_steps_are_told_from_time_to_time_and_at_the_end() -> None:
    told: list[Any] = []
    reporter = Reporter(told.append)
    for _ in range(100):
        reporter.advance(1)
    reporter.end({})
    assert told == [Advanced(1), Advanced(100), JobsEnded([])]


def test_one_bar_has_all_shares_and_goes_back_when_a_worker_is_lost() -> None:
    bar, outcomes = Bar(), {}
    receive = receiver(None, outcomes, Progress(bar, members=3))
    done = []
    for share, images in ((0, 10), (1, 5), (0, 20), (0, 8)):
        receive(share, Advanced(images))
        done.append(bar.done)
    assert done == [10, 15, 25, 13]
    receive(1, JobsEnded([("a", "x"), ("b", "y")]))
    assert bar.text == "2 of 3 members"
    assert outcomes == {"a": "x", "b": "y"}
