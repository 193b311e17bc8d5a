"""The second stage: side networks are trained from caches, scored and saved."""

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from losa.adapt.config import AdaptConfig
from losa.adapt.members.company import Checked, with_company, without_other_companies
from losa.adapt.members.job import Job
from losa.adapt.members.passes import cut_to_memory, plan_passes
from losa.adapt.members.pool import tokens_of, with_pool
from losa.adapt.members.preparation import JobPreparer, PreparedJob
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.adapt.members.training_pass import TrainingPass
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import create_folder, sync_folder
from losa.cache_format.storage.lock import FileLock, allow_locks

_log = logging.getLogger(__name__)


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
    for job in different:
        folder = job.folder.absolute()
        with _failing_alone(job, outcomes):
            if folder in prepared:
                raise LosaError(
                    f"{job.folder} was given to {prepared[folder].config.member_name} in the same sweep; "
                    f"{job.config.member_name} needs another folder (hydra.sweep.subdir=...)"
                )
            prepared[folder] = preparer.prepare(job)
    allow_locks(len(different))
    with ExitStack() as locks:
        waiting = _unfinished(with_company(list(prepared.values())), outcomes, warn=True)
        changed: dict[Path, None] = {}
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                changed.update(dict.fromkeys(_lock(member, locks)))
        for folder in changed:
            sync_folder(folder)
        # Check again: another process may have held a lock until now and finished the member.
        locked = [member for member in waiting if member.job not in outcomes]
        waiting = _unfinished(locked, outcomes, warn=False)
        starting: list[PreparedJob] = []
        for member in waiting:
            with _failing_alone(member.job, outcomes):
                starting.append(member.with_checkpoint())
        passes = [some for members in plan_passes(starting) for some in cut_to_memory(members)]
        for number, members in enumerate(passes, start=1):
            if len(passes) > 1:
                _log.info("pass %d of %d: %d members", number, len(passes), len(members))
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
    members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], *, warn: bool
) -> list[PreparedJob]:
    """The members that are still to be trained; the summaries of the others are their outcomes."""
    checked: list[Checked] = []
    for member in members:
        with _failing_alone(member.job, outcomes):
            checked.append((member, member.read_finished()))
    unfinished, finished = [], []
    for member, summary in without_other_companies(checked, warn=warn):
        if summary is None:
            unfinished.append(member)
        else:
            finished.append(member.job)
            outcomes[member.job] = summary
    if len(finished) == 1:
        _log.info("%s is finished already (overwrite=true trains it again)", finished[0].folder)
    elif finished:
        told = f"{len(finished)} of {len(members)}" if unfinished else f"all {len(finished)}"
        _log.info("%s members are finished already (overwrite=true trains them again)", told)
    return unfinished


def _lock(member: PreparedJob, locks: ExitStack) -> list[Path]:
    """Lock the member's folder; the folders that got a new entry, to be flushed once for all members."""
    member.refuse_impossible_residency()
    changed = create_folder(member.job.folder)
    lock = FileLock(member.job.folder)
    locks.callback(lock.release)
    return changed


def _run(members: Sequence[PreparedJob]) -> Sequence[Outcome]:
    try:
        return TrainingPass(members).run()
    except LosaError as error:
        found: LosaError = error
    except torch.OutOfMemoryError as error:
        found = LosaError(
            f"{error}. The members of a pass do not fit with one image at a time: train fewer at once, with "
            "smaller ranks, or with residency=stream. Checkpoints are kept"
        )
    except OSError as error:
        found = LosaError(f"{error}. Checkpoints are kept: remove the cause and run the same command again")
    # The frames of the traceback would keep the pass's tensors alive, and later passes need the memory.
    found.__traceback__ = found.__cause__ = found.__context__ = None
    # An error of the cache concerns all members that read it; other passes may read another cache.
    return [found] * len(members)
