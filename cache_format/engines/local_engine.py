"""The engine of a single machine: one item after the other, in this process."""

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from losa.cache_format.common.cores import usable_cores
from losa.cache_format.common.device import resolve_device
from losa.cache_format.engines.contract import Item, Task, Told


class LocalEngine:
    """Runs tasks in this process, which is its only worker. See `Engine`."""

    workers = 1
    in_process = True

    @property
    def cores(self) -> int:
        """The cores that this process may use."""
        return usable_cores()

    def resolve_device(self, name: str) -> str:
        """Check the name of a device; see `losa.cache_format.common.device.resolve_device`."""
        return resolve_device(name)

    def map(self, task: Task[Item], items: Sequence[Item], told: Told) -> None:
        """Run the task on every item, in order."""
        for number, item in enumerate(items):
            task(item, partial(told, number))

    def __enter__(self) -> Self:
        """There is nothing to start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to end."""
