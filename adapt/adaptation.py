"""The second stage: side networks are trained from caches, scored and saved."""

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from losa.adapt.config import AdaptConfig
from losa.adapt.free_memory import is_out_of_memory
from losa.adapt.members.company import Checked, with_company, without_other_companies
from losa.adapt.members.job import Job
from losa.adapt.members.pass_threads import pass_threads
from losa.adapt.members.passes import cut_to_memory, plan_passes
from losa.adapt.members.pool import tokens_of, with_pool
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.members.training_pass import TrainingPass
from losa.cache_format import LosaError
from losa.cache_format.common.cores import idle_cores
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.storage.atomic_writes import make_folder
from losa.cache_format.storage.lock import FileLock, allow_locks

_log = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds of checking jobs before its progress is shown."""


def adapt(config: AdaptConfig, folder: Path) -> MemberSummary:
    """Train one member and write configuration, metrics, summary and side network into a folder.

    A finished member of the same configuration and cache is not trained again; an interrupted one resumes
    from its last checkpoint. The folder is locked while the member is trained.

    Args:
        config: configuration of the member.
        folder: folder of the member; created if missing.

    Returns:
        The summary, which is also in ``summary.json``.

    Raises:
        LosaError: options do not fit the cache, files cannot be used, or the member diverged; the message
            says what to do.
    """
    (outcome,) = adapt_all([Job(config, folder)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def adapt_all(jobs: Sequence[Job]) -> list[Outcome]:
    """Train many members in as few passes over their caches as possible.

    Args:
        jobs: the members. Equal jobs are trained once.

    Returns:
        For each job, in order, the summary that `adapt` would return or the `LosaError` it would raise.
    """
    preparer = JobPreparer()
    find_tokens = functools.cache(tokens_of)
    jobs = [replace(job, config=with_pool(job.config, find_tokens)) for job in jobs]
    different = list(dict.fromkeys(jobs))
    outcomes: dict[Job, Outcome] = {}
    prepared: dict[Path, PreparedJob] = {}
    checking = progress_bar(len(different), "checking jobs", "job", leave=False, delay=_PATIENCE)
    for job in different:
        checking.update()
        folder = job.folder.absolute()
        with _failing_alone(job, outcomes):
            if folder in prepared:
                raise LosaError(
                    f"{job.folder} was given to {prepared[folder].config.member_name} in the same sweep; "
                    f"{job.config.member_name} needs another folder (hydra.sweep.subdir=...)"
                )
            prepared[folder] = preparer.prepare(job)
    checking.close()
    allow_locks(len(different))
    with ExitStack() as locks:
        waiting = _unfinished(with_company(list(prepared.values())), outcomes)
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                _lock(member, locks)
        # Check again: another process may have held a lock until now and finished the member.
        locked = [member for member in waiting if member.job not in outcomes]
        waiting = _unfinished(locked, outcomes, again=True)
        _tell_finished([job for job, outcome in outcomes.items() if isinstance(outcome, MemberSummary)])
        starting: list[PreparedJob] = []
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                starting.append(member.with_checkpoint())
        passes = [some for members in plan_passes(starting) for some in cut_to_memory(members)]
        find_idle = functools.cache(idle_cores)
        for number, members in enumerate(passes, start=1):
            with pass_threads(members, find_idle) as threads:
                _log.info("%s", _described(members, number, len(passes), threads))
                for member, outcome in zip(members, _run(members), strict=True):
                    outcomes[member.job] = outcome
    return [outcomes[job] for job in jobs]


@contextmanager
def _failing_alone(job: Job, outcomes: dict[Job, Outcome]) -> Iterator[None]:
    """A context whose errors become the outcome of a job, and cost the other jobs nothing."""
    try:
        yield
    except LosaError as error:
        outcomes[job] = error
    except OSError as error:
        outcomes[job] = LosaError(f"{error}: {job.folder} is the member's folder; choose another (out=...)")


def _unfinished(
    members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], *, again: bool = False
) -> list[PreparedJob]:
    """The members that are still to be trained; the summaries of the others are their outcomes.

    Args:
        members: members without an outcome.
        outcomes: gets those that are found.
        again: whether they were checked before, and why a summary does not count was told then.
    """
    checked: list[Checked] = []
    for member in members:
        with _failing_alone(member.job, outcomes):
            checked.append((member, member.read_finished(_log.debug if again else _log.warning)))
    unfinished = []
    for member, summary in without_other_companies(checked, warn=not again):
        if summary is None:
            unfinished.append(member)
        else:
            outcomes[member.job] = summary
    return unfinished


def _lock(member: PreparedJob, locks: ExitStack) -> None:
    member.refuse_impossible_residency()
    make_folder(member.job.folder)
    lock = FileLock(member.job.folder)
    locks.callback(lock.release)


def _described(members: Sequence[PreparedJob], number: int, passes: int, threads: int) -> str:
    """The line that is told before a pass."""
    named = members[0].config.member_name if len(members) == 1 else f"{len(members)} members"
    which = f"pass {number} of {passes}: " if passes > 1 else ""
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{which}{named}, {counted} (threads={members[0].config.threads})"


def _tell_finished(jobs: Sequence[Job]) -> None:
    """Log in one line which members are finished already."""
    if len(jobs) == 1:
        _log.info("%s is finished already (overwrite=true trains it again)", jobs[0].folder)
    elif jobs:
        _log.info("%d members are finished already (overwrite=true trains them again)", len(jobs))


def _run(members: Sequence[PreparedJob]) -> Sequence[Outcome]:
    """Run a pass; if memory does not hold it, its halves, one after the other."""
    try:
        return TrainingPass(members).run()
    except LosaError as error:
        found: LosaError | None = error
    except OSError as error:
        found = LosaError(
            f"{error}. {_what_is_kept(members)}: remove the cause and run the same command again"
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found = None
        if len(members) == 1 or members[0].config.halve_at:
            found = LosaError(
                f"{_first_line(error)}. The members of a pass do not fit with one image at a time: train "
                f"fewer at once, with smaller ranks, or with residency=stream. {_what_is_kept(members)}"
            )
    if found is None:
        # Here, where no traceback keeps the tensors of the whole pass.
        _log.warning("memory does not hold %d members at once: they are trained in two parts", len(members))
        half = len(members) // 2
        parts = [[member.resumed() for member in part] for part in (members[:half], members[half:])]
        return [outcome for part in parts for outcome in _run(part)]
    # The frames of the traceback would keep the pass's tensors alive, and later passes need the memory.
    found.__traceback__ = found.__cause__ = found.__context__ = None
    # An error of the cache concerns all members that read it; other passes may read another cache.
    return [found] * len(members)


def _first_line(error: Exception) -> str:
    return (str(error) or "out of memory").splitlines()[0].rstrip(".")


def _what_is_kept(members: Sequence[PreparedJob]) -> str:
    """What is left of a pass that failed."""
    kept = sum(member.files.checkpoint_path.exists() for member in members)
    if kept == len(members):
        return "Checkpoints are kept"
    return f"{kept} of {len(members)} members have a checkpoint" if kept else "No checkpoint was written yet"
