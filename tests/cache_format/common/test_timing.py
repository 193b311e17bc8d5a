"""Repeated calls end at their number or at their time limit."""

import pytest

from losa.cache_format.common import timing
from losa.cache_format.common.timing import timed_calls


@pytest.fixture
def clock(monkeypatch):
    """A list whose only number is the time."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (100.0, [2.0] * 5),
        (7.9, [2.0] * 3),  # the fourth would end after 8 s
        (0.1, [2.0]),
    ],
)
def test_calls_are_repeated_while_there_is_time(clock, seconds, expected):
    def call():
        clock[0] += 2

    assert timed_calls(call, most=5, seconds=seconds) == expected
