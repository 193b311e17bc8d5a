"""What the worker that trains a share of a sweep tells of it, and what the command makes of that."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from losa.adapt.members.job import Job
from losa.adapt.members.listener import TrainingListener
from losa.adapt.members.summary import MemberSummary, Outcome
from losa.cache_format.common.progress import ProgressBar
from losa.cache_format.engines import Tell

_SECONDS_BETWEEN = 0.5
"""Time between two reports of steps, which may take less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """Steps were done, or a pass has begun where an earlier one was interrupted."""

    images: int
    """Images that were computed of the share so far, each counted once for every member."""


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """See `TrainingListener.epoch_ended`."""

    first: str
    epoch: int
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class MembersScored:
    """See `TrainingListener.members_scored`."""

    first: str
    summaries: Sequence[MemberSummary]


@dataclass(frozen=True, slots=True)
class JobsEnded:
    """Members are trained, or have failed."""

    outcomes: Sequence[tuple[Job, Outcome]]


class Reporter:
    """A `TrainingListener` that tells what it is told, and counts the images of a share."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._images = 0
        self._last = -_SECONDS_BETWEEN

    def training_starts(self) -> None:
        """Nothing: the command knows."""

    def epoch_ended(self, first: str, epoch: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Tell the numbers of an epoch."""
        self._tell(EpochEnded(first, epoch, metrics))

    def members_scored(self, first: str, summaries: Sequence[MemberSummary]) -> None:
        """Tell the results of a pass."""
        self._tell(MembersScored(first, summaries))

    def advance(self, images: int) -> None:
        """Count images, and tell the sum from time to time."""
        self._images += images
        if time.monotonic() - self._last >= _SECONDS_BETWEEN:
            self._last = time.monotonic()
            self._tell(Advanced(self._images))

    def end(self, outcomes: Mapping[Job, Outcome]) -> None:
        """Tell outcomes, and the sum of the images until then."""
        self._tell(Advanced(self._images))
        self._tell(JobsEnded(list(outcomes.items())))


class ReportedBar:
    """The progress bar of a pass that nobody sees: its progress is reported. See `ProgressBar`."""

    def __init__(self, reporter: Reporter, members: int, total: int, initial: int) -> None:
        """Report what was done before.

        Args:
            reporter: told of the progress.
            members: number of members of the pass.
            total: images of the pass, each counted once.
            initial: how many of them were done before.
        """
        self._reporter = reporter
        self._members = members
        self._left = total
        self.update(initial)

    def update(self, n: int) -> None:
        """Report images."""
        self._left -= n
        self._reporter.advance(n * self._members)

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Nothing: there is no room for the texts of several passes."""

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count the images that the pass did not need, because all of its members were stopped."""
        if error is None:
            self.update(self._left)


class Progress:
    """The progress of all shares in one bar."""

    def __init__(self, bar: ProgressBar, members: int) -> None:
        """Nothing is done yet.

        Args:
            bar: counts the images of all shares, each once for every member.
            members: number of members.
        """
        self._bar = bar
        self._members = members
        self._ended = 0
        self._images: dict[int, int] = {}

    def advance(self, share: int, images: int) -> None:
        """A share has come so far; less far than before, if its worker was lost."""
        self._bar.update(images - self._images.get(share, 0))
        self._images[share] = images

    def end(self, members: int) -> None:
        """Members have ended."""
        self._ended += members
        self._bar.set_postfix_str(f"{self._ended} of {self._members} members", refresh=False)


def receiver(
    listener: TrainingListener | None, outcomes: dict[Job, Outcome], progress: Progress | None
) -> Callable[[int, Any], None]:
    """A function for `Engine.map` that takes the reports of all shares.

    Args:
        listener: told of epochs and results.
        outcomes: gets the outcomes of jobs.
        progress: gets the progress; None if each pass shows its own.
    """

    def receive(share: int, report: Advanced | EpochEnded | MembersScored | JobsEnded) -> None:
        if isinstance(report, JobsEnded):
            outcomes.update(report.outcomes)
            if progress is not None:
                progress.end(len(report.outcomes))
        elif isinstance(report, Advanced):
            if progress is not None:
                progress.advance(share, report.images)
        elif listener is None:
            return
        elif isinstance(report, EpochEnded):
            listener.epoch_ended(report.first, report.epoch, report.metrics)
        else:
            listener.members_scored(report.first, report.summaries)

    return receive
