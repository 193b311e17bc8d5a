"""The table at the end of a multirun, and results.csv."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

RESULTS_NAME = "results.csv"

_FINISHED = "finished"
_STANDARD = ("side", "rank", "lr", "seed")
_NOT_SHOWN = (*_STANDARD, "eval_split", "out", "overwrite")
"""Options with a column of their own, or that the table tells without."""


class Summary(dict[str, Any]):
    """What a job of losa-adapt returns: a member's summary, as a number its accuracy on the first split.

    Sweepers that optimise, like Optuna's, ask for the number.

    >>> float(Summary(name="a", accuracy={"val200": 0.75, "test": 0.5}))
    0.75
    """

    def __float__(self) -> float:
        """Accuracy on the first scored split."""
        return float(next(iter(self["accuracy"].values())))


class ResultsTable(Callback):
    """A Hydra callback that collects the summaries of a multirun's jobs."""

    def __init__(self) -> None:
        self._finished: dict[str, dict[str, Any]] = {}
        self._failed: list[dict[str, Any]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep the summary of a finished job; two jobs with the same folder count once."""
        if job_return.status is not JobStatus.COMPLETED:
            return
        if job_return.return_value is not None:
            self._finished[config.hydra.runtime.output_dir] = job_return.return_value
        elif (failed := _without_result(config)) not in self._failed:
            self._failed.append(failed)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table, best first, and write it next to the output folders."""
        if self._finished:
            summaries = [*sorted_by_accuracy(list(self._finished.values())), *self._failed]
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
    options = varying_options([summary.get("options", {}) for summary in summaries])
    unfinished = any(_status(summary) != _FINISHED for summary in summaries)
    table = Table()
    table.add_column("side network")
    titles = [
        "rank",
        "lr",
        "seed",
        *options,
        "parameters",
        *(f"{split} accuracy" for split in splits),
        "seconds",
    ]
    for title in titles:
        table.add_column(title, justify="right")
    if unfinished:
        table.add_column("status")
    for summary in summaries:
        parameters, seconds = summary.get("parameters"), summary.get("seconds")
        scores = [summary["accuracy"].get(split) for split in splits]
        cells = [
            *(shown(summary.get(name)) for name in _STANDARD),
            *(shown(summary.get("options", {}).get(name)) for name in options),
            "" if parameters is None else f"{parameters:,}",
            *("" if score is None else f"{score:.4f}" for score in scores),
            "" if seconds is None else f"{seconds:.1f}",
        ]
        if unfinished:
            cells.append(_status(summary).replace(_FINISHED, ""))
        table.add_row(*cells)
    return table


def write_csv(path: Path, summaries: Sequence[dict[str, Any]]) -> None:
    """The same as a file, with every number in full."""
    columns = ["member", *_STANDARD, "parameters", "head_parameters", "train_loss", "seconds"]
    splits = _splits(summaries)
    options = varying_options([summary.get("options", {}) for summary in summaries])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *options, *(f"accuracy.{split}" for split in splits), "status", "folder"])
        for summary in summaries:
            writer.writerow(
                [
                    *(summary.get(name) for name in columns),
                    *(shown(summary.get("options", {}).get(name)) for name in options),
                    *(summary["accuracy"].get(split) for split in splits),
                    _status(summary),
                    summary.get("folder"),
                ]
            )


def varying_options(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of options that differ between the members they concern and have no column of their own."""
    names = dict.fromkeys(name for options in members for name in options if name not in _NOT_SHOWN)
    values = {name: {shown(options[name]) for options in members if name in options} for name in names}
    return [name for name in names if len(values[name]) > 1]


def shown(value: Any) -> str:
    """An option's value as one types it, short."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_result(config: DictConfig) -> dict[str, Any]:
    """A line for a job that failed."""
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    options = OmegaConf.to_container(own, resolve=True)
    assert isinstance(options, dict)
    known = {name: options.get(name) for name in _STANDARD}
    return known | {"options": options, "accuracy": {}, "status": "failed"}


def _status(summary: Mapping[str, Any]) -> str:
    return str(summary.get("status", _FINISHED))


def _splits(summaries: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for summary in summaries for name in summary["accuracy"]))
