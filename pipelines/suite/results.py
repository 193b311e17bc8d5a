"""The files of a suite: results.csv, results.json and table.md, whole after each task."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from losa.cache_format.storage.atomic_writes import publish_files
from losa.pipelines.csv_text import csv_text
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.published import PublishedResults
from losa.pipelines.suite.scores import TaskResult
from losa.pipelines.suite.tables import SuiteTables
from losa.pipelines.suite.tasks import Suite
from losa.pipelines.text_table import TextTable, markdown_of

CSV_NAME = "results.csv"
JSON_NAME = "results.json"
TABLE_NAME = "table.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResults:
    """What is known of the tasks of a suite so far."""

    suite: Suite
    config: SuiteConfig
    candidates: Candidates
    missing: Sequence[str]
    """Tasks of the suite that are not there, or that were not asked for."""
    waiting: Sequence[str]
    """Tasks whose turn has not come yet."""
    results: Sequence[TaskResult]
    published: PublishedResults

    def tables(self) -> list[TextTable]:
        """The tables; the last one says which tasks have scores, and which are missing."""
        config = self.config
        seeds = "one seed" if config.seeds == 1 else f"mean ± standard error of {config.seeds} seeds"
        about = TextTable(
            above=[
                f"{config.backbone.name}, frozen; {seeds}; the test split was scored once, after the choice."
            ],
            titles=["tasks", "which"],
            labels=2,
            lines=[
                [title, ", ".join(names)]
                for title, names in (
                    ("scored", [result.task for result in self.results if result.scores]),
                    ("failed", [result.task for result in self.results if result.failures]),
                    ("not run yet", self.waiting),
                    ("missing", self.missing),
                )
                if names
            ],
            below=[f"{result.task}: {failure}" for result in self.results for failure in result.failures],
        )
        scored = SuiteTables(self.suite, self.results, self.candidates, self.published)
        return [*scored.all(), about]

    def write(self) -> None:
        """Write all files. Each is replaced whole."""
        texts = {
            CSV_NAME: self._csv(),
            TABLE_NAME: markdown_of(self.tables()),
            JSON_NAME: json.dumps(self._json(), indent=2) + "\n",
        }
        publish_files(self.config.folder, {name: text.encode() for name, text in texts.items()})

    def _csv(self) -> str:
        """A line for each final member."""
        return csv_text(_COLUMNS[:3] + tuple(self.config.sweep) + _COLUMNS[3:], self._rows())

    def _rows(self) -> list[list[Any]]:
        return [
            [
                result.task,
                result.group,
                score.line,
                *(score.options.get(name) for name in self.config.sweep),
                seed,
                accuracy,
                score.test_images,
                score.candidates,
                score.selected_on,
                score.selection_accuracy,
                score.parameters,
                score.head_parameters,
                folder,
            ]
            for result in self.results
            for score in result.scores
            for seed, (accuracy, folder) in enumerate(zip(score.accuracies, score.folders, strict=True))
        ]

    def _json(self) -> dict[str, Any]:
        return {
            "suite": self.suite.name,
            "config": asdict(self.config),
            "missing": list(self.missing),
            "waiting": list(self.waiting),
            "tasks": [asdict(result) for result in self.results],
            "published": asdict(self.published),
        }


_COLUMNS = (
    "task",
    "group",
    "line",
    "seed",
    "accuracy",
    "test_images",
    "candidates",
    "selected_on",
    "selection_accuracy",
    "parameters",
    "head_parameters",
    "folder",
)
