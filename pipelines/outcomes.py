"""The outcomes of members that a launcher has trained, for the jobs that run afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from losa.adapt import Job, MemberSummary, adapt
from losa.adapt.members.summary import Outcome

_outcomes: ContextVar[Mapping[Job, Outcome]] = ContextVar("outcomes")


@contextmanager
def trained(outcomes: Mapping[Job, Outcome]) -> Iterator[None]:
    """A context in which these members are not trained again."""
    token = _outcomes.set(outcomes)
    try:
        yield
    finally:
        _outcomes.reset(token)


def summary_of(job: Job) -> MemberSummary:
    """The summary of a member, which is trained now unless a launcher has trained it.

    Raises:
        Exception: the member failed, then or now.
    """
    outcome = _outcomes.get({}).get(job)
    if outcome is None:
        return adapt(job.config, job.folder)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
