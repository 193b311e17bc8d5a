"""The table at the end of a multirun, and results.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

RESULTS_NAME = "results.csv"


class ResultsTable(Callback):
    """A Hydra callback that collects the summaries of a multirun's jobs."""

    def __init__(self) -> None:
        self._summaries: dict[str, dict[str, Any]] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep the summary of a finished job; two jobs with the same folder count once."""
        if job_return.status is JobStatus.COMPLETED and job_return.return_value is not None:
            self._summaries[config.hydra.runtime.output_dir] = job_return.return_value

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table, best first, and write it next to the output folders."""
        if self._summaries:
            summaries = sorted_by_accuracy(list(self._summaries.values()))
            path = Path(config.hydra.sweep.dir) / RESULTS_NAME
            write_csv(path, summaries)
            Console().print(results_table(summaries))
            Console().print(f"{path}", highlight=False)


def sorted_by_accuracy(summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best first, by the first scored split; members that were not scored on it come last."""
    splits = _splits(summaries)
    return sorted(summaries, key=lambda summary: [-summary["accuracy"].get(split, -1.0) for split in splits])


def results_table(summaries: Sequence[dict[str, Any]]) -> Table:
    """One line for each member."""
    splits = _splits(summaries)
    table = Table()
    table.add_column("side network")
    for title in ("rank", "lr", "seed", "parameters", *(f"{split} accuracy" for split in splits), "seconds"):
        table.add_column(title, justify="right")
    for summary in summaries:
        rank = "" if summary["rank"] is None else str(summary["rank"])
        scores = [summary["accuracy"].get(split) for split in splits]
        accuracies = ["" if score is None else f"{score:.4f}" for score in scores]
        table.add_row(
            summary["side"],
            rank,
            f"{summary['lr']:g}",
            str(summary["seed"]),
            f"{summary['parameters']:,}",
            *accuracies,
            f"{summary['seconds']:.1f}",
        )
    return table


def write_csv(path: Path, summaries: Sequence[dict[str, Any]]) -> None:
    """The same as a file, with every number in full."""
    columns = [
        "member",
        "side",
        "rank",
        "lr",
        "seed",
        "parameters",
        "head_parameters",
        "train_loss",
        "seconds",
    ]
    splits = _splits(summaries)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *(f"accuracy.{split}" for split in splits), "folder"])
        for summary in summaries:
            accuracies = [summary["accuracy"].get(split) for split in splits]
            writer.writerow([*(summary[name] for name in columns), *accuracies, summary["folder"]])


def _splits(summaries: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for summary in summaries for name in summary["accuracy"]))
