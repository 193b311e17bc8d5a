"""A sweep that a tracker follows."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from losa.adapt import MemberSummary
from losa.adapt.config import TrackerName
from losa.cache_format import LosaError
from losa.pipelines.trackers import Tracker
from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable
from losa.pipelines.trackers.run_names import RunName
from losa.pipelines.trackers.series import MOST_MEMBERS, own_series, pass_series

_log = logging.getLogger(__name__)


class TrackedSweep:
    """Tells a tracker of a sweep: a `TrainingListener` whose calls never fail.

    The run begins when there is something to tell. A tracker that fails is left out from then on.
    """

    def __init__(
        self, tracker: Tracker, name: TrackerName, folder: Path, options: Sequence[str], *, anew: bool
    ) -> None:
        """Tell nothing yet.

        Args:
            tracker: the tracker.
            name: its name.
            folder: the sweep's folder.
            options: options of the command, by which an earlier run of the same sweep is found.
            anew: whether to begin a run although there is an earlier one.
        """
        self._tracker: Tracker | None = tracker
        self._name = name
        self._folder = folder.absolute()
        self._options = options
        self._anew = anew
        self._started = False
        self._members: set[str] = set()
        self._summaries: dict[str, MemberSummary] = {}

    def expect(self, members: Sequence[str]) -> None:
        """Count members, by their names, that belong to the sweep, whether they are finished or not."""
        self._members.update(members)

    def training_starts(self) -> None:
        """Begin the run, or go on with the earlier one."""
        if not self._started:
            self._started = True
            self._tell(self._start)

    def epoch_ended(self, first: str, epoch: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add the numbers of an epoch to the series."""
        values = self._series(first, metrics)
        self._tell(lambda tracker: tracker.log(epoch, values))

    def members_scored(self, first: str, summaries: Sequence[MemberSummary]) -> None:
        """Add the accuracies, at the last epoch of the pass."""
        scores = {
            summary.name: {f"accuracy/{split}": score for split, score in summary.accuracy.items()}
            for summary in summaries
        }
        values = self._series(first, scores)
        last = max(summary.epochs for summary in summaries) - 1
        self._tell(lambda tracker: tracker.log(last, values))

    def collect(self, summaries: Sequence[MemberSummary]) -> None:
        """Keep results for the table, those of members that were finished before among them."""
        self._summaries.update({summary.name: summary for summary in summaries})

    def finish(self, *, completed: bool) -> None:
        """Show the table and end the run, if there is anything to show.

        Args:
            completed: whether every job has a result.
        """
        if self._summaries:
            self.training_starts()
        if self._started:
            table = MembersTable.of(list(self._summaries.values()))
            self._tell(lambda tracker: tracker.finish(table, completed=completed))

    def _start(self, tracker: Tracker) -> None:
        name = RunName(self._folder, self._name, self._options)
        earlier = None if self._anew else name.read()
        sweep = SweepRun(folder=self._folder, options=self._options, earlier=earlier)
        try:
            name.write(tracker.start(sweep))
        except Exception as error:
            if earlier is None:
                raise
            raise LosaError(
                f"{error}; it was to go on with the run {earlier}, which {name.path} names: remove that file "
                "to begin another"
            ) from error

    def _series(self, first: str, members: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        is_large = len(self._members) > MOST_MEMBERS
        return pass_series(first, members) if is_large else own_series(members)

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        """Call the tracker, unless it has failed before."""
        if self._tracker is None:
            return
        try:
            call(self._tracker)
        except Exception as error:  # of any library: a training of days must not end with it
            self._tracker = None
            _log.warning(
                "tracker=%s has failed and is told nothing more; the training is not affected (%s: %s)",
                self._name,
                type(error).__name__,
                " ".join(str(error).split()),
            )
