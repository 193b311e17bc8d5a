"""All that a page tells of some members, ready to be shown."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from losa.cache_format import LosaError
from losa.cache_format.common.units import counted
from losa.pipelines.report.charts.confusion import confusion_chart
from losa.pipelines.report.charts.curves import curves_chart
from losa.pipelines.report.charts.noise import noise_chart
from losa.pipelines.report.charts.pareto import pareto_chart
from losa.pipelines.report.charts.vega import Spec
from losa.pipelines.report.configurations import Task, tasks_of
from losa.pipelines.report.confusions import read_confusions
from losa.pipelines.report.hardest import HardImage, hardest_images
from losa.pipelines.report.headline import cautions, failures, winners
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.report.tables import ReportTable, TableCell, configuration_table, member_table
from losa.pipelines.report.thumbnails import Thumbnails
from losa.pipelines.report.used_caches import UsedCache, used_caches

_log = logging.getLogger(__name__)

_MOST_PAIRS = 30
"""Rows of a table of confused pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, and what is said of it."""

    title: str
    caption: str
    spec: Spec
    width: int | None = None
    """The most pixels that it makes use of; None: as many as there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConfusion:
    """What the best configuration of a task confuses in one label column."""

    title: str
    sentence: str
    matrix: Chart | None
    """None if there are too many classes."""
    pairs: ReportTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImages:
    """The hardest images of a task in one label column, or why there are none."""

    title: str
    sentence: str
    images: Sequence[HardImage] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The parts of a page, in the order in which they are read."""

    title: str
    counted: str
    winners: Sequence[str]
    cautions: Sequence[str]
    failures: Sequence[str]
    pareto: Chart | None
    curves: Chart | None
    confusions: Sequence[ShownConfusion]
    hardest: Sequence[ShownImages]
    caches: Sequence[UsedCache]
    noise: Chart | None
    configurations: ReportTable
    members: ReportTable | None
    """A second table, which is folded up."""
    members_title: str = "All members"


def make_report(
    title: str, members: Sequence[Member], *, hardest: int, device: str, thumbnails: Thumbnails
) -> Report:
    """Look at everything that the members left behind.

    Args:
        title: of the page.
        members: at least one.
        hardest: number of hardest images of each task; 0: nothing is judged again.
        device: the compute device to judge on.
        thumbnails: finds the pictures.

    Raises:
        LosaError: a file of a member is damaged.
    """
    tasks = tasks_of(members)
    kinds = list(dict.fromkeys(member.kind for member in members))
    caches = used_caches(members)
    scored = [task for task in tasks if task.best is not None]
    return Report(
        title=title,
        counted=_counted(members, tasks),
        winners=winners(tasks),
        cautions=list(cautions(tasks)),
        failures=failures(members),
        pareto=_chart(
            "Accuracy against cost",
            "A point is a configuration, the bar its standard error over the seeds. Filled: on the Pareto "
            "front (dashed), where nothing cheaper is as accurate. Configurations without a number on the "
            "chosen axis, and those with a seed that failed or was dropped, are left out. The memory is that "
            "of the whole pass.",
            pareto_chart(tasks, kinds),
        ),
        curves=_chart(
            "Learning curves",
            "A line is a member; thick: the best configuration. Of many epochs some are left out.",
            curves_chart(tasks, kinds),
        ),
        confusions=[shown for task in scored for shown in _confusions(task)],
        hardest=[shown for task in scored for shown in _hardest(task, hardest, device, thumbnails)]
        if hardest
        else [],
        caches=caches,
        noise=_chart(
            "Signal-to-noise ratio of each site",
            "What the codec keeps of the activations, measured when they were extracted.",
            noise_chart(caches),
        ),
        configurations=configuration_table(tasks),
        members=member_table(tasks),
    )


def _chart(title: str, caption: str, spec: Spec | None) -> Chart | None:
    return None if spec is None else Chart(title=title, caption=caption, spec=spec)


def _counted(members: Sequence[Member], tasks: Sequence[Task]) -> str:
    configurations = len({one.name for task in tasks for one in task.configurations})
    counts = {"member": len(members), "configuration": configurations, "task": len(tasks)}
    return ", ".join(counted(count, name, f"{name}s") for name, count in counts.items())


def _confusions(task: Task) -> Iterator[ShownConfusion]:
    assert task.examined is not None, "the task is scored"
    for confusion in read_confusions(task):
        title = f"{task.name}, {task.split}, {confusion.column}: {task.examined.name}"
        pairs = confusion.most_confused(_MOST_PAIRS)
        spec = confusion_chart(confusion)
        yield ShownConfusion(
            title=title,
            sentence=(
                f"{len(confusion.classes):,} classes occur. "
                + (
                    "The most frequent confusions, over all seeds:"
                    if pairs
                    else "Nothing is confused with anything."
                )
            ),
            matrix=None
            if spec is None
            else Chart(
                title=title,
                caption="Rows are true classes. Images are counted over all seeds.",
                spec=spec,
                width=max(320, 44 * len(confusion.classes) + 160),
            ),
            pairs=ReportTable(
                titles=["true class", "taken for", "images", "% of the true class"],
                rows=[
                    [
                        TableCell(true),
                        TableCell(predicted),
                        TableCell(f"{images:,}", images),
                        TableCell(f"{100 * share:.1f}", share),
                    ]
                    for true, predicted, images, share in pairs
                ],
            ),
        )


def _hardest(task: Task, most: int, device: str, thumbnails: Thumbnails) -> Iterator[ShownImages]:
    assert task.examined is not None, "the task is scored"
    title = f"{task.name}, {task.split}: {task.examined.name}"
    try:
        found = hardest_images(task, most, device, thumbnails)
    except LosaError as error:
        _log.warning("%s: its images cannot be judged again: %s", task.name, error)
        yield ShownImages(title=title, sentence=f"They cannot be told, because {error}")
        return
    for one in found:
        sentence = (
            f"{one.wrong:,} of {one.judged:,} images are taken for another class by the mean over the seeds. "
            f"These are the {len(one.images)} whose true class gets the lowest probability."
        )
        if not all(image.thumbnail for image in one.images):
            sentence += (
                " Those without a picture were not found, or have changed since they were extracted: "
                "--images names the folder that their names are relative to."
            )
        yield ShownImages(title=f"{title}, {one.column}", sentence=sentence, images=one.images)
