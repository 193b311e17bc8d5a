"""The training of members as a task of an engine."""

import functools
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from losa.adapt.config import AdaptConfig
from losa.adapt.free_memory import is_cuda, is_out_of_memory
from losa.adapt.kernels import MOST_CHANNELS, kernels_told
from losa.adapt.members.job import Job
from losa.adapt.members.outcomes import does_not_fit, failing_alone, unfinished, what_is_kept
from losa.adapt.members.pass_threads import pass_threads
from losa.adapt.members.passes import cut_to_memory, plan_passes
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.members.reports import Advanced, ReportedBar, Reporter
from losa.adapt.members.summary import Outcome
from losa.adapt.members.training_pass import TrainingPass
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.cache_format.common.cores import idle_cores
from losa.cache_format.common.emulated_dtypes import warn_if_emulated
from losa.cache_format.common.progress import OpenBar, progress_bar
from losa.cache_format.common.units import counted
from losa.cache_format.engines import Tell

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    """The members that one worker trains. Their folders are locked by the command."""

    members: Sequence[PreparedJob]
    broken_off: bool = False
    """Whether a worker was lost with them, which may have finished some."""

    @property
    def computed_images(self) -> int:
        """Images to compute, each counted once for every member."""
        return sum(member.computed_images for member in self.members)


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """Trains a share, in as few passes as possible, and tells `losa.adapt.members.reports`."""

    elsewhere: bool
    """Whether it runs on another machine, whose files and memory are not those that the command has seen."""

    def __call__(self, share: Share, tell: Tell) -> None:
        """Train the members of a share; each outcome is told as soon as its pass has ended."""
        reporter = Reporter(tell)
        outcomes: dict[Job, Outcome] = {}
        members = list(share.members)
        if share.broken_off:
            members = unfinished(members, outcomes, again=True)
        if self.elsewhere:
            members = _usable_here(members, outcomes)
            if not share.broken_off:
                _begin_anew(members, outcomes)
            # From here on there may be something to go on from.
            tell(Advanced(0))
        starting: list[PreparedJob] = []
        for member in members:
            with failing_alone(member.job, outcomes):
                starting.append(member.with_checkpoint())
        passes = [some for members in plan_passes(starting) for some in cut_to_memory(members)]
        find_idle = functools.cache(idle_cores)
        reporter.end(outcomes)
        for number, some in enumerate(passes, start=1):
            with pass_threads(some, find_idle) as threads:
                _log.info("%s", _described(some, number, len(passes), threads))
                ended: dict[Job, Outcome] = {}
                self._run(some, ended, reporter)
                reporter.end(ended)

    def rest(self, share: Share, told: int) -> Share:
        """The same members: each goes on from its checkpoint, and those that are finished are found."""
        return Share([member.broken_off() for member in share.members], broken_off=True) if told else share

    def _open_bar(self, members: Sequence[PreparedJob], reporter: Reporter) -> OpenBar:
        """What shows the progress of a pass: a bar, or whoever is told."""
        if not self.elsewhere:
            return progress_bar

        def open_bar(total: int, *_: Any, initial: int, **__: Any) -> ReportedBar:
            return ReportedBar(reporter, len(members), total, initial)

        return open_bar

    def _run(self, members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], reporter: Reporter) -> None:
        """Run a pass, whose members get their outcomes; if memory does not hold it, its halves in turn."""
        try:
            found_by_pass = TrainingPass(members, reporter, self._open_bar(members, reporter)).run()
            outcomes.update(zip((member.job for member in members), found_by_pass, strict=True))
            return
        except LosaError as error:
            found: LosaError | None = error
        except (OSError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                # In parts, unless there is one member. Not here: the traceback keeps the pass's tensors.
                found = None if len(members) > 1 else does_not_fit(error, members)
            elif isinstance(error, OSError):
                kept = what_is_kept(members)
                found = LosaError(f"{error}. {kept}: remove the cause and run the same command again")
            else:
                raise
        if found is None:
            self._run_in_parts(members, outcomes, reporter)
            return
        # The frames of the traceback would keep the pass's tensors alive, and later passes need the memory.
        found.__traceback__ = found.__cause__ = found.__context__ = None
        # An error of the cache concerns all members that read it; other passes may read another cache.
        outcomes.update({member.job: found for member in members})

    def _run_in_parts(
        self, members: Sequence[PreparedJob], outcomes: dict[Job, Outcome], reporter: Reporter
    ) -> None:
        """Go on with a pass that memory did not hold, in two parts."""
        _log.warning("memory does not hold %d members at once: they are trained in two parts", len(members))
        if members[0].config.halve_at:
            _log.warning("halve_at compares the members of each part")
        # Those that have ended by then are not in either part.
        rest = unfinished([member.broken_off() for member in members], outcomes, again=True)
        half = len(rest) // 2
        for part in (rest[:half], rest[half:]):
            starting = []
            for member in part:
                with failing_alone(member.job, outcomes):
                    starting.append(member.with_checkpoint(choose_size=True))
            for one in plan_passes(starting):
                self._run(one, outcomes, reporter)


def _usable_here(members: Sequence[PreparedJob], outcomes: dict[Job, Outcome]) -> list[PreparedJob]:
    """The members whose folders are seen, and whose images fit where they are to be kept."""
    usable = []
    for member in members:
        with failing_alone(member.job, outcomes):
            if not member.job.folder.is_dir():
                raise LosaError(
                    f"{member.job.folder}: {socket.gethostname()} does not see this folder, which is there "
                    "for the command: put out=... and the cache on a file system that all machines share"
                )
            warn_if_emulated(member.config.dtype, member.device)
            member.refuse_impossible()
            usable.append(member)
    return usable


def _begin_anew(members: Sequence[PreparedJob], outcomes: dict[Job, Outcome]) -> None:
    """Remove what members with overwrite=true have: a worker that comes after a lost one goes by it."""
    for member in members:
        if member.config.overwrite:
            with failing_alone(member.job, outcomes):
                member.files.start(0)


def _described(members: Sequence[PreparedJob], number: int, passes: int, threads: int) -> str:
    """The line that is told before a pass."""
    named = members[0].config.member_name if len(members) == 1 else f"{len(members)} members"
    which = f"pass {number} of {passes}: " if passes > 1 else ""
    told = counted(threads, "thread", "threads")
    device = members[0].device
    kernels = ""
    if is_cuda(device):  # they compute more than attention there, for all kinds of side networks
        kernels = f", {kernels_told(device)}"
    elif any(_has_narrow_heads(member.config) for member in members):
        kernels = f", attention by {kernels_told(device)}"
    return f"{which}{named}, {told} (threads={members[0].config.threads}){kernels}"


def _has_narrow_heads(config: AdaptConfig) -> bool:
    """Whether kernels compute attention, if they are there."""
    return SIDE_NETWORKS[config.side].attends and config.resolved_rank // config.heads <= MOST_CHANNELS
