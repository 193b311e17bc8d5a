"""protocol=select: choose on a validation split, train the choice, score it once on the test split."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from losa.adapt import AdaptConfig, Job, MemberSummary
from losa.adapt.members.member_folder import member_folder
from losa.adapt.members.resolution import resolved
from losa.adapt.members.shared_images import refuse_choice_on_scored_images
from losa.adapt.members.splits import refuse_missing_splits
from losa.adapt.members.summary import Outcome
from losa.cache_format import Cache, LosaError
from losa.cache_format.storage.atomic_writes import publish
from losa.pipelines.outcomes import summary_of
from losa.pipelines.plain_text import visible
from losa.pipelines.shown_options import SEEDS, shown, varying_options
from losa.pipelines.tracked_training import train

_log = logging.getLogger(__name__)

SELECTED_NAME = "selected.json"
SELECTED_FOLDER = "selected"

_TASK = ("cache", "label", "train_split", "eval_split", "select_train_split", "select_split")
"""Options that configurations must share to be compared."""


def as_candidate(config: AdaptConfig) -> AdaptConfig:
    """The member to train while choosing: on the smaller split, scored on the split to choose on."""
    if config.protocol == "direct":
        return config
    return replace(
        config, protocol="direct", train_split=config.select_train_split, eval_split=config.select_split
    )


def as_final(config: AdaptConfig, stop_after: int | None = None) -> AdaptConfig:
    """The member to train once chosen, without its validation images, which are now trained on.

    Args:
        config: the chosen configuration.
        stop_after: number of epochs to train; None for as many as requested.
    """
    return replace(
        config,
        protocol="direct",
        val_split=None,
        patience=None,
        halve_at=[],
        stop_after=stop_after or config.stop_after,
    )


def candidate_of(job: Job) -> Job:
    """The job to train while choosing.

    Raises:
        LosaError: a split that is needed after the choice is missing, or shares images with one to choose on.
    """
    if job.config.protocol == "select":
        cache = Cache(job.config.cache)
        refuse_missing_splits(cache, job.config)
        refuse_choice_on_scored_images(cache, job.config)
    return replace(job, config=as_candidate(job.config))


@dataclass(frozen=True)
class Candidate:
    """The requested configuration of a job, and its outcome while choosing."""

    config: AdaptConfig
    outcome: Outcome

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the split to choose on; None for a member that failed or was dropped by halving."""
        if isinstance(self.outcome, Exception) or self.outcome.status == "pruned":
            return None
        return self.outcome.accuracy.get(self.config.select_split)


