"""What a run of a suite will do, before it begins: tasks, images, bytes, time and members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from losa.cache_format import Cache, LosaError
from losa.cache_format.common.units import duration, readable
from losa.cache_format.shards.commit_records import CommitRecords
from losa.extract import load_backbone
from losa.extract.grid_pooling import parse_grid
from losa.extract.plan import Plan
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.opened_tasks import OpenedTask
from losa.pipelines.suite.split_roles import TEST
from losa.pipelines.suite.task_run import TaskRun
from losa.pipelines.suite.tasks import Suite
from losa.pipelines.text_table import TextTable

_WORTH_IMAGES = 2_000
"""A run with fewer images to pass through the backbone is over before a trial of it would have paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """The work of a task."""

    task: OpenedTask
    stored: int
    """Number of images that are extracted already."""
    candidates: int
    """Number of members to choose from."""
    finals: int
    """Number of members to train once the choices are made."""

    @property
    def images(self) -> int:
        """Number of images of the cache."""
        return self.task.images(*self.task.roles.extracted)

    @property
    def to_extract(self) -> int:
        """Number of images that are not extracted yet."""
        return max(0, self.images - self.stored)

    @property
    def test_images(self) -> int:
        """Number of images to be scored."""
        return self.task.images(TEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlan:
    """The work of a run."""

    tasks: Sequence[TaskPlan]
    extraction: Plan | None
    """The extraction of all tasks together; None if every image is extracted, or none can be."""

    def refuse_if_too_large(self) -> None:
        """Refuse caches that do not fit.

        Raises:
            LosaError: there is not enough free space.
        """
        if self.extraction is not None:
            self.extraction.refuse_if_too_large()

    def table(
        self, suite: Suite, missing: Sequence[str], failed: Mapping[str, str], notes: Sequence[str]
    ) -> TextTable:
        """The plan in words.

        Args:
            suite: the suite.
            missing: names of its tasks that are not there.
            failed: task -> why it cannot be run.
            notes: what a user should know of the tasks, a line each.
        """
        below = self._totals()
        if missing:
            below.append(f"missing of {suite.title}: {', '.join(missing)}")
        below += [f"cannot be run: {name}: {reason}" for name, reason in failed.items()]
        return TextTable(
            titles=["task", "classes", "to choose on", TEST, "cache", "members"],
            labels=1,
            lines=[self._line(each) for each in self.tasks],
            below=[*below, *notes],
        )

    def _line(self, each: TaskPlan) -> list[str]:
        task = each.task
        cache = "" if each.to_extract else "extracted"
        if each.to_extract and self.extraction is not None:
            cache = readable(each.to_extract * self.extraction.image_bytes)
        return [
            task.name,
            str(task.source.columns[0].num_classes),
            f"{task.images(task.roles.fit):,} + {task.images(task.roles.held_out):,}",
            f"{each.test_images:,}",
            cache,
            f"{each.candidates} + {each.finals}",
        ]

    def _totals(self) -> list[str]:
        test = sum(each.test_images for each in self.tasks)
        candidates = sum(each.candidates for each in self.tasks)
        finals = sum(each.finals for each in self.tasks)
        told = [
            f"members: {candidates:,} candidates + {finals:,} final ones",
            f"test: {test:,} images, which pass the backbone once and are cached nowhere",
        ]
        plan = self.extraction
        if plan is None:
            left = any(each.to_extract for each in self.tasks)
            return told if left else [*told, "caches: finished"]
        free = "" if plan.free_bytes is None else f", {readable(plan.free_bytes)} free"
        told.append(f"caches: {plan.images:,} images to extract, {readable(plan.bytes)}{free}")
        if plan.seconds is not None and plan.speeds is not None:
            seconds = plan.seconds + test / plan.speeds.images_per_s
            told.append(
                f"time: about {duration(seconds)} through the backbone, {plan.speeds.images_per_s:,.1f} "
                "images/s; training comes on top, and the first task shows how much"
            )
        return told


def plan_suite(config: SuiteConfig, candidates: Candidates, tasks: Sequence[OpenedTask]) -> SuitePlan:
    """Plan a run. The backbone is tried out if there is much to do, or only a plan is wanted.

    Raises:
        LosaError: the backbone cannot be loaded, or options do not fit it.
    """
    grid = config.extract.grid
    load_backbone(config.backbone, None if grid is None else parse_grid(grid)).group(config.extract.sites)
    planned = []
    for task in tasks:
        number, finals = candidates.counts(task.roles)
        stored = _stored_images(TaskRun(config, candidates, task))
        planned.append(TaskPlan(task=task, stored=stored, candidates=number, finals=finals))
    return SuitePlan(tasks=planned, extraction=_extraction(config, candidates, planned))


def _extraction(config: SuiteConfig, candidates: Candidates, planned: Sequence[TaskPlan]) -> Plan | None:
    """The extraction of the first task with images left that can be extracted, for the images of all."""
    images = sum(each.to_extract for each in planned)
    passing = images + sum(each.test_images for each in planned)
    thorough = config.plan or passing >= _WORTH_IMAGES
    for each in planned:
        if each.to_extract:
            try:
                found = TaskRun(config, candidates, each.task).extractor(plan=thorough).plan()
            except LosaError:  # of the cache of this task, which says so when its turn comes
                continue
            return replace(found, images=images, bytes=images * found.image_bytes)
    return None


def _stored_images(run: TaskRun) -> int:
    """Number of images in the finished shards of a task's cache; 0 if there is none that can be read."""
    try:
        records = CommitRecords.read(Cache(run.cache).metadata)
    except LosaError:
        return 0
    shards = [shard for segment in records.segments for shard in records.committed(segment)]
    return sum(len(shard.source_hashes) for shard in shards)
