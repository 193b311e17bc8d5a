"""TensorBoard: event files in the sweep's folder."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable

FOLDER = "tensorboard"
"""Name of the folder, in that of the sweep, whose folders are TensorBoard's runs."""


class TensorBoardTracker:
    """A run is the folder ``tensorboard/run-<number>``, with an event file for each command."""

    def __init__(self) -> None:
        """Import TensorBoard.

        Raises:
            ImportError: it cannot be imported.
        """
        from torch.utils import tensorboard

        self._tensorboard = tensorboard
        self._path = Path()

    def start(self, sweep: SweepRun) -> str:
        """Make the folder of the run, or find it."""
        runs = sweep.folder / FOLDER
        name = sweep.earlier or _make_run(runs)
        # TensorBoard reads the files of a run in the order of their names.
        self._path = runs / name / f"events.out.tfevents.{int(time.time()):010d}.losa.{os.getpid()}"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write(file_version="brain.Event:2")
        options = "\n".join(f"    {option}" for option in sweep.options)  # a block of code in Markdown
        self._write(summary=self._tensorboard.summary.text("options", options))
        return name

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add an event with all values."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=points))

    def finish(self, table: MembersTable, *, completed: bool) -> None:  # noqa: ARG002 -- runs have no state
        """Add the table, as a text."""
        self._write(summary=self._tensorboard.summary.text("members", table.to_markdown()))

    def _write(self, **content: Any) -> None:
        """Append an event to the file.

        TensorBoard's own writer appends in a thread, which would print a traceback when the disk is full.
        """
        from tensorboard.compat.proto.event_pb2 import Event

        with self._path.open("ab") as file:
            event = Event(wall_time=time.time(), **content)
            self._tensorboard.RecordWriter(file).write(event.SerializeToString())


def _make_run(runs: Path) -> str:
    """Make the folder of a new run; its name."""
    runs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (runs / f"run-{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return f"run-{number}"
