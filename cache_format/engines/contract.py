"""The one seam for scale: what an engine is, and what it runs."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

Item = TypeVar("Item")

Tell = Callable[[Any], None]
"""Given to a task, which tells what it has found, or how far it is. Returns once that is on its way."""
Told = Callable[[int, Any], None]
"""Given to an engine, which passes on what tasks tell, with the number of the item."""


class Stopped(SystemExit):
    """Raised in a task, by what it tells: the command ends, and what is to be kept has to be saved now."""


class Task(Protocol[Item]):
    """Work on one item. It can be pickled, together with all that the items have in common."""

    def __call__(self, item: Item, tell: Tell, /) -> None:
        """Do the work, and tell what came of it.

        Raises:
            LosaError: an error that another worker would meet, too.
        """

    def rest(self, item: Item, told: int, /) -> Item:
        """What is left of an item whose worker was lost after it had told this many values."""


class Engine(Protocol):
    """Runs a task on many items. Use it as a context manager: entering it takes what it needs."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""

    @property
    def cores(self) -> int:
        """How many processor cores a worker may use."""

    @property
    def in_process(self) -> bool:
        """Whether tasks run in this process, which then shows their progress and has their memory."""

    def resolve_device(self, name: str) -> str:
        """The device of a worker, as torch names it, for a value of the option ``device``.

        Raises:
            LosaError: no worker has such a device.
        """

    def map(self, task: Task[Item], items: Sequence[Item], told: Told) -> None:
        """Run the task on every item, and return after the last one.

        Items end in any order. What a task tells of one item arrives in order. An item whose worker is lost
        is given, as far as `Task.rest` says, to another one.

        Args:
            task: the work.
            items: what to work on. They can be pickled.
            told: called in this process; workers wait while it lags behind.

        Raises:
            LosaError: a task raised it, or there are no workers any more. The other workers are ended.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
