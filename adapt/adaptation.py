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
from losa.adapt.members.listener import TrainingListener
from losa.adapt.members.pass_threads import pass_threads
from losa.adapt.members.passes import cut_to_memory, plan_passes
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.members.resolution import features_of, resolved
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.members.training_pass import TrainingPass
from losa.cache_format import LosaError
from losa.cache_format.common.cores import idle_cores
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.storage.atomic_writes import create_folder, sync_folder
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


def adapt_all(jobs: Sequence[Job], listener: TrainingListener | None = None) -> list[Outcome]:
    """Train many members in as few passes over their caches as possible.

    Args:
        jobs: the members. Equal jobs are trained once.
        listener: told of each epoch and of the results of the members that are trained.

    Returns:
        For each job, in order, the summary that `adapt` would return or the `LosaError` it would raise.

    Raises:
        LosaError: jobs have a ``tracker``, and there is no listener to tell it.
    """
    _refuse_untold_trackers(jobs, listener)
    preparer = JobPreparer()
    find = functools.cache(features_of)
    jobs = [replace(job, config=resolved(job.config, find)) for job in jobs]
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
        changed: dict[Path, None] = {}
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                changed.update(dict.fromkeys(_lock(member, locks)))
        for folder in changed:
            sync_folder(folder)
        # Check again: another process may have held a lock until now and finished the member.
        locked = [member for member in waiting if member.job not in outcomes]
        waiting = _unfinished(locked, outcomes, again=True)
        finished = [job for job, outcome in outcomes.items() if isinstance(outcome, MemberSummary)]
        _tell_finished(finished, len(different))
        starting: list[PreparedJob] = []
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                starting.append(member.with_checkpoint())
        passes = [some for members in plan_passes(starting) for some in cut_to_memory(members)]
        find_idle = functools.cache(idle_cores)
        if passes and listener is not None:
            listener.training_starts()
        for number, members in enumerate(passes, start=1):
            with pass_threads(members, find_idle) as threads:
                _log.info("%s", _described(members, number, len(passes), threads))
                _run(members, outcomes, listener)
    return [_in_order(outcomes[job], job.config.eval_splits) for job in jobs]


def _refuse_untold_trackers(jobs: Sequence[Job], listener: TrainingListener | None) -> None:
    for job in jobs:
        if job.config.tracker is not None and listener is None:
            raise LosaError(
                f"tracker={job.config.tracker}: expected a listener that tells it. losa-adapt has one with "
                "hydra/launcher=fused and basic, which train in its process; from Python, give adapt_all one"
            )


def _in_order(outcome: Outcome, splits: Sequence[str]) -> Outcome:
    """An outcome whose scored splits are in the order of the job, which is not always that of the member."""
    return outcome.in_order(splits) if isinstance(outcome, MemberSummary) else outcome


@contextmanager
def _failing_alone(job: Job, outcomes: dict[Job, Outcome]) -> Iterator[None]:
    """A context whose errors become the outcome of a job, and cost the other jobs nothing."""
    try:
        yield
    except LosaError as error:
        outcomes[job] = error
    except OSError as error:
        if is_out_of_memory(error):
            outcomes[job] = _does_not_fit(error)
        else:
            outcomes[job] = LosaError(
                f"{error}: {job.folder} is the member's folder; choose another (out=...)"
            )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        outcomes[job] = _does_not_fit(error)


def _unfinished(
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
        with _failing_alone(member.job, outcomes):
            checked.append((member, member.read_outcome(_log.debug if again else _log.warning)))
    unfinished = []
    for member, outcome in without_other_companies(checked, warn=not again):
        if outcome is None:
            unfinished.append(member)
        else:
            outcomes[member.job] = outcome
    return unfinished


def _lock(member: PreparedJob, locks: ExitStack) -> list[Path]:
    """Lock the member's folder; the folders that got a new entry, to be flushed once for all members."""
    member.refuse_impossible_residency()
    changed = create_folder(member.job.folder)
    lock = FileLock(member.job.folder)
    locks.callback(lock.release)
    return changed


def _described(members: Sequence[PreparedJob], number: int, passes: int, threads: int) -> str:
    """The line that is told before a pass."""
    named = members[0].config.member_name if len(members) == 1 else f"{len(members)} members"
    which = f"pass {number} of {passes}: " if passes > 1 else ""
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{which}{named}, {counted} (threads={members[0].config.threads})"


def _tell_finished(finished: Sequence[Job], members: int) -> None:
    """Log in one line which members, or how many of them, are finished already."""
    if len(finished) == 1:
        _log.info("%s is finished already (overwrite=true trains it again)", finished[0].folder)
    elif finished:
        told = f"{len(finished)} of {members}" if len(finished) < members else f"all {members}"
        _log.info("%s members are finished already (overwrite=true trains them again)", told)


def _run(
    members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], listener: TrainingListener | None
) -> None:
    """Run a pass, whose members get their outcomes; if memory does not hold it, its halves, one by one."""
    try:
        for member, outcome in zip(members, TrainingPass(members, listener).run(), strict=True):
            outcomes[member.job] = outcome
        return
    except LosaError as error:
        found: LosaError | None = error
    except (OSError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            # In parts, unless there is one member. Not here, where the traceback keeps the pass's tensors.
            found = None if len(members) > 1 else _does_not_fit(error, members)
        elif isinstance(error, OSError):
            kept = _what_is_kept(members)
            found = LosaError(f"{error}. {kept}: remove the cause and run the same command again")
        else:
            raise
    if found is None:
        _run_in_parts(members, outcomes, listener)
        return
    # The frames of the traceback would keep the pass's tensors alive, and later passes need the memory.
    found.__traceback__ = found.__cause__ = found.__context__ = None
    # An error of the cache concerns all members that read it; other passes may read another cache.
    outcomes.update({member.job: found for member in members})


def _run_in_parts(
    members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], listener: TrainingListener | None
) -> None:
    """Go on with a pass that memory did not hold, in two parts."""
    _log.warning("memory does not hold %d members at once: they are trained in two parts", len(members))
    if members[0].config.halve_at:
        _log.warning("halve_at compares the members of each part")
    # Those that have ended by then are not in either part.
    rest = _unfinished([member.broken_off() for member in members], outcomes, again=True)
    half = len(rest) // 2
    for part in (rest[:half], rest[half:]):
        starting = []
        for member in part:
            with _failing_alone(member.job, outcomes):
                starting.append(member.with_checkpoint(choose_size=True))
        for one in plan_passes(starting):
            _run(one, outcomes, listener)


def _does_not_fit(error: Exception, members: Sequence[PreparedJob] = ()) -> LosaError:
    """The error for a member that is too large for the memory."""
    first = (str(error) or "out of memory").splitlines()[0].rstrip(".")
    kept = f". {_what_is_kept(members)}" if members else ""
    return LosaError(
        f"{first}. Memory does not hold the member, even with one image at a time: use a smaller rank, fewer "
        f"sites (sites=4) or residency=stream{kept}"
    )


def _what_is_kept(members: Sequence[PreparedJob]) -> str:
    """What is left of a pass that failed."""
    kept = sum(member.files.checkpoint_path.exists() for member in members)
    if kept == len(members):
        return "Checkpoints are kept"
    return f"{kept} of {len(members)} members have a checkpoint" if kept else "No checkpoint was written yet"
