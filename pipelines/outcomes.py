"""What became of members that a launcher has trained, for the jobs whose turn comes after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from losa.adapt import Job, adapt

Outcome = dict[str, Any] | Exception
"""A summary, or why there is none."""
Member = tuple[Path, str]

_outcomes: ContextVar[Mapping[Member, Outcome]] = ContextVar("outcomes")


def member_of(job: Job) -> Member:
    """Where the job's member is, and which one it is; jobs that agree in both are one."""
    return job.folder, job.config.member_id


@contextmanager
def trained(outcomes: Mapping[Member, Outcome]) -> Iterator[None]:
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
    outcome = _outcomes.get({}).get(member_of(job))
    if outcome is None:
        return adapt(job.config, job.folder)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
