"""MLflow."""

import os
import time
from collections.abc import Mapping

from losa.pipelines.trackers.base import SweepRun
from losa.pipelines.trackers.members_table import MembersTable

TABLE_NAME = "members.csv"
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own defaults would keep a training waiting for a quarter of an hour when the server is gone."""


class MlflowTracker:
    """One run of MLflow, in the store and the experiment that its environment variables say."""

    def __init__(self) -> None:
        """Import MLflow.

        Raises:
            ImportError: it cannot be imported.
        """
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.entities import Metric

        self._mlflow, self._metric = mlflow, Metric
        self._run = ""

    def start(self, sweep: SweepRun) -> str:
        """Begin a run, or go on with the earlier one, whose id is returned."""
        run = self._mlflow.start_run(
            run_id=os.environ.get("MLFLOW_RUN_ID", sweep.earlier),
            tags={"losa.folder": str(sweep.folder), "losa.options": " ".join(sweep.options)},
        )
        self._run = str(run.info.run_id)
        return self._run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log all values in one request."""
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._mlflow.MlflowClient().log_batch(self._run, metrics=metrics)

    def finish(self, table: MembersTable, *, completed: bool) -> None:
        """Store the table as the artifact ``members.csv``, and end the run."""
        self._mlflow.MlflowClient().log_text(self._run, table.to_csv(), TABLE_NAME)
        self._mlflow.end_run("FINISHED" if completed else "FAILED")
