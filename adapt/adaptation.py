"""The second stage: side networks trained from caches, scored, and written down."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from losa.adapt.config import AdaptConfig
from losa.adapt.members.jobs import Job, JobOffice, PreparedJob
from losa.adapt.members.passes import cut_to_memory, plan_passes
from losa.adapt.members.training_pass import Outcome, TrainingPass
from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import make_folder
from losa.cache_format.storage.lock import FileLock, allow_locks

_log = logging.getLogger(__name__)


def adapt(config: AdaptConfig, folder: Path) -> dict[str, Any]:
    """Train one member and write config, metrics, summary and side network into a folder.

    A finished member of the same configuration and cache is not trained again; one that was interrupted goes
    on from its last checkpoint. While it trains, it holds the folder's lock.

    Args:
        config: of the member.
        folder: of the member; created if missing.

    Returns:
        The summary, as it stands in ``summary.json``.

    Raises:
        LosaError: anything the person who started it can mend; the message says how.
    """
    (outcome,) = adapt_all([Job(config, folder)])
    if isinstance(outcome, LosaError):
        raise outcome
    return outcome


def adapt_all(jobs: Sequence[Job]) -> list[Outcome]:
    """Train many members in as few passes over their caches as possible.

    Args:
        jobs: the members. The same one may be there twice; it is trained once.

    Returns:
        For each job, in order, what `adapt` would have returned or raised.
    """
    office = JobOffice()
    different = list(dict.fromkeys(jobs))
    outcomes: dict[Job, Outcome] = {}
    prepared: dict[Path, PreparedJob] = {}
    allow_locks(len(different))
    with ExitStack() as locks:
        for job in different:
            folder = job.folder.absolute()
            try:
                if folder in prepared:
                    raise LosaError(
                        f"{job.folder} was given to {prepared[folder].config.member_name} in the same sweep; "
                        f"{job.config.member_name} needs another folder (hydra.sweep.subdir=...)"
                    )
                ready = _lock_and_prepare(office, job, locks)
            except LosaError as error:
                outcomes[job] = error
                continue
            except OSError as error:
                outcomes[job] = LosaError(
                    f"{error}: {job.folder} is the member's folder; choose another (out=...)"
                )
                continue
            if isinstance(ready, PreparedJob):
                prepared[folder] = ready
            else:
                outcomes[job] = ready
        passes = [part for members in plan_passes(list(prepared.values())) for part in cut_to_memory(members)]
        for number, members in enumerate(passes, start=1):
            if len(passes) > 1:
                _log.info("pass %d of %d: %d members", number, len(passes), len(members))
            for member, outcome in zip(members, _run(members), strict=True):
                outcomes[member.job] = outcome
    return [outcomes[job] for job in jobs]


def _lock_and_prepare(office: JobOffice, job: Job, locks: ExitStack) -> PreparedJob | dict[str, Any]:
    ready = office.prepare(job)
    if not isinstance(ready, PreparedJob):
        return ready
    make_folder(job.folder)
    lock = FileLock(job.folder)
    locks.callback(lock.release)
    # Once more: another process may have had the lock until now.
    return ready.looked_up()


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
        found = LosaError(f"{error}. Checkpoints are kept: mend the cause and run the same command again")
    # Its frames hold what the pass had in memory, which those that follow need.
    found.__traceback__ = found.__cause__ = found.__context__ = None
    # What concerns the cache concerns all that read it; other passes may read another one.
    return [found] * len(members)
