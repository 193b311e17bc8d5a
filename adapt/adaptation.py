"""The second stage: side networks are trained from caches, scored and saved."""

import functools
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from losa.adapt.config import AdaptConfig
from losa.adapt.members.company import with_company
from losa.adapt.members.division import divide
from losa.adapt.members.job import Job
from losa.adapt.members.listener import TrainingListener
from losa.adapt.members.outcomes import failing_alone, unfinished
from losa.adapt.members.passes import warn_of_several_halvings
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.members.reports import Progress, receiver
from losa.adapt.members.resolution import features_of, resolved
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.members.training_task import Share, TrainingTask
from losa.cache_format import LosaError
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import counted
from losa.cache_format.engines import Engine, LocalEngine
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


def adapt_all(
    jobs: Sequence[Job], listener: TrainingListener | None = None, engine: Engine | None = None
) -> list[Outcome]:
    """Train many members in as few passes over their caches as possible.

    Args:
        jobs: the members. Equal jobs are trained once.
        listener: told of each epoch and of the results of the members that are trained.
        engine: trains them, entered by the caller; None: this process.

    Returns:
        For each job, in order, the summary that `adapt` would return or the `LosaError` it would raise.

    Raises:
        LosaError: jobs have a ``tracker``, and there is no listener to tell it, or an ``engine`` other than
            this process, and none is given; or the engine has no workers any more.
    """
    _refuse_untold_trackers(jobs, listener)
    _refuse_missing_engines(jobs, engine)
    engine = engine or LocalEngine()
    preparer = JobPreparer(engine)
    find = functools.cache(features_of)
    jobs = [replace(job, config=resolved(job.config, find)) for job in jobs]
    different = list(dict.fromkeys(jobs))
    outcomes: dict[Job, Outcome] = {}
    prepared: dict[Path, PreparedJob] = {}
    checking = progress_bar(len(different), "checking jobs", "job", leave=False, delay=_PATIENCE)
    for job in different:
        checking.update()
        folder = job.folder.absolute()
        with failing_alone(job, outcomes):
            if folder in prepared:
                raise LosaError(
                    f"{job.folder} was given to {prepared[folder].config.member_name} in the same sweep; "
                    f"{job.config.member_name} needs another folder (hydra.sweep.subdir=...)"
                )
            prepared[folder] = preparer.prepare(job)
    checking.close()
    allow_locks(len(different))
    with ExitStack() as locks:
        waiting = unfinished(with_company(list(prepared.values())), outcomes)
        changed: dict[Path, None] = {}
        for member in waiting:
            with failing_alone(member.job, outcomes):
                if engine.in_process:
                    member.refuse_impossible()
                changed.update(dict.fromkeys(_lock(member, locks)))
        for folder in changed:
            sync_folder(folder)
        # Check again: another process may have held a lock until now and finished the member.
        locked = [member for member in waiting if member.job not in outcomes]
        waiting = unfinished(locked, outcomes, again=True)
        finished = [job for job, outcome in outcomes.items() if isinstance(outcome, MemberSummary)]
        _tell_finished(finished, len(different))
        if waiting and listener is not None:
            listener.training_starts()
        _train(waiting, outcomes, listener, engine)
    return [_in_order(outcomes[job], job.config.eval_splits) for job in jobs]


def _refuse_untold_trackers(jobs: Sequence[Job], listener: TrainingListener | None) -> None:
    for job in jobs:
        if job.config.tracker is not None and listener is None:
            raise LosaError(
                f"tracker={job.config.tracker}: expected a listener that tells it. losa-adapt has one with "
                "hydra/launcher=fused and basic, which train in its process; from Python, give adapt_all one"
            )


def _refuse_missing_engines(jobs: Sequence[Job], engine: Engine | None) -> None:
    for job in jobs:
        if job.config.engine.kind != "local" and engine is None:
            raise LosaError(
                f"engine={job.config.engine.kind}: expected an engine. losa-adapt makes one; from Python, "
                "give adapt_all one: with make_engine(config.engine, [config.device]) as engine"
            )


def _in_order(outcome: Outcome, splits: Sequence[str]) -> Outcome:
    """An outcome whose scored splits are in the order of the job, which is not always that of the member."""
    return outcome.in_order(splits) if isinstance(outcome, MemberSummary) else outcome


def _lock(member: PreparedJob, locks: ExitStack) -> list[Path]:
    """Lock the member's folder; the folders that got a new entry, to be flushed once for all members."""
    changed = create_folder(member.job.folder)
    lock = FileLock(member.job.folder)
    locks.callback(lock.release)
    return changed


def _train(
    members: Sequence[PreparedJob],
    outcomes: dict[Job, Outcome],
    listener: TrainingListener | None,
    engine: Engine,
) -> None:
    """Train members, whose folders are locked, and add their outcomes."""
    warn_of_several_halvings(members)
    shares = [Share(some) for some in divide(members, engine.workers) if some]
    task = TrainingTask(elsewhere=not engine.in_process)
    if engine.in_process:
        engine.map(task, shares, receiver(listener, outcomes, None))
    elif shares:
        images = sum(share.computed_images for share in shares)
        named = counted(len(members), "member", "members")
        with progress_bar(images, named, "img", unit_scale=True, counts=False) as bar:
            engine.map(task, shares, receiver(listener, outcomes, Progress(bar, len(members))))


def _tell_finished(finished: Sequence[Job], members: int) -> None:
    """Log in one line which members, or how many of them, are finished already."""
    if len(finished) == 1:
        _log.info("%s is finished already (overwrite=true trains it again)", finished[0].folder)
    elif finished:
        told = f"{len(finished)} of {members}" if len(finished) < members else f"all {members}"
        _log.info("%s members are finished already (overwrite=true trains them again)", told)
