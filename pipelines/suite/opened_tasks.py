"""A task whose lists are read: its images, what its splits are for, and what a user should know of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from losa.cache_format import SplitContents
from losa.extract import ImageSource, open_source
from losa.pipelines.suite.found_tasks import FoundTask
from losa.pipelines.suite.split_roles import SplitRoles, contents_of, difference_of_both, roles_of
from losa.pipelines.suite.tasks import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTask:
    """A task, ready to be extracted."""

    found: FoundTask
    source: ImageSource
    roles: SplitRoles
    contents: Mapping[str, SplitContents]
    """Split -> its images and labels, for all splits that have a role."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.found.name

    def images(self, *splits: str) -> int:
        """Number of different images in some splits."""
        return len({key for split in splits for key in self.contents[split].keys})

    @property
    def highest_label(self) -> int:
        """The highest label of any image; -1 if none has one."""
        return max(int(split.first_labels.max(initial=-1)) for split in self.contents.values())

    def notes(self, suite: Suite) -> Iterator[str]:
        """In what it differs from the suite's task of its name, or from what is expected of any."""
        different = difference_of_both(self.contents, self.roles)
        if different is not None:
            yield different
        expected, classes = self.found.num_classes, self.highest_label + 1
        if expected is not None and classes != expected:
            yield f"labels of {classes} classes, where {suite.title} has {expected}"
        images = self.images(*self.roles.both)
        if suite.train_images is not None and images != suite.train_images:
            yield f"{images:,} training images, where {suite.title} has {suite.train_images:,}"


def open_task(found: FoundTask, suite: Suite) -> OpenedTask:
    """Read the lists of a task; no image is read.

    Raises:
        LosaError: lists are missing or wrong, or splits share images that must not.
    """
    source = open_source(found.dataset)
    roles = roles_of(source, needs_lists=suite.needs_lists)
    return OpenedTask(found=found, source=source, roles=roles, contents=contents_of(source, roles))
