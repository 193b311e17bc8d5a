"""What a job of a multirun returns to Hydra if it failed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JobFailure:
    """A job that failed for a reason that people can mend. It is no number: to Optuna, the trial failed."""

    reason: str
