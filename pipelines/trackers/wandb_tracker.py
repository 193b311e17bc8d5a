"""Weights & Biases."""

import os
from collections.abc import Mapping
from typing import Any

from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable


class WandbTracker:
    """One run of W&B, in the project and under the name that its environment variables say."""

    def __init__(self) -> None:
        """Import wandb.

        Raises:
            ImportError: it cannot be imported.
        """
        import wandb

        self._wandb = wandb
        self._run: Any = None

    def start(self, sweep: SweepRun) -> str:
        """Begin a run, or go on with the earlier one, whose id is returned."""
        self._run = self._wandb.init(
            id=os.environ.get("WANDB_RUN_ID", sweep.earlier),
            resume=os.environ.get("WANDB_RESUME", "allow"),
            config={"folder": str(sweep.folder), "options": list(sweep.options)},
        )
        # Its own step never goes back, as the epoch does with the next pass.
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row to the history of the run."""
        self._run.log({"epoch": step, **values})

    def finish(self, table: MembersTable, *, completed: bool) -> None:
        """Log the table, and wait until everything is sent."""
        rows = [list(row) for row in table.rows]
        shown = self._wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)
        self._run.log({"members": shown})
        self._run.finish(exit_code=0 if completed else 1)
