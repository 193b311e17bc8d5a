"""What became of members that a launcher has trained, for the jobs whose turn comes after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from losa.adapt import Job, adapt

Outcome = dict[str, Any] | Exception
"""A summary, or why there is none."""

_outcomes: ContextVar[Mapping[Job, Outcome]] = ContextVar("outcomes")


@contextmanager
def trained(outcomes: Mapping[Job, Outcome]) -> Iterator[None]:
    """Within this context these members are not trained again."""
    token = _outcomes.set(outcomes)
    try:
        yield
    finally:
        _outcomes.reset(token)


def summary_of(job: Job) -> dict[str, Any]:
    """The summary of a member that a launcher has trained already, or that is trained now.

    Raises:
        Exception: what concerned this member, then or now.
    """
    outcome = _outcomes.get({}).get(job)
    if outcome is None:
        return adapt(job.config, job.folder)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
