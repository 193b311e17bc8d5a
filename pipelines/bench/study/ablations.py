"""Side networks on several data sets, with one option at a time changed from its default."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losa.cache_format import LosaError
from losa.pipelines.bench.study.ablation_tables import ablation_tables
from losa.pipelines.bench.study.caches import SetCaches
from losa.pipelines.bench.study.changes import CHANGES
from losa.pipelines.bench.study.results import results_folder, write_results
from losa.pipelines.bench.study.rows import StudyRow
from losa.pipelines.bench.study.settings import StudySettings
from losa.pipelines.bench.study.variants import DEFAULT, variants
from losa.pipelines.bench.unknown_names import refuse_unknown
from losa.pipelines.different_members import train_each_once

CHANGED = "changed"
"""What the names of the configurations tell."""


@dataclass(frozen=True, kw_only=True)
class AblationStudy:
    """Every side network on every data set, as it is and with each change."""

    settings: StudySettings
    only: Sequence[str] = tuple(CHANGES)
    """Options to change."""

    def __post_init__(self) -> None:
        """Refuse options whose values are not known here."""
        refuse_unknown("--only", self.only, CHANGES)

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return results_folder(self.settings, "ablations")

    def run(self) -> list[StudyRow]:
        """Extract, train and write the results, those of each data set as soon as they are complete.

        Returns:
            The members: of each side network, those with the defaults, and those with each change.

        Raises:
            LosaError: a data set cannot be extracted.
        """
        rows: list[StudyRow] = []
        for name in self.settings.folders:
            rows += self._rows(name)
            write_results(self.folder, rows, CHANGED, ablation_tables(rows, self.settings, self.only))
        return rows

    def _rows(self, name: str) -> list[StudyRow]:
        caches = SetCaches(self.settings, name)
        requested = [
            (variant, member)
            for side in dict.fromkeys(self.settings.sides)
            for variant, config in variants(self.settings, caches, side, self.only)
            for member in self.settings.seeded(config)
        ]
        if all(variant == DEFAULT for variant, _ in requested):
            raise LosaError(
                f"--only {','.join(self.only)}: no value of these options makes another member of "
                f"--side {', '.join(self.settings.sides)}"
            )
        # In one call: members that read the same images in the same order share a pass.
        outcomes = train_each_once([member for _, member in requested], self.settings.runs)
        return [
            StudyRow(set=name, side=member.side, variant=variant, config=member, outcome=outcome)
            for (variant, member), outcome in zip(requested, outcomes, strict=True)
        ]
