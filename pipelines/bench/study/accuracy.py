"""Side networks on several data sets, with fixed options and with those that a validation split chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losa.adapt import AdaptConfig, Job
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError
from losa.pipelines.bench.study.accuracy_tables import accuracy_tables
from losa.pipelines.bench.study.caches import SetCaches
from losa.pipelines.bench.study.correct_images import with_correct_images
from losa.pipelines.bench.study.ensembles import ensembles_of, parse_ensemble
from losa.pipelines.bench.study.grid import grid_points
from losa.pipelines.bench.study.protocols import CANDIDATE, FIXED, PROTOCOL, SELECTED
from losa.pipelines.bench.study.results import results_folder, write_results
from losa.pipelines.bench.study.rows import Row, StudyRow
from losa.pipelines.bench.study.settings import LINEAR, StudySettings
from losa.pipelines.different_members import train_each_once
from losa.pipelines.selection import Candidate, as_candidate, as_final, candidate_of, choose


@dataclass(frozen=True, kw_only=True)
class AccuracyStudy:
    """Every side network, and the linear probe in any case, on every data set."""

    settings: StudySettings
    choice_seeds: int = 1
    """Seeds over whose mean the choice is made."""
    fixed_only: bool = False
    """Whether only the defaults are trained, so that nothing is chosen."""
    ensembles: Sequence[str] = ()
    """Side networks to average, as ``losa,last``: those of one seed, with the defaults and as chosen."""

    def __post_init__(self) -> None:
        """Refuse a choice by no seed, and ensembles of what is not trained."""
        self._averaged  # noqa: B018 -- to check them
        if self.choice_seeds < 1:
            raise LosaError(f"--choice-seeds {self.choice_seeds}: expected at least 1")

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return results_folder(self.settings, "accuracy")

    def run(self) -> list[Row]:
        """Extract, train and write the results, those of each data set as soon as they are complete.

        Returns:
            The members: those with fixed options, the candidates, and those with the chosen options; and the
            ensembles.

        Raises:
            LosaError: a data set cannot be extracted, or has splits that share images.
        """
        rows: list[Row] = []
        for name in self.settings.folders:
            members = self._rows(name, SetCaches(self.settings, name).of())
            rows += members
            for kinds in self._averaged:
                rows += ensembles_of(members, kinds)
            write_results(self.folder, rows, PROTOCOL, accuracy_tables(rows, self.settings))
        return rows

    @property
    def _sides(self) -> list[str]:
        return list(dict.fromkeys([LINEAR, *self.settings.sides]))

    @property
    def _averaged(self) -> list[list[str]]:
        return [parse_ensemble(text, self._sides) for text in self.ensembles]

    def _rows(self, name: str, cache: Path) -> list[StudyRow]:
        settings, sides = self.settings, self._sides
        fixed = [
            _Requested(side, FIXED, config)
            for side in sides
            for config in settings.seeded(settings.trained(settings.config(cache, side)))
        ]
        if settings.validate or self.fixed_only:
            return with_correct_images(_trained(name, fixed, settings.runs))
        candidates = self._candidates(cache, sides)
        # In one call: members that read the same images in the same order share a pass.
        first = _trained(name, [*fixed, *candidates], settings.runs)
        tried: dict[str, list[Candidate]] = {side: [] for side in sides}
        for request, row in zip(candidates, first[len(fixed) :], strict=True):
            tried[request.side].append(Candidate(request.config, row.outcome))
        reported = with_correct_images([*first[: len(fixed)], *self._selected(name, tried)])
        return [*reported, *first[len(fixed) :]]

    def _candidates(self, cache: Path, sides: Sequence[str]) -> list["_Requested"]:
        requested = [
            _Requested(side, CANDIDATE, member)
            for side in sides
            for config in (
                self.settings.config(cache, side, protocol="select", **point) for point in grid_points()
            )
            for member in self.settings.seeded(config, self.choice_seeds)
        ]
        candidate_of(Job(requested[0].config, self.settings.runs))  # refuses splits that share images
        return requested

    def _selected(self, name: str, tried: dict[str, list[Candidate]]) -> list[StudyRow]:
        """Choose for each side network, and train the choices together."""
        finals: list[_Requested] = []
        failed: list[StudyRow] = []
        for side, candidates in tried.items():
            try:
                chosen = choose(candidates)
            except LosaError as error:
                configs = self.settings.seeded(as_final(candidates[0].config))
                failed += [_row(name, _Requested(side, SELECTED, config), error) for config in configs]
                continue
            config = as_final(chosen.candidates[0].config, chosen.best_epochs)
            finals += [_Requested(side, SELECTED, member) for member in self.settings.seeded(config)]
        return [*_trained(name, finals, self.settings.runs), *failed]


@dataclass(frozen=True, slots=True)
class _Requested:
    """A member to train, of a side network under a protocol."""

    side: str
    protocol: str
    config: AdaptConfig


def _trained(name: str, requested: Sequence[_Requested], runs: Path) -> list[StudyRow]:
    outcomes = train_each_once([as_candidate(one.config) for one in requested], runs)
    return [_row(name, one, outcome) for one, outcome in zip(requested, outcomes, strict=True)]


def _row(name: str, requested: _Requested, outcome: Outcome) -> StudyRow:
    return StudyRow(
        set=name,
        side=requested.side,
        variant=requested.protocol,
        config=as_candidate(requested.config),
        outcome=outcome,
    )