@dataclass(frozen=True)
class Configuration:
    """Candidates that differ only in their seeds."""

    candidates: Sequence[Candidate]

    @property
    def complete(self) -> bool:
        """Whether every seed has a score: a mean over only the seeds that did well would be too high."""
        return all(candidate.accuracy is not None for candidate in self.candidates)

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the seeds, rounded so that means of equal scores are equal."""
        scores = [candidate.accuracy for candidate in self.candidates]
        return round(statistics.fmean(score for score in scores if score is not None), 9)

    @property
    def best_epochs(self) -> int | None:
        """Number of epochs after which patience found the seeds best, on average; None without patience."""
        best = [
            candidate.outcome.best_epoch + 1
            for candidate in self.candidates
            if isinstance(candidate.outcome, MemberSummary) and candidate.outcome.best_epoch is not None
        ]
        return round(statistics.fmean(best)) if best else None

    @property
    def parameters(self) -> int:
        """Number of parameters of the side network."""
        outcome = self.candidates[0].outcome
        return 0 if isinstance(outcome, Exception) else outcome.parameters

    @property
    def options(self) -> dict[str, Any]:
        """All options except the seeds."""
        options = asdict(self.candidates[0].config)
        return {name: value for name, value in options.items() if name not in SEEDS}


def configurations(candidates: Sequence[Candidate]) -> list[Configuration]:
    """Group candidates that differ only in their seeds; equal members count once."""
    groups: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:
        config = as_candidate(candidate.config)
        unseeded = replace(config, seed=0, data_seed=0)
        groups.setdefault(unseeded.member_id, {}).setdefault(config.member_id, candidate)
    return [Configuration(list(group.values())) for group in groups.values()]


def choose(candidates: Sequence[Candidate]) -> Configuration:
    """The configuration with the best mean over its seeds.

    Of equal ones, the one with fewer parameters is chosen, then the first.

    Raises:
        LosaError: no configuration is complete.
    """
    found = configurations(candidates)
    complete = [configuration for configuration in found if configuration.complete]
    if not complete:
        raise LosaError(
            "nothing to choose from: a seed of every configuration failed, or was dropped by halve_at, which "
            "takes fewer epochs or none if there are many seeds"
        )
    if len(complete) < len(found):
        _log.warning(
            "%d of %d configurations cannot be chosen: a seed failed or was dropped",
            len(found) - len(complete),
            len(found),
        )
    return min(complete, key=lambda configuration: (-configuration.accuracy, configuration.parameters))


def select(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """Train candidates, choose one configuration, train it for each of its seeds, and score it.

    Args:
        jobs: configurations to choose from, with their folders. Jobs that differ in cache, label column or
            splits belong to different tasks; each task has its own choice.
        folder: folder for ``selected.json`` and ``selected/``, which has the folders of the chosen members.

    Returns:
        The content of ``selected.json``, one record for each task.

    Raises:
        LosaError: a task has nothing to choose from, or its choice cannot be trained. The choices of the
            other tasks are made all the same.
    """
    jobs = [replace(job, config=resolved(job.config)) for job in jobs]
    outcomes = train([candidate_of(job) for job in jobs], folder)
    found = [Candidate(job.config, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
    return finish(found, folder)


def finish(candidates: Sequence[Candidate], folder: Path) -> list[dict[str, Any]]:
    """The second half of `select`, once the candidates are trained.

    Args:
        candidates: configurations to choose from, with their outcomes.
        folder: as in `select`.
    """
    tasks: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        options = asdict(candidate.config)
        tasks.setdefault(json.dumps([options[name] for name in _TASK]), []).append(candidate)
    failures: list[str] = []
    chosen: list[tuple[Configuration, list[Candidate]]] = []
    for task in tasks.values():
        try:
            chosen.append((choose(task), task))
        except LosaError as error:
            failures.append(f"{task[0].config.cache}: {error}")
    jobs = []
    for configuration, _ in chosen:
        finals = [
            as_final(candidate.config, configuration.best_epochs) for candidate in configuration.candidates
        ]
        jobs += [Job(config, member_folder(folder / SELECTED_FOLDER, config)) for config in finals]
    outcomes = iter(train(jobs, folder))
    records = []
    for configuration, task in chosen:
        seeds = [next(outcomes) for _ in configuration.candidates]
        errors = [outcome for outcome in seeds if isinstance(outcome, Exception)]
        if errors:
            failures.append(f"{task[0].config.cache}: the choice could not be trained: {errors[0]}")
            continue
        record = _record(configuration, [seed for seed in seeds if isinstance(seed, MemberSummary)], task)
        records.append(record)
        where = f"{record['cache']}: " if len(tasks) > 1 else ""
        print(visible(f"{where}chosen: {_named(configuration, task)} ({_scores(record)}"))
    if records:
        publish(folder / SELECTED_NAME, json.dumps(records, indent=2).encode() + b"\n")
    if failures:
        raise LosaError("\n".join(failures))
    return records


def _record(
    configuration: Configuration, summaries: Sequence[MemberSummary], task: Sequence[Candidate]
) -> dict[str, Any]:
    config = configuration.candidates[0].config
    seeds = [
        {
            "seed": candidate.config.seed,
            "data_seed": candidate.config.data_seed,
            "selected_on": candidate.accuracy,
            "accuracy": summary.accuracy,
            "folder": summary.folder,
        }
        for candidate, summary in zip(configuration.candidates, summaries, strict=True)
    ]
    accuracy = {}
    for split in summaries[0].accuracy:
        scores = [summary.accuracy[split] for summary in summaries]
        deviation = statistics.stdev(scores) if len(scores) > 1 else None
        accuracy[split] = {"mean": statistics.fmean(scores), "standard_deviation": deviation}
    return {
        "cache": config.cache,
        "label": config.label,
        "options": configuration.options,
        "configurations": len(configurations(task)),
        "selected_on": {"split": config.select_split, "mean": configuration.accuracy},
        "epochs": summaries[0].epochs,
        "parameters": configuration.parameters,
        "accuracy": accuracy,
        "seeds": seeds,
    }


def _named(configuration: Configuration, task: Sequence[Candidate]) -> str:
    """The side network, rank and learning rate, and the options that differ between candidates."""
    config = configuration.candidates[0].config
    compared = varying_options([asdict(candidate.config) for candidate in task])
    rank = [] if config.effective_rank is None else ["rank"]
    hidden = {"side", *SEEDS, *config.idle_options}
    names = dict.fromkeys([*rank, "lr", *(name for name in compared if name not in hidden)])
    return " ".join([config.side, *(f"{name}={shown(getattr(config, name))}" for name in names)])


def _scores(record: Mapping[str, Any]) -> str:
    count = len(record["seeds"])
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    chosen_on = record["selected_on"]
    of = "1 seed" if count == 1 else f"mean of {seeds}"
    tested = []
    for split, score in record["accuracy"].items():
        deviation = score["standard_deviation"]
        tested.append(f"{split} {score['mean']:.4f}" + ("" if deviation is None else f" +- {deviation:.4f}"))
    scored = ", ".join(tested) or "not scored"
    return f"{chosen_on['split']} {chosen_on['mean']:.4f}, {of}); {scored} ({seeds})"


@dataclass(frozen=True)
class Candidates:
    """The jobs of one command with protocol=select, by the folder of their sweep."""

    _found: dict[Path, list[Candidate]] = field(default_factory=dict)

    def summary_of(self, job: Job, sweep_folder: Path) -> MemberSummary:
        """The summary of a job's member, which is recorded if it is a candidate.

        Raises:
            Exception: the member failed.
        """
        candidate = candidate_of(job)
        if job.config.protocol == "direct":
            return summary_of(candidate, sweep_folder)
        found = self._found.setdefault(sweep_folder, [])
        try:
            summary = summary_of(candidate, sweep_folder)
        except Exception as error:
            found.append(Candidate(job.config, error))
            raise
        found.append(Candidate(job.config, summary))
        return summary

    def conclude(self) -> None:
        """Choose, train and score the choice of every sweep, at the end of the command.

        Raises:
            LosaError: as in `select`.
        """
        for folder, found in self._found.items():
            finish(found, folder)
