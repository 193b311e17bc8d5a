"""One task of a suite: extracted, chosen on its held-out split, trained on both, and scored once."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from losa.adapt import AdaptConfig, MemberSummary
from losa.adapt.members.member_folder import member_folder
from losa.adapt.members.resolution import resolved
from losa.cache_format import LosaError
from losa.extract.extraction import Extractor
from losa.extract.extraction_tasks import computing_threads
from losa.pipelines.classifier.matching_backbone import BackboneSource
from losa.pipelines.classifier.side_network_folders import find_side_networks
from losa.pipelines.different_members import train_each_once
from losa.pipelines.evaluation.config import EvaluateConfig
from losa.pipelines.evaluation.evaluation import evaluate
from losa.pipelines.evaluation.results import Judgement
from losa.pipelines.selection import (
    SELECTED_FOLDER,
    Candidate,
    Configuration,
    as_candidate,
    choose,
    configurations,
)
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.opened_tasks import OpenedTask
from losa.pipelines.suite.scores import Score, TaskResult
from losa.pipelines.suite.split_roles import TEST

CACHES = "caches"
RUNS = "runs"
EVALUATIONS = "evaluations"
"""Folders below that of the suite; each has a folder for every task."""


class _Choice(NamedTuple):
    """What was chosen for a line of the table."""

    configuration: Configuration
    candidates: int
    """Number of configurations that it was chosen from."""


class _Final(NamedTuple):
    """A member of a choice, trained on both splits."""

    config: AdaptConfig
    folder: Path
    summary: MemberSummary


class TaskRun:
    """The steps of one task. What an earlier run has finished is found again at each of them."""

    def __init__(self, config: SuiteConfig, candidates: Candidates, task: OpenedTask) -> None:
        """Begin nothing yet."""
        self._config = config
        self._candidates = candidates
        self._task = task
        self.cache = config.folder / CACHES / task.name
        self._runs = config.folder / RUNS / task.name
        self._selected = self._runs / SELECTED_FOLDER
        self._evaluations = config.folder / EVALUATIONS / task.name

    def run(self, result: TaskResult) -> None:
        """Extract, choose, train and score.

        Args:
            result: gets the scores. A line of the table that has no choice, or a choice that cannot be
                trained, is told in it.

        Raises:
            LosaError: the task cannot be extracted or scored.
        """
        with computing_threads(self._config.threads):
            self.extractor().run()
        choices = self._choose(result)
        trained = self._train(choices, result)
        if trained:
            with computing_threads(self._config.threads):
                result.scores = self._score(choices, trained)

    def extractor(self, *, plan: bool = False) -> Extractor:
        """The extraction of all images but those of the test split."""
        roles = self._task.roles
        options = self._config.extraction(
            self._task.found.dataset,
            str(self.cache),
            splits=roles.extracted,
            split=roles.parts,
            split_of=roles.cut_from,
            plan=plan,
        )
        return Extractor(options, self._task.source)

    def _choose(self, result: TaskResult) -> dict[str, _Choice]:
        """The choice of each line, of candidates that are trained together."""
        lines = {
            line: self._candidates.of_line(line, self.cache, self._task.roles)
            for line in self._candidates.lines
        }
        requested = [as_candidate(config) for configs in lines.values() for config in configs]
        outcomes = iter(train_each_once(requested, self._runs))
        choices = {}
        for line, configs in lines.items():
            found = [Candidate(config, next(outcomes)) for config in configs]
            try:
                choices[line] = _Choice(choose(found), len(configurations(found)))
            except LosaError as error:
                causes = [one.outcome for one in found if isinstance(one.outcome, Exception)]
                result.failures.append(f"{line}: {causes[0] if causes else error}")
        return choices

    def _train(self, choices: Mapping[str, _Choice], result: TaskResult) -> dict[str, list[_Final]]:
        """The final members of each line, which are trained together."""
        configs = {line: self._candidates.finals(choice.configuration) for line, choice in choices.items()}
        requested = [config for of_line in configs.values() for config in of_line]
        outcomes = iter(train_each_once(requested, self._selected) if requested else [])
        trained = {}
        for line, of_line in configs.items():
            found = [(config, next(outcomes)) for config in of_line]
            finals = [
                _Final(config, member_folder(self._selected, resolved(config)), outcome)
                for config, outcome in found
                if isinstance(outcome, MemberSummary)
            ]
            if len(finals) == len(found):
                trained[line] = finals
            else:
                reason = next(outcome for _, outcome in found if isinstance(outcome, Exception))
                result.failures.append(f"{line}: the choice could not be trained: {reason}")
        return trained

    def _score(self, choices: Mapping[str, _Choice], trained: Mapping[str, Sequence[_Final]]) -> list[Score]:
        """Score all final members in one pass of the test images through the backbone."""
        places = [str(final.folder) for finals in trained.values() for final in finals]
        judged = self._judge(places)
        return [
            Score(
                line=line,
                options=_effective(self._config.sweep, choices[line].configuration.candidates[0].config),
                candidates=choices[line].candidates,
                selected_on=self._task.roles.held_out,
                selection_accuracy=choices[line].configuration.accuracy,
                parameters=finals[0].summary.parameters,
                head_parameters=finals[0].summary.head_parameters,
                accuracies=[judged[final.folder].top1 for final in finals],
                folders=[str(final.folder) for final in finals],
                test_images=judged[finals[0].folder].images,
            )
            for line, finals in trained.items()
        ]

    def _judge(self, places: Sequence[str]) -> dict[Path, Judgement]:
        """The judgements of some side networks on the test split, by their folders."""
        config = self._config
        done = evaluate(
            places,
            EvaluateConfig(
                dataset=self._task.found.dataset,
                eval_split=TEST,
                backbone=BackboneSource(checkpoint=config.backbone.checkpoint),
                device=config.device,
                dtype=config.extract.dtype,
                batch_size=config.extract.batch_size,
                workers=config.workers,
                predictions=config.predictions,
            ),
            self._evaluations,
        )
        named = {each.side_network: each for each in done.results.judgements}
        return {folder: named[name] for name, folder in find_side_networks(places).items()}


def _effective(names: Iterable[str], config: AdaptConfig) -> dict[str, Any]:
    """The values of some options that have an effect on a member."""
    return {name: getattr(config, name) for name in names if name not in config.idle_options}
