"""What a multirun ends with: the table of its members, and results.csv."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from losa.pipelines.job_failure import JobFailure
from losa.pipelines.job_result import JobResult
from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.result_rows import ResultGroup, ResultRow, ranked, scored_splits
from losa.pipelines.results_file import RESULTS_NAME, write_results
from losa.pipelines.results_table import print_table

_log = logging.getLogger(__name__)


class ResultsTable(Callback):
    """A Hydra callback that collects the results of a multirun's jobs."""

    def __init__(self) -> None:
        self._finished: dict[str, ResultRow] = {}
        self._failed: list[ResultRow] = []
        self._direct = False
        self._to_choose_on: set[str | None] = set()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep the result of a job; two jobs with the same folder count once."""
        if job_return.status is not JobStatus.COMPLETED:
            return
        self._direct |= config.get("protocol") == "direct"
        self._to_choose_on |= {config.get("select_split"), config.get("val_split")}
        result = job_return.return_value
        if isinstance(result, JobResult):
            self._finished[config.hydra.runtime.output_dir] = ResultRow.from_summary(result.summary)
        elif isinstance(result, JobFailure):
            failed = ResultRow.from_failed_job(config, result.reason)
            if failed not in self._failed:
                self._failed.append(failed)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write all members into a file next to the output folders, and print the best."""
        groups = ranked([*self._finished.values(), *self._failed])
        if not groups:
            return
        path = Path(config.hydra.sweep.dir) / RESULTS_NAME
        write_results(path, groups)
        console = PlainConsole()
        splits = scored_splits(list(self._finished.values()))
        if splits:
            why = "" if self._direct else " (select_split)"
            print_table(console, groups, f"{splits[0]}{why}")
            best = next(row.folder for group in groups for row in group.rows if row.accuracy)
            console.print(f"best: {best}", soft_wrap=True)
        told = f"all {len(self._finished) + len(self._failed)} with their folders: {path}"
        console.print(told, soft_wrap=True)
        if splits and self._direct and splits[0] not in self._to_choose_on and _is_choice(groups):
            _log.warning(
                "sorted by accuracy on %s: whoever takes the best of these members chooses on %s, and "
                "its accuracy there is too good to be reported. protocol=select chooses on select_split, "
                "and scores the choice once on eval_split",
                splits[0],
                splits[0],
            )


def _is_choice(groups: Sequence[ResultGroup]) -> bool:
    """Whether there is something to choose: trained members that differ in more than their seeds."""
    return sum(any(row.accuracy for row in group.rows) for group in groups) > 1
