"""The engine of many GPUs or many machines: a pool of workers on a Ray cluster.

Ray's own pools do not fit. ``ray.util.ActorPool`` forgets the item of a worker that dies, and ``ray.data``
returns rows in blocks of its own choice. So this is a pool of plain actors, of which Ray restarts none: who
is lost, what it had to do and who does the rest is known in one place.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from losa.cache_format.engines.config import EngineConfig
from losa.cache_format.engines.contract import Item, Task, Told
from losa.cache_format.engines.ray_cluster import Workers, choose_workers, connected, import_ray
from losa.cache_format.engines.ray_pool import RayPool
from losa.cache_format.engines.ray_worker import RayWorker
from losa.cache_format.errors import LosaError

_log = logging.getLogger(__name__)


class RayEngine:
    """Runs tasks on the workers of a Ray cluster. See `Engine`."""

    in_process = False

    def __init__(self, config: EngineConfig, devices: Collection[str]) -> None:
        """Connect to nothing yet.

        Args:
            config: the options.
            devices: the values of the option ``device`` of all tasks.

        Raises:
            LosaError: Ray is not installed.
        """
        import_ray()
        self._config = config
        self._devices = devices
        self._chosen = Workers(count=0, cpus=0, gpus=0)
        self._spare: list[Any] = []
        self._open = ExitStack()

    @property
    def workers(self) -> int:
        """How many items are worked on at once, while no worker is lost."""
        return self._chosen.count

    @property
    def cores(self) -> int:
        """The cores that each worker has."""
        return self._chosen.cpus

    def resolve_device(self, name: str) -> str:
        """The device of a worker: its only GPU, or the CPU.

        Raises:
            LosaError: workers have no GPU, or one GPU of several is asked for.
        """
        if name == "cpu":
            return name
        if name not in ("auto", "cuda"):
            raise LosaError(
                f"device={name}: with engine=ray expected auto, cpu or cuda: a worker sees its own GPU alone"
            )
        if self._chosen.gpus:
            return "cuda"
        if name == "auto":
            return "cpu"
        raise LosaError(
            "device=cuda: workers have no GPU here, because the cluster has none, or engine.gpus=0 says so; "
            "use device=cpu, or add machines with GPUs"
        )

    def map(self, task: Task[Item], items: Sequence[Item], told: Told) -> None:
        """Run the task on every item; see `Engine.map`."""
        RayPool(self._make_actor, self._spare, self._chosen, task, items, told).run()

    def _make_actor(self) -> Any:
        actor = import_ray().remote(RayWorker)
        return actor.options(
            num_cpus=self._chosen.cpus,
            num_gpus=self._chosen.gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        ).remote()

    def __enter__(self) -> Self:
        """Connect to the cluster.

        Raises:
            LosaError: there is no cluster, or it has no room for the workers that are asked for.
        """
        ray = import_ray()
        with ExitStack() as opened:
            opened.enter_context(connected(self._config.address))
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._chosen = choose_workers(self._config, self._devices, nodes)
            _log.info("engine=ray: %s", self._chosen)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers, and leave the cluster."""
        for actor in self._spare:
            import_ray().kill(actor)
        self._spare.clear()
        self._open.close()
