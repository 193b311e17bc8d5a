"""The outcomes of jobs: errors that cost the other jobs nothing, and members that are finished."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from losa.adapt.free_memory import is_out_of_memory
from losa.adapt.members.company import Checked, without_other_companies
from losa.adapt.members.job import Job
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError

_log = logging.getLogger(__name__)


@contextmanager
def failing_alone(job: Job, outcomes: dict[Job, Outcome]) -> Iterator[None]:
    """A context whose errors become the outcome of a job, and cost the other jobs nothing."""
    try:
        yield
    except LosaError as error:
        outcomes[job] = error
    except OSError as error:
        if is_out_of_memory(error):
            outcomes[job] = does_not_fit(error)
        else:
            outcomes[job] = LosaError(
                f"{error}: {job.folder} is the member's folder; choose another (out=...)"
            )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        outcomes[job] = does_not_fit(error)


def unfinished(
    members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], *, again: bool = False
) -> list[PreparedJob]:
    """The members that are still to be trained; the others get the outcomes in their folders.

    Args:
        members: members without an outcome.
        outcomes: gets those that are found.
        again: whether they were checked before, and why a summary does not count was told then.
    """
    checked: list[Checked] = []
    for member in members:
        with failing_alone(member.job, outcomes):
            checked.append((member, member.read_outcome(_log.debug if again else _log.warning)))
    waiting = []
    for member, outcome in without_other_companies(checked, warn=not again):
        if outcome is None:
            waiting.append(member)
        else:
            outcomes[member.job] = outcome
    return waiting


def does_not_fit(error: Exception, members: Sequence[PreparedJob] = ()) -> LosaError:
    """The error for a member that is too large for the memory."""
    first = (str(error) or "out of memory").splitlines()[0].rstrip(".")
    kept = f". {what_is_kept(members)}" if members else ""
    return LosaError(
        f"{first}. Memory does not hold the member, even with one image at a time: use a smaller rank, fewer "
        f"sites (sites=4) or residency=stream{kept}"
    )


def what_is_kept(members: Sequence[PreparedJob]) -> str:
    """What is left of a pass that failed."""
    kept = sum(member.files.checkpoint_path.exists() for member in members)
    if kept == len(members):
        return "Checkpoints are kept"
    return f"{kept} of {len(members)} members have a checkpoint" if kept else "No checkpoint was written yet"
