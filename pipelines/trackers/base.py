"""What a tracker is told of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from losa.pipelines.trackers.members_table import MembersTable


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """What a tracker shows as one run: a sweep, or a training of a single member."""

    folder: Path
    """Absolute path of the sweep's folder."""
    options: Sequence[str]
    """The options as they were typed, those that can change a result."""
    earlier: str | None
    """What `Tracker.start` returned for the same sweep before it was interrupted; None for a new run."""


class Tracker(Protocol):
    """Shows numbers of a sweep while it trains, in one run.

    Errors may be raised by every method; the caller takes care that they end no training. Constructing a
    tracker raises an ImportError if its package is missing. Its own environment variables decide the rest:
    where a run is kept, what it is called, who signs in.
    """

    def start(self, sweep: SweepRun) -> str:
        """Begin a run, or go on with the earlier one, and return the name by which it can go on later."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of some series.

        Args:
            step: epoch, from 0. Another pass begins with epoch 0 again, in other series.
            values: finite numbers by the name of their series, of letters, digits and the signs ``._-/``.
        """

    def finish(self, table: MembersTable, *, completed: bool) -> None:
        """Show the members of the sweep, and end the run.

        Args:
            table: all members with a result, those included that were finished before.
            completed: whether every job has a result.
        """
