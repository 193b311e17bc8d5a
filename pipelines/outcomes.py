"""The outcomes of members that a launcher has trained, for the jobs that run afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from losa.adapt import Job, MemberSummary
from losa.adapt.members.summary import Outcome
from losa.pipelines.tracked_training import train

_outcomes: ContextVar[Mapping[Job, Outcome]] = ContextVar("outcomes")


@contextmanager
def trained(outcomes: Mapping[Job, Outcome]) -> Iterator[None]:
    """A context in which these members are not trained again."""
    token = _outcomes.set(outcomes)
    try:
        yield
    finally:
        _outcomes.reset(token)


def launched_together() -> bool:
    """Whether the jobs that run now are those of a launcher that has trained their members together."""
    return _outcomes.get(None) is not None


def summary_of(job: Job, sweep_folder: Path) -> MemberSummary:
    """The summary of a member, which is trained now unless a launcher has trained it.

    Args:
        job: the member.
        sweep_folder: the folder of its sweep.

    Raises:
        Exception: the member failed, then or now.
    """
    outcome = _outcomes.get({}).get(job)
    if outcome is None:
        (outcome,) = train([job], sweep_folder)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
