"""The table at the end of a multirun, and results.csv."""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table

from losa.adapt import MemberSummary
from losa.pipelines.plain_console import PlainConsole

_log = logging.getLogger(__name__)

RESULTS_NAME = "results.csv"

_FINISHED = "finished"
_STANDARD = ("side", "rank", "lr", "seed")
"""Options that always have a column."""
SEEDS = ("seed", "data_seed")
_NOT_SHOWN = (*_STANDARD, "eval_split", "out", "overwrite")
"""Options that never have a further column."""


@dataclass(frozen=True)
class JobResult:
    """What a job of losa-adapt returns to Hydra.

    As a number it is the accuracy on the first scored split, which sweepers that optimise (Optuna) need.
    """

    summary: MemberSummary

    def __float__(self) -> float:
        """Accuracy on the first scored split."""
        return float(next(iter(self.summary.accuracy.values())))


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A row of the table: the results of a member, or the options of a job that failed."""

    side: Any
    rank: Any
    lr: Any
    seed: Any
    options: Mapping[str, Any]
    status: str
    accuracy: Mapping[str, float] = field(default_factory=dict)
    member: str | None = None
    parameters: int | None = None
    head_parameters: int | None = None
    train_loss: float | None = None
    seconds: float | None = None
    folder: str | None = None

    @classmethod
    def from_summary(cls, summary: MemberSummary) -> "ResultRow":
        """The row of a trained member."""
        return cls(
            side=summary.side,
            rank=summary.rank,
            lr=summary.lr,
            seed=summary.seed,
            options=summary.options,
            status=summary.status,
            accuracy=summary.accuracy,
            member=summary.member,
            parameters=summary.parameters,
            head_parameters=summary.head_parameters,
            train_loss=summary.train_loss,
            seconds=summary.seconds,
            folder=summary.folder,
        )

    @classmethod
    def from_failed_job(cls, config: DictConfig) -> "ResultRow":
        """The row of a job without a result; its options may be invalid."""
        own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        try:
            options = OmegaConf.to_container(own, resolve=True)
        except OmegaConfBaseException:  # the job failed because ${...} refers to nothing
            options = OmegaConf.to_container(own, resolve=False)
        assert isinstance(options, dict)
        if options.get("pool") == "auto":  # members have the pool that it stands for
            del options["pool"]
        return cls(
            side=options.get("side"),
            rank=options.get("rank"),
            lr=options.get("lr"),
            seed=options.get("seed"),
            options={str(name): value for name, value in options.items()},
            status="failed",
        )


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
        elif (failed := ResultRow.from_failed_job(config)) not in self._failed:
            self._failed.append(failed)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table, best member first, and write it next to the output folders."""
        if self._finished:
            rows = [*sorted_by_accuracy(list(self._finished.values())), *self._failed]
            path = Path(config.hydra.sweep.dir) / RESULTS_NAME
            write_csv(path, rows)
            PlainConsole().print(results_table(rows))
            PlainConsole(soft_wrap=True).print(str(path))
            split = next(iter(_splits(rows)))
            if self._direct and split not in self._to_choose_on and _is_choice(list(self._finished.values())):
                _log.warning(
                    "sorted by accuracy on %s: whoever takes the best of these members chooses on %s, and "
                    "its accuracy there is too good to be reported. protocol=select chooses on select_split, "
                    "and scores the choice once on eval_split",
                    split,
                    split,
                )


def sorted_by_accuracy(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Best first, by the first scored split; members that were not scored on it come last."""
    splits = _splits(rows)
    return sorted(rows, key=lambda row: [-row.accuracy.get(split, -1.0) for split in splits])


def results_table(rows: Sequence[ResultRow]) -> Table:
    """The table that is printed, one line for each row."""
    splits = _splits(rows)
    options = varying_options([row.options for row in rows])
    with_status = any(row.status != _FINISHED for row in rows)
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
    if with_status:
        table.add_column("status")
    for row in rows:
        scores = [row.accuracy.get(split) for split in splits]
        cells = [
            *(shown(value) for value in (row.side, row.rank, row.lr, row.seed)),
            *(shown(row.options.get(name)) for name in options),
            "" if row.parameters is None else f"{row.parameters:,}",
            *("" if score is None else f"{score:.4f}" for score in scores),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        ]
        if with_status:
            cells.append(row.status.replace(_FINISHED, ""))
        table.add_row(*map(visible, cells))
    return table


def write_csv(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write the table to a file, with every number in full."""
    splits = _splits(rows)
    options = varying_options([row.options for row in rows])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("member", *_STANDARD, "parameters", "head_parameters", "train_loss", "seconds"),
                *options,
                *(f"accuracy.{split}" for split in splits),
                *("status", "folder"),
            ]
        )
        for row in rows:
            writer.writerow(
                [
                    *(row.member, row.side, row.rank, row.lr, row.seed),
                    *(row.parameters, row.head_parameters, row.train_loss, row.seconds),
                    *(shown(row.options.get(name)) for name in options),
                    *(row.accuracy.get(split) for split in splits),
                    *(row.status, row.folder),
                ]
            )


def varying_options(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of options that differ between the members that have them, without those in `_NOT_SHOWN`."""
    names = dict.fromkeys(name for options in members for name in options if name not in _NOT_SHOWN)
    values = {name: {shown(options[name]) for options in members if name in options} for name in names}
    return [name for name in names if len(values[name]) > 1]


def shown(value: Any) -> str:
    """An option's value as it is typed on the command line, shortened."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_choice(rows: Sequence[ResultRow]) -> bool:
    """Whether there is something to choose: members that differ in more than their seeds."""
    unseeded = [
        {name: shown(value) for name, value in row.options.items() if name not in SEEDS} for row in rows
    ]
    return any(options != unseeded[0] for options in unseeded)


def _splits(rows: Sequence[ResultRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.accuracy))
